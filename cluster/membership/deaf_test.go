package membership

import (
	"testing"
	"time"
)

// deafen lets nothing reach a node.
func (n *network) deafen(t *testNode) {
	n.disturbed = n.now
	for _, o := range n.nodes {
		if o != t {
			n.cuts[[2]*testNode{o, t}] = true
		}
	}
}

// A control node that hears nobody, while all hear it, is out after the hold time like
// one that died, takes nobody with it, and is back after the heal, with what it had.
func TestEL4_EL5_EL9_ADeafControlNodeGoesAlone(t *testing.T) {
	var worst, worstFast time.Duration
	forSeeds(t, 16, func(n *network) {
		hold := pick(n, time.Second, 3*time.Second)
		n.build(hold)
		if len(n.nodes) < 3 {
			return // of two the control node goes on: oneway_deaf_two.txt
		}
		fast, limit := n.rand.IntN(3) == 0, hold+hold/50
		if fast {
			n.fast(hold)
			limit = 250 * time.Millisecond
		}
		for _, t := range n.nodes {
			t.boot()
		}
		n.run(8*time.Second + n.between(0, hold))
		a, why := n.agreed()
		if why != "" {
			n.violated("before: %s", why)
			return
		}
		ruler := n.node(a.Member(a.Control).Name)
		n.loss = pick(n, 0, 0, 0.02)
		deaf := n.now
		n.deafen(ruler)
		n.run(4 * hold)
		for _, t := range n.nodes {
			if t.fences > 0 {
				n.violated("%s is fenced because %s is deaf", t.cfg.Self.Name, ruler.cfg.Self.Name)
			}
			if t == ruler {
				continue
			}
			took := time.Duration(n.firstWithout(t, ruler, deaf) - deaf)
			if took < 0 || took > limit && n.loss == 0 {
				n.violated("%s is without %s only after %v", t.cfg.Self.Name, ruler.cfg.Self.Name, took)
			}
			if v := t.applied; v == nil || len(v.Members) != len(n.nodes)-1 {
				n.violated("%s has %v", t.cfg.Self.Name, v)
			}
			if n.loss == 0 && fast {
				worstFast = max(worstFast, took)
			} else if n.loss == 0 {
				worst = max(worst, took*100/hold)
			}
		}
		n.loss = 0
		n.heal()
		n.run(6 * hold)
		if _, why := n.agreed(); why != "" {
			n.violated("after the heal: %s", why)
		}
		for _, t := range n.nodes {
			if t.fences > 0 {
				n.violated("%s is fenced by the heal", t.cfg.Self.Name)
			}
		}
	})
	t.Logf("out after %d %% of the hold time at most, fast profile %v", worst, worstFast)
}
