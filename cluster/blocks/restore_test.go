package blocks

import (
	"slices"
	"testing"
	"time"

	"cohort/ccl/wire"
)

func TestHL5_ARestoredNodeAllocatesOnlyOnceSettled(t *testing.T) {
	v := members(4, 1, 2)
	s := newSingle(t, v, nil)
	s.m.Restore(s.now, v.Members[0].Incarnation, Number(v), []int{1, 2, 99})
	s.apply(v)
	s.units(2, nil)
	s.heldBy(2, 1, 5)
	s.busy = busy(s)
	if len(s.held) != 0 || !s.m.Held(1) || !s.m.Held(5) {
		t.Fatalf("allocates %v", s.held)
	}
	s.m.Settled(s.now)
	for _, u := range []int{1, 2, 5} {
		if !s.held[u] {
			t.Errorf("unit %d is not used after Settled", u)
		}
	}
}

func TestHL5_AnOlderViewOrAnotherLifeRestoresNothing(t *testing.T) {
	old, v := members(3, 1, 2), members(4, 1, 2)
	s := newSingle(t, v, nil)
	s.m.Restore(s.now, v.Members[0].Incarnation, Number(v), []int{1})
	s.apply(old)
	if s.m.view != nil || len(s.sent) != 0 {
		t.Fatal("speaks in a view that the former process had left")
	}
	s.apply(v)
	if s.m.view != v || !s.m.Held(1) {
		t.Fatal("does not go on in the newest view")
	}
	s = newSingle(t, v, nil)
	s.m.Restore(s.now, 1, Number(old), []int{1})
	s.apply(v)
	if s.m.Held(1) || s.m.stats.Dropped != 1 {
		t.Fatal("holds what another life of the node held")
	}
}

// A give that the former process took is not taken again, and one that it did
// not take still can be.
func TestHL5_NT4_ARestoredNodeKnowsWhatItTook(t *testing.T) {
	v := members(4, 1, 2, 3)
	s := newSingle(t, v, nil)
	s.m.Restore(s.now, v.Members[0].Incarnation, Number(v), nil,
		Taken{2, v.Members[1].Incarnation, 40}, Taken{3, 12345, 40}) // the second of a life that is over
	s.apply(v)
	if m := &s.m.peers; m[2].took != 40 || m[3].took == 40 {
		t.Fatal(m[2].took, m[3].took)
	}
	s.heldBy(2, 0, 1)
	s.heldBy(2, 1, 2)
	if s.m.Held(1) || !s.m.Held(2) {
		t.Fatal("took the wrong give")
	}
}

// takes is a TakeJournal that keeps only takes.
type takes map[wire.NodeID]Taken

func (takes) View(uint64)    {}
func (takes) Hold(int, bool) {}
func (j takes) Took(t Taken) { j[t.From] = t }

// A journal that began anew with this life hears what was taken of members that
// live on as they did.
func TestHL5_EveryViewTellsTheJournalWhatWasTaken(t *testing.T) {
	j := takes{}
	v := members(4, 1, 2)
	s := newHeard(t, v, func(c *Config) { c.Journal = j })
	s.heldBy(2, 1, 1)
	s.m.Lost(s.now)
	clear(j)
	next := members(5, 1, 2)
	next.Members[0].Incarnation = 5
	s.apply(next)
	if want := (Taken{2, next.Members[1].Incarnation, s.m.peers[2].took}); j[2] != want || len(j) != 1 {
		t.Fatalf("%v, want %v", j, want)
	}
}

