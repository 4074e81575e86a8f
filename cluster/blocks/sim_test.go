package blocks

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var (
	seeds = flag.Int("blocks.seeds", 150, "seeds of the simulation")
	first = flag.Uint64("blocks.first", 1, "first seed")
)

// TestNT4_AnyKillPartitionAndHeal plays random disasters. At every moment no
// unit is held by two lives; a unit is thawed only when its director has heard of
// every living connection that uses it; and when everybody is back and idle, every unit is where it should be.
func TestNT4_AnyKillPartitionAndHeal(t *testing.T) {
	var sum Stats
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		s, err := play(seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		sum.add(s)
	}
	t.Logf("%d seeds: %+v", *seeds, sum)
	if sum.TakenBack == 0 || sum.Thawed == 0 || sum.LeasesIn == 0 || sum.Given == 0 || sum.Remade == 0 || sum.InUse == sum.Remade {
		t.Error("something never happened: the simulation proves less than it says")
	}
}

func (s *Stats) add(o Stats) {
	s.Given += o.Given
	s.Taken += o.Taken
	s.TakenBack += o.TakenBack
	s.Thawed += o.Thawed
	s.InUse += o.InUse
	s.Remade += o.Remade
	s.LeasesIn += o.LeasesIn
	s.LeasesOut += o.LeasesOut
	s.Refused += o.Refused
	s.Dropped += o.Dropped
}

// play runs one seed. A third of them play in a cluster that hardly changes, but
// whose processes restart and whose links are slow: there, what matters is the
// order in which news arrives.
func play(seed uint64) (sum Stats, err error) {
	r := rand.New(rand.NewPCG(seed, 2))
	n := 2 + r.IntN(4)
	w := newWorld(seed, n, Range{0, 22, 11}, Range{22, 5, 1})
	w.ranges, w.slowDisk = 1+r.IntN(8), true
	w.cuts = append(w.cuts, numberings()...)
	slow, pair := r.IntN(3), r.Uint64()
	w.delay = func(a, b *node) int64 {
		if w.rng.IntN(20) == 0 || pair>>(a.i*8+b.i)&7 == 0 {
			return w.rng.Int64N([]int64{2 * ms, 50 * ms, 400 * ms}[slow]) + 1
		}
		return w.rng.Int64N(2*ms) + 1
	}
	w.form(0, 20*ms)
	w.run(4 * time.Second)
	if c := w.holders(); c[-1] > 0 {
		return sum, fmt.Errorf("after founding: %v", c)
	}
	for range 10 + r.IntN(30) {
		if seed%3 == 0 && r.IntN(8) != 0 {
			w.unrest(r)
		} else {
			w.disaster(r)
		}
		w.use(r)
		w.run(time.Duration(r.Int64N(int64([]int64{5, 40, 400, 1500}[r.IntN(4)])*ms) + 1))
		w.checkLeased()
		if w.failed != nil {
			return sum, fmt.Errorf("%v", w.failed)
		}
	}
	return w.peace()
}

// numberings are others of the same ports: blocks of two, blocks of three, and
// the pools the other way round with an address less each.
func numberings() (list []cutting) {
	blocks := func(c *cutting, first, ports, size int) {
		for a := first; a < first+ports; a += size {
			var unit []int
			for i := a; i < min(a+size, first+ports); i++ {
				unit = append(unit, i)
			}
			c.atoms = append(c.atoms, unit)
		}
	}
	for _, size := range []int{2, 3} {
		per := (11 + size - 1) / size
		c := cutting{pools: []Range{{0, 2 * per, per}, {2 * per, 5, 1}}}
		blocks(&c, 0, 11, size)
		blocks(&c, 11, 11, size)
		blocks(&c, 22, 5, 1)
		list = append(list, c)
	}
	c := cutting{pools: []Range{{0, 4, 1}, {4, 11, 11}}}
	blocks(&c, 22, 4, 1)
	blocks(&c, 11, 11, 1)
	return append(list, c)
}

// unrest does one thing that needs no other view.
func (w *world) unrest(r *rand.Rand) {
	n := w.nodes[r.IntN(len(w.nodes))]
	switch what := r.IntN(10); {
	case what < 3:
		if n.alive && n.m != nil {
			n.kill()
		}
	case what < 5:
		w.reset(n, w.nodes[r.IntN(len(w.nodes))])
		w.resume()
	case what < 7:
		if n.alive && n.m != nil {
			n.m.Want(w.now, r.IntN(2), 1+r.IntN(4))
		}
	case what < 8:
		if n.alive {
			n.crash()
			w.adopt()
			n.boot()
			w.form(n.side, r.Int64N(50*ms))
		}
	}
}

