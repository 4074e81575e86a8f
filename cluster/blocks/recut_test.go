package blocks

import (
	"testing"
	"time"

	"cohort/ccl/wire"
)

// grown is a world of 4 nodes and one address of 128 ports, in blocks of size.
func grown(t *testing.T, sizes ...int) *world {
	t.Helper()
	w := newWorld(1, 4, Range{0, 128, 128})
	w.reliable = true
	for _, size := range sizes {
		c := cutting{pools: []Range{{0, 128 / size, 128 / size}}}
		for a := 0; a < 128; a += size {
			var unit []int
			for i := range size {
				unit = append(unit, a+i)
			}
			c.atoms = append(c.atoms, unit)
		}
		w.cuts = append(w.cuts, c)
	}
	w.cut = 1
	w.form(0, 20*ms)
	w.run(2 * time.Second)
	w.fair(t)
	return w
}

// fair fails the test unless every unit has a holder and nodes have equal shares.
func (w *world) fair(t *testing.T) {
	t.Helper()
	count := w.holders()
	for _, n := range w.nodes {
		if count[-1] != 0 || count[n.i] != len(w.cuts[w.cut].atoms)/4 {
			t.Fatalf("holders of %d units: %v", len(w.cuts[w.cut].atoms), count)
		}
		for u := range w.cuts[w.cut].atoms {
			if n.held[u] != n.m.Held(u) {
				t.Fatalf("%s holds unit %d: %v; it allocates from it: %v", n.name, u, n.m.Held(u), n.held[u])
			}
		}
	}
	if w.failed != nil {
		t.Fatal(w.failed)
	}
}

// busy opens a connection in every unit, at its holder.
func (w *world) busy() {
	for _, n := range w.nodes {
		for u := range n.held {
			w.conns = append(w.conns, conn{w.cuts[n.cut].atoms[u][0], n, n.life})
		}
	}
}

// Smaller blocks of a pool in which every block is in use: nobody stops
// allocating for a moment, and what is idle of them moves until the shares are
// fair again.
func TestNT7_SmallerBlocksKeepTheirHolders(t *testing.T) {
	w := grown(t, 4, 2)
	w.busy()
	before := append([]owned(nil), w.atoms...)
	w.cut = 2
	w.form(0, 20*ms)
	for range 30 {
		w.step()
		for a, o := range w.atoms {
			if o != before[a] {
				t.Fatalf("port %d changed hands before everybody had registered", a)
			}
		}
		if w.nodes[3].ready {
			break
		}
	}
	w.run(3 * time.Second)
	if n := w.holders()[-1]; n != 0 || w.failed != nil {
		t.Fatalf("%d units are nobody's; %v", n, w.failed)
	}
	if s := w.nodes[0].m.Stats(); s.Given == 0 {
		t.Error("no idle unit has moved to its target")
	}
	w.conns = nil
	w.run(3 * time.Second)
	w.fair(t)
}

// Larger blocks join ports of several holders. Nobody has them until their
// director takes them, also while they are in use, and then only when what
// rests elsewhere is over.
func TestNT7_LargerBlocksAreTakenInUse(t *testing.T) {
	w := grown(t, 2, 8)
	w.busy()
	w.cut = 2
	w.form(0, 20*ms)
	w.run(350 * time.Millisecond)
	orphans := w.holders()[-1]
	if orphans == 0 {
		t.Fatal("every larger block was of one holder: this proves nothing")
	}
	w.run(3 * time.Second)
	if n := w.holders()[-1]; n != 0 || w.failed != nil {
		t.Fatalf("of %d units that were nobody's, %d are in the end; %v", orphans, n, w.failed)
	}
	remade := uint64(0)
	for _, n := range w.nodes {
		remade += n.m.Stats().Remade
	}
	if remade != uint64(orphans) {
		t.Errorf("%d units were taken in use, want %d", remade, orphans)
	}
	w.conns = nil
	w.run(3 * time.Second)
	w.fair(t)
}

// A unit that is on its way when the numbering changes arrives, or comes back,
// under its new number.
func TestNT7_UnitsOnTheirWay(t *testing.T) {
	for _, arrives := range []bool{false, true} {
		w := grown(t, 4, 2)
		a, b := w.nodes[0], w.nodes[1]
		given := a.m.held.next(0)
		if !arrives {
			w.links[[2]int{a.i, b.i}] = &link{last: w.now + 1<<60}
		}
		a.m.give(b.id(), []wire.UnitRange{{First: uint32(given), Count: 1}}, wire.GiveUnits{})
		for end := w.now + 20*ms; w.now < end && !b.m.Held(given); {
			w.step() // before the next pass of hand-over
		}
		if b.m.Held(given) != arrives || a.m.Held(given) {
			t.Fatalf("arrives %v: %s holds unit %d: %v", arrives, b.name, given, b.m.Held(given))
		}
		w.cut = 2
		w.links[[2]int{a.i, b.i}] = &link{} // what was in it is lost
		w.form(0, 0)
		holder, other := a, b
		if arrives {
			holder, other = b, a
		}
		both := func(n *node) bool { return n.cut == 2 && n.m.Held(2*given) && n.m.Held(2*given+1) }
		had := false
		for end := w.now + 100*ms; w.now < end && !had; had = both(holder) {
			w.step() // until it hands them over to their targets
			if both(other) {
				t.Fatalf("arrives %v: %s holds what %s should", arrives, other.name, holder.name)
			}
		}
		if !had {
			t.Fatalf("arrives %v: %s never held the parts of unit %d", arrives, holder.name, given)
		}
		w.run(2 * time.Second)
		w.fair(t)
	}
}
