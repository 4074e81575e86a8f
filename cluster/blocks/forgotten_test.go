package blocks

import (
	"testing"
	"time"

	"cohort/ccl/wire"
)

// The operator's word was false: fw-d was cut off only, and went on with what it
// had, while the others shared it. After the heal every unit is in one hand
// again: fw-d's life ends. Neither that of another node does, nor the next one
// of fw-d, whatever views come.
func TestNT4_AForgottenNodeThatLivesGivesUpEverything(t *testing.T) {
	for seed := range uint64(200) {
		w := newWorld(seed, 4, Range{0, 126, 126})
		w.form(0, 0)
		w.run(time.Second)
		d := w.nodes[3]
		d.side = 1
		w.form(0, 20*ms)
		w.form(1, 20*ms)
		w.run(time.Second)
		w.say(t)
		w.run(time.Second)
		if n := len(w.nodes[0].held) + len(w.nodes[1].held) + len(w.nodes[2].held); n != 126 || len(d.held) < 31 {
			t.Fatalf("seed %d: fw-d has %d units, the others %d: the test proves nothing", seed, len(d.held), n)
		}
		w.failed = nil // what the operator did; from now on nobody is to blame but us
		lives := [4]wire.Incarnation{w.nodes[0].life, w.nodes[1].life, w.nodes[2].life, d.life}
		if seed%2 == 0 {
			w.nodes[w.rng.IntN(4)].kill()
		}
		if seed%4 < 2 {
			w.nodes[w.rng.IntN(3)].crash() // one that knew is away, and comes late
		}
		d.side = 0
		w.resume()
		w.form(0, 20*ms)
		w.run(time.Second)
		for _, n := range w.nodes {
			if !n.alive {
				n.boot()
			}
		}
		w.form(0, 20*ms)
		w.run(2 * time.Second)
		if d.life == lives[3] {
			t.Fatalf("seed %d: fw-d lives on", seed)
		}
		last := d.life
		w.form(0, 20*ms)
		w.run(2 * time.Second)
		hands := map[int]string{}
		for i, n := range w.nodes {
			if len(n.held) != len(n.journal) || len(n.held) < 31 {
				t.Fatalf("seed %d: %s holds %d and allocates from %d units", seed, n.name, len(n.journal), len(n.held))
			}
			for u := range n.held {
				if other, ok := hands[u]; ok {
					t.Fatalf("seed %d: %s and %s allocate from unit %d", seed, other, n.name, u)
				}
				hands[u] = n.name
			}
			if seed%4 > 1 && i < 3 && n.life != lives[i] {
				t.Fatalf("seed %d: the life of %s ended", seed, n.name)
			}
		}
		if len(hands) != 126 || w.failed != nil || d.life != last {
			t.Fatalf("seed %d: %d units, %v, another life of fw-d: %v", seed, len(hands), w.failed, d.life != last)
		}
	}
}

// A node that was dead when it was forgotten, and comes back empty, lives on.
func TestNT5_AForgottenNodeMayComeBackEmpty(t *testing.T) {
	for seed := range uint64(40) {
		w := widowed(seed)
		w.say(t)
		d := w.nodes[3]
		if seed%2 == 0 {
			d.disk = Memory{}
		}
		d.boot()
		life := d.life
		for range 2 {
			w.form(0, 20*ms)
			w.run(2 * time.Second)
		}
		if d.life != life || len(d.held) < 31 || w.failed != nil {
			t.Fatalf("seed %d: another life %v, %d units, %v", seed, d.life != life, len(d.held), w.failed)
		}
	}
}

// Who brings units into a view passes on none before all have said what they
// know of it.
func TestNT4_WhoMayBeForgottenGivesNothing(t *testing.T) {
	alone, v := members(4, 1, 2), members(5, 1, 2, 3)
	s := newMember(t, alone, nil)
	s.units(2, nil)
	s.heldBy(2, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
	s.apply(v)
	s.units(2, nil)
	s.units(3, func(u *wire.Units) { u.Sum = 5 })
	take[wire.GiveUnits](s)
	s.m.Settled(s.now)
	if g := take[wire.GiveUnits](s); len(g) != 0 {
		t.Fatalf("gives %+v", g)
	}
	s.units(2, nil)
	s.units(3, nil)
	s.now += 200 * ms
	s.m.Tick(s.now)
	if g := take[wire.GiveUnits](s); len(g) == 0 {
		t.Fatal("gives nothing to anybody")
	}
}
