package membership

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"cohort/ccl/wire"
)

var (
	seeds = flag.Int("seeds", defaultSeeds, "random networks that each property is tried on")
	seed  = flag.Uint64("seed", 0, "try this one only, and print what happens")
)

// forSeeds runs one random network for each of seeds/share seeds and prints how
// to replay a violating one.
func forSeeds(t *testing.T, share int, one func(n *network)) {
	t.Helper()
	first, last := uint64(1), uint64(*seeds/share)
	if testing.Short() {
		last = min(last, 100)
	}
	if *seed != 0 {
		first, last = *seed, *seed
	}
	for s := first; s <= last; s++ {
		n := newNetwork(s)
		one(n)
		if *seed != 0 {
			t.Log("\n" + n.log.String())
		}
		if len(n.broken) > 0 {
			for _, b := range n.broken {
				t.Error(b)
			}
			t.Fatalf("replay with -run %s -seed %d -v", t.Name(), s)
		}
	}
}

// pick returns one of the values.
func pick[T any](n *network, values ...T) T { return values[n.rand.IntN(len(values))] }

// between returns a random duration.
func (n *network) between(low, high time.Duration) time.Duration {
	return low + time.Duration(n.rand.Int64N(int64(high-low)))
}

// build makes a random cluster, with equal priorities now and then.
func (n *network) build(hold time.Duration) {
	count := 2 + n.rand.IntN(5)
	for i := range count {
		t := n.add(fmt.Sprintf("n%d", i), uint8(1+n.rand.IntN(4)))
		t.cfg.Hold = hold
		t.cfg.ElectionInterval = time.Second
		t.cfg.ElectionWait = 5 * time.Second
	}
	n.connect()
	n.delay = func() int64 { return int64(100*time.Microsecond) + n.rand.Int64N(int64(5*time.Millisecond)) }
	n.rejoin = 200 * time.Millisecond
}

// groups deals the nodes to two or three sides at random.
func (n *network) groups() [][]*testNode {
	g := make([][]*testNode, 2+n.rand.IntN(2))
	for _, t := range n.nodes {
		i := n.rand.IntN(len(g))
		g[i] = append(g[i], t)
	}
	return g
}

// disturb does one bad thing, or mends one.
func (n *network) disturb() {
	t := pick(n, n.nodes...)
	o := pick(n, n.nodes...)
	switch n.rand.IntN(17) {
	case 0, 1:
		if t.running {
			t.kill()
		}
	case 2, 3:
		if !t.running {
			t.boot()
		}
	case 4:
		if v := t.saved; !t.running && v != nil && v.Named(t.cfg.Self.Name).Incarnation == t.cfg.Self.Incarnation {
			t.resume()
		}
	case 5:
		if t.running && !t.paused {
			t.pause()
		}
	case 6, 7:
		if t.running && t.paused && (t.heart == nil || !t.heart.frozen) {
			t.unpause()
		}
	case 8:
		n.split(n.groups()...)
	case 9:
		if t != o {
			n.cuts[[2]*testNode{t, o}] = true
			n.disturbed = n.now
		}
	case 10:
		n.loss = pick(n, 0.01, 0.1, 0.3)
		n.disturbed = n.now
	case 11:
		n.heal()
	case 12:
		if t.running && !t.paused {
			t.do(func() { t.m.Leave(n.now, "left") })
			t.kill()
			t.saved, t.lease = nil, 0
		}
	case 13:
		t.lose(n)
	case 14:
		t.do(func() { t.m.Drain(n.now, n.rand.IntN(2) == 0) })
	case 15:
		t.do(func() { _ = t.m.Promote(n.now, o.cfg.Self.Name) }) // of no member: refused
	case 16:
		t.do(func() { _ = t.m.Expel(n.now, o.cfg.Self.Name) })
	}
}

// lose changes which interfaces a node has.
func (t *testNode) lose(n *network) {
	t.down = uint32(n.rand.IntN(4)) << 1 & uint32(n.rand.IntN(8))
	t.grace = n.rand.IntN(4) == 0
	t.report()
}

