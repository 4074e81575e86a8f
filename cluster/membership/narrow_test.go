package membership

import (
	"testing"
	"time"

	"cohort/ccl/wire"
)

// pinch changes to which of the others full-sized packets of a node do not cross:
// a bad cable, a bad switch, a single bad path, or none.
func (n *network) pinch(t *testNode) {
	switch n.rand.IntN(5) {
	case 0: // what it sends
		t.narrow = n.nodes
	case 1: // what is sent to it
		for _, o := range n.nodes {
			o.narrow = append(o.narrow[:len(o.narrow):len(o.narrow)], t)
		}
	case 2:
		t.narrow = append(t.narrow[:len(t.narrow):len(t.narrow)], pick(n, n.nodes...))
	case 3:
		t.narrow = nil
	case 4:
		for _, o := range n.nodes {
			if o.narrow = nil; n.rand.IntN(3) == 0 {
				o.narrow = n.nodes
			}
		}
	}
}

// TestEL9_CL3_LinksNarrowAtRandom makes links carry small packets only, and mends
// them, at any moment, while data interfaces fail and nodes die: whoever is taken
// out for it leaves a member behind (Fenced), and in the end nobody is left to take
// out.
func TestEL9_CL3_LinksNarrowAtRandom(t *testing.T) {
	ejected := 0
	forSeeds(t, 4, func(n *network) {
		hold := pick(n, 300*time.Millisecond, 3*time.Second)
		n.build(hold)
		for _, t := range n.nodes {
			t.cfg.RemoveNarrow = true
			t.boot()
		}
		n.run(6 * time.Second)
		n.rejoin = 0
		for range 10 + n.rand.IntN(30) {
			t := pick(n, n.nodes...)
			switch {
			case n.rand.IntN(10) == 0 && t.running:
				t.kill()
			case n.rand.IntN(10) == 0:
				t.boot()
			case n.rand.IntN(3) == 0:
				t.lose(n)
			default:
				n.pinch(t)
			}
			for _, o := range n.nodes {
				o.do(func() {})
			}
			n.run(n.between(0, pick(n, 2*time.Millisecond, hold/10, 2*hold)))
		}
		n.run(10*time.Second + 4*hold)
		for _, o := range n.nodes {
			if o.why == wire.CauseLink {
				ejected++
			}
			if o.member() && o.m.ruling() {
				if set := o.m.narrowed(n.now); set != 0 {
					n.violated("CL3: %#x have to go by the word of %s, and are still there", set, o.cfg.Self.Name)
				}
			}
		}
	})
	if ejected == 0 {
		t.Error("nobody was ever taken out")
	}
}