// disaster does one thing to the world.
func (w *world) disaster(r *rand.Rand) {
	n := w.nodes[r.IntN(len(w.nodes))]
	switch what := r.IntN(100); {
	case what < 18: // cut or heal, then views, in any order
		sides := 1 + r.IntN(3)
		for _, n := range w.nodes {
			n.side = r.IntN(sides)
		}
		if r.IntN(3) == 0 {
			for _, o := range w.nodes {
				w.reset(n, o)
			}
		}
		w.resume()
		for s := range sides {
			w.form(s, r.Int64N(200*ms))
		}
	case what < 30: // the sides notice something again
		w.form(n.side, r.Int64N(200*ms))
	case what < 36: // a member is taken for dead
		w.form(n.side, r.Int64N(100*ms), n)
	case what < 46:
		if n.alive {
			n.crash()
			w.adopt()
			if r.IntN(2) == 0 {
				w.form(n.side, r.Int64N(50*ms))
			}
		}
	case what < 60:
		if !n.alive && !n.gone {
			n.boot()
			w.form(n.side, r.Int64N(50*ms))
		}
	case what < 66:
		if n.alive && n.m != nil {
			n.kill()
		}
	case what < 70:
		if len(w.nodes) < 8 {
			w.add(false).side = n.side
			w.form(n.side, r.Int64N(50*ms))
		}
	case what < 76:
		for _, o := range w.nodes {
			if r.IntN(2) == 0 {
				w.reset(n, o)
			}
		}
	case what < 82:
		w.adopt()
	case what < 86: // everything loses power
		if r.IntN(4) == 0 {
			for _, n := range w.nodes {
				if n.alive {
					n.crash()
				}
			}
			w.term = 0 // nobody knows the last view
		}
	case what < 88:
		w.bury(n, r.IntN(2) == 0)
	case what < 90:
		w.depart(n)
	default: // a reload: the next views have another numbering
		w.cut = r.IntN(len(w.cuts))
		w.form(n.side, r.Int64N(200*ms))
	}
}

// use is what users do.
func (w *world) use(r *rand.Rand) {
	for range r.IntN(6) {
		n := w.nodes[r.IntN(len(w.nodes))]
		if !n.alive || n.m == nil {
			continue
		}
		switch r.IntN(3) {
		case 0:
			n.open()
		case 1:
			n.m.Want(w.now, r.IntN(2), 1+r.IntN(4))
		case 2:
			if len(w.conns) > 0 {
				i := r.IntN(len(w.conns))
				w.conns = slices.Delete(w.conns, i, i+1)
			}
		}
	}
	w.conns = slices.DeleteFunc(w.conns, func(c conn) bool { return !c.lives() })
}

// bury is an operator who sees that a node is dead, and that all that live are
// together. It may come back one day, empty, unless it is for good.
func (w *world) bury(dead *node, forGood bool) {
	var at *node
	if dead.alive || dead.gone {
		return
	}
	for _, n := range w.nodes {
		if !n.alive {
			continue
		}
		if n.m == nil || n.view == nil || at != nil && at.view != n.view {
			return
		}
		at = n
	}
	if at == nil {
		return
	}
	if _, err := at.m.Forget(w.now, dead.name); err == nil {
		dead.gone = forGood
	}
}

// depart is an orderly end.
func (w *world) depart(n *node) {
	alive := 0
	for _, o := range w.nodes {
		if o.alive {
			alive++
		}
	}
	if !n.ready || n.m == nil || alive < 3 {
		return
	}
	n.m.Leave(w.now)
	var step func()
	tries := 0
	step = func() {
		if n.m == nil || !n.alive || !n.m.leaving {
			return
		}
		if tries++; !n.m.LeaveReady() && tries < 20 {
			w.after(50*ms, step)
			return
		}
		n.dropping = true
		n.m.Depart(w.now)
		n.dropping = false
		n.gone = true
		w.conns = slices.DeleteFunc(w.conns, func(c conn) bool { return c.own == n }) // it forwards no more
		w.after(500*ms, func() {
			if n.alive {
				n.crash()
				w.form(n.side, 10*ms)
			}
		})
	}
	step()
}

// peace brings everybody back who can come back, ends all connections, and
// looks whether all units are where they belong.

func (w *world) peace() (sum Stats, err error) {
	w.run(2 * time.Second) // what departs has departed
	w.conns = nil
	for _, n := range w.nodes {
		n.side = 0
		if !n.alive && !n.gone {
			n.boot()
		}
	}
	w.resume()
	w.form(0, 50*ms)
	w.run(time.Second)
	for _, n := range w.nodes { // who departed while nobody could hear it
		if n.gone {
			w.operator(n.name)
		}
	}
	w.run(6 * time.Second)
	if w.failed != nil {
		return sum, fmt.Errorf("%v", w.failed)
	}
	var some *node
	for _, n := range w.nodes {
		if n.alive {
			some = n
			s := n.m.Stats()
			sum.add(s)
		}
	}
	for u, atoms := range w.cuts[w.cut].atoms {
		o := w.atoms[atoms[0]]
		for _, a := range atoms {
			if w.atoms[a] != o {
				return sum, fmt.Errorf("unit %d has several holders in the end", u)
			}
		}
		if o.by == nil {

			s := some.m.Status()
			return sum, fmt.Errorf("nobody holds unit %d in the end: %+v; lineage %x, waiting for %v, open %v", u, s.Units[u], s.Lineage, s.Missing, s.Open)
		}
		for _, n := range w.nodes {
			if n.alive && (n.m.Holder(u) != o.by.id() || n.m.Target(u) != o.by.id() || n.m.Held(u) != (n == o.by) || n.held[u] != (n == o.by)) {
				return sum, fmt.Errorf("%s holds unit %d; %s says %+v", o.by.name, u, n.name, n.m.Status().Units[u])
			}
		}
	}
	return sum, nil
}

func (w *world) operator(name string) {
	for _, n := range w.nodes {
		if n.alive {
			_, _ = n.m.Forget(w.now, name)
			return
		}
	}
}
