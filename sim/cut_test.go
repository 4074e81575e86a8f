package sim

import (
	"testing"
	"time"
)

// ears says who hears whom: ears[a][b] is false where what a says does not reach b.
type ears [8][8]bool

func (w *World) ears() (e ears) {
	for a := range w.nodes {
		for b := range w.nodes {
			e[a][b] = w.net.passes(a, b)
		}
	}
	return e
}

// deaf and mute count those that hear nobody, and that nobody hears.
func (e *ears) deaf(n int) (deaf, mute int) {
	for x := range n {
		hears, heard := false, false
		for y := range n {
			hears, heard = hears || y != x && e[y][x], heard || y != x && e[x][y]
		}
		if !hears {
			deaf++
		}
		if !heard {
			mute++
		}
	}
	return deaf, mute
}

// lost counts the pairs that do not hear one another in one direction.
func (e *ears) lost(n int) (pairs int) {
	for a := range n {
		for b := range n {
			if a != b && !e[a][b] {
				pairs++
			}
		}
	}
	return pairs
}

// sides are the nodes that node 0 talks with both ways, itself included, and the
// others; ok: each side is whole, and nothing crosses.
func (e *ears) sides(n int) (near, far int, ok bool) {
	for x := range n {
		if e[0][x] || x == 0 {
			near++
		} else {
			far++
		}
	}
	for a := range n {
		for b := range n {
			if same := (e[0][a] || a == 0) == (e[0][b] || b == 0); a != b && e[a][b] != same {
				return near, far, false
			}
		}
	}
	return near, far, true
}

// TestCuts_SeparateWhomTheySay: what the invariants are tried under is what the names
// of the faults promise, in every size of cluster, and it ends by itself in time.
func TestCuts_SeparateWhomTheySay(t *testing.T) {
	for name, c := range map[string]struct {
		fault       Fault
		least, most time.Duration // of the cut
		right       func(e *ears, n int) bool
	}{
		"Deaf": {Deaf, 20 * time.Millisecond, 2020 * time.Millisecond, func(e *ears, n int) bool {
			deaf, mute := e.deaf(n)
			return e.lost(n) == n-1 && deaf == 1 && (mute == 0 || n == 2)
		}},
		"Mute": {Mute, 20 * time.Millisecond, 2020 * time.Millisecond, func(e *ears, n int) bool {
			deaf, mute := e.deaf(n)
			return e.lost(n) == n-1 && mute == 1 && (deaf == 0 || n == 2)
		}},
		"Alone": {Alone, 20 * time.Millisecond, 2020 * time.Millisecond, func(e *ears, n int) bool {
			near, far, ok := e.sides(n)
			return ok && min(near, far) == 1 && far > 0
		}},
		"Halves": {Halves, 20 * time.Millisecond, 2020 * time.Millisecond, func(e *ears, n int) bool {
			near, far, ok := e.sides(n)
			return ok && near+far == n && near-far <= 1 && far-near <= 1
		}},
		"Partition":     {Partition, 20 * time.Millisecond, 2020 * time.Millisecond, func(e *ears, n int) bool { _, _, ok := e.sides(n); return ok }},
		"LongPartition": {LongPartition, 3 * time.Second, 9 * time.Second, func(e *ears, n int) bool { _, _, ok := e.sides(n); return ok }},
		"DeadlyHeal":    {DeadlyHeal, time.Second, 5 * time.Second, func(e *ears, n int) bool { _, _, ok := e.sides(n); return ok }},
		"OneWay":        {OneWay, 20 * time.Millisecond, 2020 * time.Millisecond, func(e *ears, n int) bool { return e.lost(n) <= 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			cuts := 0
			for seed := range uint64(200) {
				n := sizes[seed%uint64(len(sizes))]
				w := open(Config{Seed: seed, Nodes: n})
				began := w.clock.now
				c.fault(w)
				e := w.ears()
				if !c.right(&e, n) {
					t.Fatalf("seed %d, %d nodes: %v", seed, n, e)
				}
				if e.lost(n) == 0 {
					continue // nobody is on the other side
				}
				cuts++
				whole := int64(0)
				w.clock.run(began+int64(c.most), func() {
					if now := w.ears(); whole == 0 && now.lost(n) == 0 {
						whole = w.clock.now
					}
				})
				if lasted := time.Duration(whole - began); lasted < c.least {
					t.Fatalf("seed %d: the cut lasted %v, want %v to %v", seed, lasted, c.least, c.most)
				}
			}
			if cuts < 100 {
				t.Errorf("%d of 200 seeds cut anything", cuts)
			}
		})
	}
}

// TestCuts_FlappingComesAndGoes: again and again, in both directions or in one, until
// the faults end.
func TestCuts_FlappingComesAndGoes(t *testing.T) {
	oneWay, both := 0, 0
	for seed := range uint64(100) {
		n := sizes[seed%uint64(len(sizes))]
		w := open(Config{Seed: seed, Nodes: n})
		began := w.clock.now
		Flapping(w)
		first := w.ears()
		if first.lost(n) == 0 {
			continue // nobody is on the other side
		}
		if _, _, ok := first.sides(n); ok {
			both++
		} else {
			oneWay++
		}
		cuts, cut := 1, true
		w.clock.run(began+15*second, func() {
			e := w.ears()
			switch {
			case e.lost(n) == 0:
				cut = false
			case e != first:
				t.Fatalf("seed %d: another cut: %v, at first %v", seed, e, first)
			case !cut:
				cuts, cut = cuts+1, true
			}
		})
		if cuts < 3 || cuts > 10 || cut {
			t.Errorf("seed %d: %d cuts, want 3 to 10; cut in the end: %v", seed, cuts, cut)
		}
	}
	if oneWay < 10 || both < 10 {
		t.Errorf("%d flap in one direction and %d in both", oneWay, both)
	}
	w := open(Config{Seed: 1, Nodes: 4})
	w.mended = true
	w.flap(5, second, second, func(a, b int) bool { return a == 0 })
	if len(w.net.cut) > 0 {
		t.Error("a link that was mended flaps on")
	}
}

// TestCuts_ADeadlyHealTakesMachines: around the end of the cut, and none after the
// faults have ended.
func TestCuts_ADeadlyHealTakesMachines(t *testing.T) {
	for _, mended := range []bool{false, true} {
		died, cut := 0, 0
		for seed := range uint64(20) {
			w := open(Config{Seed: seed, Nodes: 4})
			w.boot()
			w.advance(2 * second)
			DeadlyHeal(w)
			w.mended = mended
			on := func() (n int) {
				for _, x := range w.nodes {
					if x.powered {
						n++
					}
				}
				return n
			}
			for range 80 {
				w.advance(100 * ms)
				if on() < len(w.nodes) {
					died++
					if len(w.net.cut) > 0 {
						cut++
					}
					break
				}
			}
		}
		if !mended && (died < 20 || cut == 0 || cut == died) || mended && died > 0 {
			t.Errorf("mended %v: machines died in %d of 20 seeds, in %d while the link was cut", mended, died, cut)
		}
	}
}
