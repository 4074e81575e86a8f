package blocks

import (
	"slices"
	"testing"
	"time"

	"cohort/ccl/wire"
)

// widowed is four nodes that had 126 units, one of which, fw-d, is without
// power, and not in the view of the others.
func widowed(seed uint64) *world {
	w := newWorld(seed, 4, Range{0, 126, 126})
	w.form(0, 0)
	w.run(time.Second)
	w.nodes[3].crash()
	w.form(0, 0)
	w.run(time.Second)
	return w
}

// say is what the verb does: it says that fw-d is over, to any node that
// answers, until that node knows that everybody knows.
func (w *world) say(t *testing.T) {
	t.Helper()
	for end := w.now + 10_000*ms; w.now < end; w.run(20 * time.Millisecond) {
		for _, n := range w.nodes[:3] {
			if n.m == nil {
				continue
			}
			if _, err := n.m.Forget(w.now, "fw-d"); err != nil {
				t.Fatal(err)
			}
			if len(n.m.Unaware()) == 0 {
				return
			}
			break
		}
	}
	t.Fatal("not everybody knows after 10 s")
}

// shared reports whether the three that are left have everything.
func (w *world) shared() bool {
	h := w.holders()
	return h[0] == 42 && h[1] == 42 && h[2] == 42
}

// However the processes die while it is said, in the end everybody knows, and
// the units are shared: in the same view, because no other may ever come.
func TestNT5_ForgettingOutlivesProcesses(t *testing.T) {
	for seed := range uint64(1000) {
		w := widowed(seed)
		w.takes = true
		if h := w.holders(); h[-1] < 30 {
			t.Fatalf("seed %d: nothing is frozen: %v", seed, h)
		}

		for range 4 {
			victim := w.nodes[w.rng.IntN(3)]
			w.after(w.rng.Int64N(100*ms), func() {
				if victim.m != nil {
					victim.kill()
				}
			})
		}
		w.say(t)
		w.run(2 * time.Second) // all processes are back
		if !w.shared() || w.failed != nil {
			t.Fatalf("seed %d: %v, waiting for %v; %v", seed, w.holders(), w.nodes[0].m.Status().Missing, w.failed)
		}
	}
}

// When nobody is unaware any more, nobody needs to be told again, whatever
// loses its power then.
func TestNT5_WhatEverybodyKnowsOutlivesThePower(t *testing.T) {
	for seed := range uint64(40) {
		w := widowed(seed)
		w.say(t)
		for _, n := range w.nodes[:3] {
			n.crash()
		}
		w.term = 0
		for _, n := range w.nodes[:3] {
			n.boot()
		}
		w.form(0, 20*ms)
		w.run(2 * time.Second)
		if !w.shared() || w.failed != nil {
			t.Fatalf("seed %d: %v, waiting for %v; %v", seed, w.holders(), w.nodes[0].m.Status().Missing, w.failed)
		}
	}
}

// Who has not said that it knows is named, this node too.
func TestUnawareNamesThem(t *testing.T) {
	var disk []Memory
	v := members(5, 1, 2, 3)
	s := newSingle(t, v, func(c *Config) {
		c.Memory.Roster = append(c.Memory.Roster, wire.RosterEntry{Name: "fw-9", Seen: 1})
		c.Remember = func(m Memory) { disk = append(disk, m) }
	})
	if s.m.Unaware() != nil {
		t.Fatal("speaks of members without a view")
	}
	s.apply(v)
	s.units(2, nil)
	s.units(3, nil)
	if got := s.m.Unaware(); got != nil {
		t.Fatalf("%v do not know what they say", got)
	}
	before := s.m.roster.sum
	if changed, err := s.m.Forget(s.now, "fw-9"); !changed || err != nil {
		t.Fatal(err)
	}
	if changed, err := s.m.Forget(s.now, "fw-9"); changed || err != nil {
		t.Fatal("again:", changed, err)
	}
	if got := s.m.Unaware(); !slices.Equal(got, []string{"fw-1", "fw-2", "fw-3"}) {
		t.Fatal(got)
	}
	s.m.Remembered(s.now, disk[len(disk)-1].Version)
	s.units(2, nil)
	s.units(3, func(u *wire.Units) { u.Sum = before })
	if got := s.m.Unaware(); !slices.Equal(got, []string{"fw-3"}) {
		t.Fatal(got)
	}
}

// A member that saw the node last, and is heard late, undoes it: it must be said
// again.
func TestForgettingIsUndoneByWhoSawItLast(t *testing.T) {
	v := members(5, 1, 2)
	var over []string
	s := newSingle(t, v, func(c *Config) {
		c.Memory.Roster = append(c.Memory.Roster, wire.RosterEntry{Name: "fw-9", Seen: 1})
		c.Over = func(name string) { over = append(over, name) }
	})
	s.apply(v)
	_, _ = s.m.Forget(s.now, "fw-9")
	late := wire.Roster{Entries: []wire.RosterEntry{{Name: "fw-9", Seen: Number(v) + 7}}}
	s.m.Message(s.now, 2, late)
	if got := s.m.roster.missing(v); !slices.Equal(got, []string{"fw-9"}) {
		t.Fatal(got)
	}
	if changed, err := s.m.Forget(s.now, "fw-9"); !changed || err != nil {
		t.Fatal(changed, err)
	}
	s.m.Message(s.now, 2, late)
	if got := s.m.roster.missing(v); got != nil || over != nil {
		t.Fatal(got, over)
	}
	// Another member's word is told, once; a name never heard of is no news.
	late.Entries[0] = wire.RosterEntry{Name: "fw-9", Seen: Number(v) + 8}
	s.m.Message(s.now, 2, late)
	late.Entries[0].Over = true
	late.Entries = append(late.Entries, wire.RosterEntry{Name: "fw-8", Seen: 1, Over: true})
	s.m.Message(s.now, 2, late)
	s.m.Message(s.now, 2, late)
	if !slices.Equal(over, []string{"fw-9"}) {
		t.Fatal(over)
	}
}