// mend makes everything work again.
func (n *network) mend() {
	n.heal()
	for _, t := range n.nodes {
		t.down, t.grace = 0, false
		switch {
		case !t.running:
			t.boot()
		case t.heart != nil && t.heart.frozen:
			t.thaw()
		case t.paused:
			t.unpause()
		}
		t.report()
	}
}

// TestEL9_HL2_InterfacesFailAtRandom breaks and mends data interfaces of all nodes
// at any moment, also of several at once, and kills nodes now and then: whoever is
// taken out for it leaves a member behind (Fenced). In the end, nobody is in the
// cluster that another member is better off than.
func TestEL9_HL2_InterfacesFailAtRandom(t *testing.T) {
	ejected := 0
	forSeeds(t, 4, func(n *network) {
		hold := pick(n, 300*time.Millisecond, 3*time.Second)
		n.build(hold)
		for _, t := range n.nodes {
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
			default:
				t.lose(n)
			}
			n.run(n.between(0, pick(n, 2*time.Millisecond, hold/10, 2*hold)))
		}
		for _, t := range n.nodes {
			t.grace = false
			t.report()
		}
		n.run(5*time.Second + 4*hold)
		for _, a := range n.nodes {
			if a.why == wire.CauseInterface {
				ejected++
			}
			for _, b := range n.nodes {
				if a.member() && b.member() && sameView(a.applied, b.applied) && b.down != a.down && b.down&^a.down == 0 {
					n.violated("HL2: %s lacks %#x and is in the cluster with %s, which lacks only %#x",
						a.cfg.Self.Name, a.down, b.cfg.Self.Name, b.down)
				}
			}
		}
	})
	if ejected == 0 {
		t.Error("nobody was ever taken out")
	}
}

// member reports whether the node runs and has a view.
func (t *testNode) member() bool { return t.running && t.m.state == wire.StateInSync }

func sameView(a, b *wire.View) bool { return a.Term == b.Term && a.Epoch == b.Epoch }

// TestEL6_EL9_NetworkFuzz disturbs random networks at random and then mends
// them. At every moment: one control node a term, views only newer and never
// ambiguous (Apply), no last node fenced (Fenced), dead fast paths silent before
// their connections are adopted (checkLeases). In the end: one cluster of all.
func TestEL6_EL9_NetworkFuzz(t *testing.T) {
	forSeeds(t, 1, func(n *network) {
		hold := pick(n, 300*time.Millisecond, time.Second, 3*time.Second)
		n.build(hold)
		for _, t := range n.nodes {
			t.boot()
			n.run(n.between(0, 100*time.Millisecond))
		}
		for range 5 + n.rand.IntN(20) {
			n.disturb()
			n.run(n.between(0, pick(n, hold/10, hold, 3*hold)))
		}
		n.mend()
		n.run(6*time.Second + 8*hold)
		if _, why := n.agreed(); why != "" {
			n.violated("no agreement after healing: %s", why)
		}
		n.checkTicks()
	})
}

// checkTicks proves that machines in a healthy cluster only wake for their
// heartbeats.
func (n *network) checkTicks() {
	for _, t := range n.nodes {
		t.ticks = 0
	}
	hold := n.nodes[0].cfg.Hold
	n.run(10 * hold)
	for _, t := range n.nodes {
		if t.ticks > 40 {
			n.violated("%s ticks %d times in 10 hold times", t.cfg.Self.Name, t.ticks)
		}
	}
}

// TestEL5_NoConnectionIsLostByPartitions cuts clusters into sides that both see
// the cut, and heals them: nobody is ever fenced, so nobody drops its flow
// table, and the best of the control nodes that met rules.
func TestEL5_NoConnectionIsLostByPartitions(t *testing.T) {
	forSeeds(t, 4, func(n *network) {
		hold := pick(n, 300*time.Millisecond, 3*time.Second)
		n.build(hold)
		for _, t := range n.nodes {
			t.boot()
		}
		n.run(time.Second)
		lives := fmt.Sprint(incarnations(n))
		for range 1 + n.rand.IntN(3) {
			n.split(n.groups()...)
			n.run(n.between(2*hold, 4*hold))
			best := n.bestRuler()
			n.heal()
			n.run(n.between(2*hold, 3*hold))
			v, why := n.agreed()
			if why != "" {
				n.violated("not merged: %s", why)
				return
			}
			if ruler := v.Member(v.Control).Name; ruler != best {
				n.violated("EL5: %s rules after the heal, %s is better", ruler, best)
			}
		}
		for _, t := range n.nodes {
			if t.fences > 0 {
				n.violated("%s was fenced", t.cfg.Self.Name)
			}
		}
		if now := fmt.Sprint(incarnations(n)); now != lives {
			n.violated("incarnations changed: %s, %s", lives, now)
		}
	})
}