// Until everybody has answered to the new process, nobody thaws; after that,
// it claims what the others had, because it may have given it to them.
func TestHL5_NT4_ARestoredNodeKnowsWhatItGaveAway(t *testing.T) {
	v := members(4, 1, 2, 3)
	s := newSingle(t, v, nil)
	s.m.Restore(s.now, v.Members[0].Incarnation, Number(v), nil)
	s.apply(v)
	s.units(2, func(u *wire.Units) { u.Past = []wire.UnitRange{{First: 3, Count: 2}} })
	for _, u := range take[wire.Units](s) {
		if u.Flags&wire.UnitsUnsure == 0 {
			t.Fatal("a restarted process is sure at once")
		}
	}
	if s.m.agreed() {
		t.Fatal("agreed while unsure")
	}
	s.units(3, nil)
	last := take[wire.Units](s)
	if u := last[len(last)-1]; u.Flags&wire.UnitsUnsure != 0 || !slices.Equal(u.Past, []wire.UnitRange{{First: 3, Count: 2}}) {
		t.Fatalf("%+v", u)
	}
	// It knows better when the journal says what was given away.
	s = newSingle(t, v, nil)
	s.m.Restore(s.now, v.Members[0].Incarnation, Number(v), nil)
	s.m.RestoreGone([]int{2, 4, 99})
	s.apply(v)
	s.units(2, func(u *wire.Units) { u.Past = []wire.UnitRange{{First: 3, Count: 2}} })
	s.units(3, nil)
	last = take[wire.Units](s)
	if u := last[len(last)-1]; u.Flags&wire.UnitsUnsure != 0 || !slices.Equal(u.Past, []wire.UnitRange{{First: 4, Count: 1}}) {
		t.Fatalf("%+v", u)
	}
	// In a newer view the former process cannot have given anything.
	s = newSingle(t, v, nil)
	s.m.Restore(s.now, v.Members[0].Incarnation, Number(members(3, 1)), nil)
	if s.apply(v); s.m.unsure {
		t.Fatal("unsure in a view that the former process never had")
	}
}

// Units on their way to a process that is killed arrive at the next one, in the
// same view.
func TestHL5_WhatIsOnItsWayToAKilledProcessIsNotLost(t *testing.T) {
	for seed := range uint64(40) {
		w := newWorld(seed, 3, Range{0, 30, 30})
		w.ranges, w.reliable, w.takes = 2, true, true
		w.form(0, 0)
		w.run(time.Second)
		view := w.nodes[0].view
		a := w.nodes[0]
		for range 6 {
			a.m.Want(w.now, 0, 3)
			for d := w.now + w.rng.Int64N(4*ms); w.now < d; {
				w.step()
			}
			a.kill()
			w.run(400 * time.Millisecond)
		}
		w.run(4 * time.Second)
		if h := w.holders(); h[0] != 10 || h[1] != 10 || h[2] != 10 || w.failed != nil || a.view != view {
			t.Fatal(seed, h, w.failed)
		}
	}
}

// Those on their way from a killed process come back too, in the next view at
// the latest: in the present one, others may claim to have had them.
func TestHL5_WhatWasOnItsWayFromAKilledProcessComesBack(t *testing.T) {
	lost := 0
	for seed := range uint64(40) {
		w := newWorld(seed, 3, Range{0, 30, 30})
		w.form(0, 0)
		w.run(time.Second)
		for range 6 {
			for _, n := range w.nodes[:2] {
				n.fill()
				n.m.leases[0].left[3] = 99 // node c is asked first
				n.m.Want(w.now, 0, 1)
			}
			for d := w.now + w.rng.Int64N(4*ms); w.now < d; {
				w.step()
			}
			w.nodes[2].kill()
			lost += w.holders()[-1]
			w.run(400 * time.Millisecond)
		}
		w.conns = nil
		w.form(0, 0)
		w.run(4 * time.Second)
		if h := w.holders(); h[0] != 10 || h[1] != 10 || h[2] != 10 || w.failed != nil {
			t.Fatal(seed, h, w.failed)
		}
	}
	if lost == 0 {
		t.Error("nothing was ever on its way: the test proves nothing")
	}
}

func TestNT4_AFencedNodeStopsAndALostOneHoldsNothing(t *testing.T) {
	v := members(4, 1, 2)
	s := newHeard(t, v, nil)
	s.heldBy(2, 1, 1, 2)
	s.m.Settled(s.now)
	s.m.Fence(s.now)
	if s.held[1] || !s.m.Held(1) {
		t.Fatal("a fenced node allocates, or has forgotten what it holds")
	}
	s.apply(members(5, 1, 2))
	if s.held[1] {
		t.Fatal("allocates before Settled")
	}
	s.m.Settled(s.now)
	if !s.held[1] {
		t.Fatal("does not go on")
	}
	s.m.Lost(s.now)
	if s.held[1] || s.m.Held(1) {
		t.Fatal("a lost node holds units")
	}
	// Also when only the view says that this is another life.
	s = newMember(t, v, nil)
	s.units(2, nil)
	s.heldBy(2, 1, 1)
	took := s.m.peers[2].took
	next := members(5, 1, 2)
	next.Members[0].Incarnation = 5
	s.sent = nil
	s.now += 10 * ms
	s.apply(next)
	if s.m.Held(1) {
		t.Fatal("a new life holds units of the former one")
	}
	if u := take[wire.Units](s); u[0].Took <= took+1 {
		t.Fatal("would take what was given to the former life")
	}
}