func incarnations(n *network) (list []wire.Incarnation) {
	for _, t := range n.nodes {
		list = append(list, t.m.self.Incarnation)
	}
	return list
}

// bestRuler is the best of the present control nodes.
func (n *network) bestRuler() string {
	var best *wire.Member
	for _, t := range n.nodes {
		if t.m.ruling() && (best == nil || better(&t.m.self, best)) {
			best = &t.m.self
		}
	}
	return best.Name
}

// TestEL4_HL1_DetectionTimes kills nodes at random moments, with and without
// 1 % loss: the view without the dead one is there between two thirds of the
// hold time (a heartbeat may be that old) and hold time + 500 ms after the kill,
// and not earlier than hold time after its last packet.
func TestEL4_HL1_DetectionTimes(t *testing.T) {
	var sum, worst time.Duration
	trials := 0
	forSeeds(t, 4, func(n *network) {
		hold := pick(n, time.Second, 3*time.Second)
		n.build(hold)
		for _, t := range n.nodes {
			t.boot()
		}
		n.run(time.Second + n.between(0, 2*hold))
		victim := pick(n, n.nodes...)
		lastBeat := victim.m.beatAt
		n.loss = pick(n, 0, 0.01)
		n.disturbed = n.now
		victim.kill()
		killed := n.now
		n.run(2 * hold)
		for _, t := range n.nodes {
			if t == victim {
				continue
			}
			out := n.firstWithout(t, victim, killed)
			took := time.Duration(out - killed)
			switch {
			case out == 0:
				n.violated("%s still has %s", t.cfg.Self.Name, victim.cfg.Self.Name)
			case took > hold+500*time.Millisecond:
				n.violated("%s lost %s %v after the kill", t.cfg.Self.Name, victim.cfg.Self.Name, took)
			case n.loss == 0 && out-lastBeat < int64(hold):
				n.violated("%s lost %s only %v after its last heartbeat",
					t.cfg.Self.Name, victim.cfg.Self.Name, time.Duration(out-lastBeat))
			}
			sum += took * 100 / hold
			worst = max(worst, took*100/hold)
			trials++
		}
	})
	t.Logf("%d detections: mean %d %%, worst %d %% of the hold time after the kill", trials, sum/time.Duration(trials), worst)
}

// firstWithout is when t applied its first view without victim.
func (n *network) firstWithout(t, victim *testNode, since int64) int64 {
	for _, h := range t.history {
		if h.at >= since && h.v.Named(victim.cfg.Self.Name) == nil {
			return h.at
		}
	}
	return 0
}

// TestHL1_HealthyNodesStay: 1 % loss and 5 ms jitter (CL6) eject nobody,
// although two lost heartbeats in a row are then an everyday event.
func TestHL1_HealthyNodesStay(t *testing.T) {
	forSeeds(t, 4, func(n *network) {
		n.build(3 * time.Second)
		for _, t := range n.nodes {
			t.boot()
		}
		n.run(5 * time.Second)
		_, why := n.agreed()
		views := len(n.nodes[0].history)
		n.loss = 0.01
		n.delay = func() int64 { return n.rand.Int64N(int64(10 * time.Millisecond)) } // CL6: 5 ms jitter
		n.run(30 * time.Second)
		if why != "" {
			n.violated("not formed: %s", why)
		}
		if more := len(n.nodes[0].history) - views; more != 0 {
			n.violated("%d views while everybody was healthy", more)
		}
	})
}
