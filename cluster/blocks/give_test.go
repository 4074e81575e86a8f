package blocks

import (
	"slices"
	"testing"

	"cohort/ccl/wire"
)

func TestNT4_UnitsAreGivenOnceTheyAreIdleAndAllocationHasStopped(t *testing.T) {
	v := members(1, 1, 2)
	s := newHeard(t, v, nil)
	s.heldBy(2, 1, all(s)...)
	s.tick(300 * ms)
	if g := take[wire.GiveUnits](s); len(g) != 0 {
		t.Fatalf("gave before Settled: %+v", g)
	}
	for u := range s.m.units {
		s.busy[u] = u != 3 && u != 4
	}
	other := -1
	for _, u := range []int{3, 4} {
		if s.m.Target(u) == 2 {
			other = u
		}
	}
	if other < 0 {
		t.Fatal("choose other units")
	}
	s.log = nil
	s.m.Settled(s.now)
	s.tick(200 * ms)
	for u := range s.m.units {
		if gone := !s.m.Held(u); gone && s.busy[u] || !gone && u == other && s.m.Target(3) != s.m.Target(4) {
			t.Errorf("unit %d: busy %v, given %v", u, s.busy[u], gone)
		}
	}
	if !slices.Equal(s.log[:3], []string{"stop", "journal", "send"}) {
		t.Errorf("order: %v", s.log)
	}
}

func TestNT4_AGiveCountsInItsViewAndInItsTurnOnly(t *testing.T) {
	v := members(2, 1, 2)
	s := newHeard(t, v, nil)
	took := s.m.peers[2].took
	give := func(view uint32, seq uint64, u uint32) {
		s.m.Message(s.now, 2, wire.GiveUnits{View: view, Seq: seq, Units: []wire.UnitRange{{First: u, Count: 1}}})
	}
	give(members(1, 1, 2).Tag(), took+1, 0) // an older view
	give(v.Tag(), took+2, 1)                // out of turn
	give(v.Tag(), took, 2)                  // of a former life of the channel
	if s.m.held.count() != 0 {
		t.Fatalf("took %v", s.m.held)
	}
	give(v.Tag(), took+1, 3)
	s.sent = nil
	give(v.Tag(), took+1, 4) // the same number again: not again, but confirmed again
	if !s.m.Held(3) || s.m.Held(4) || !s.held[3] {
		t.Fatal("not exactly unit 3 was taken")
	}
	if u := take[wire.Units](s); len(u) != 1 || u[0].Took != took+1 {
		t.Fatalf("confirmation: %+v", u)
	}
	s.m.Message(s.now, 9, wire.GiveUnits{View: v.Tag(), Seq: 1, Units: []wire.UnitRange{{First: 7, Count: 1}}})
	if s.m.Held(7) {
		t.Fatal("took from a node outside the view")
	}
}

// given makes node 1 give its units to node 2 and returns the message.
func given(t *testing.T, change func(*Config)) (*single, wire.GiveUnits) {
	t.Helper()
	v := members(1, 1, 2, 3)
	s := newMember(t, v, change)
	var mine []int
	var theirs ranger
	for u := range s.m.units {
		if s.m.Target(u) == 2 {
			mine = append(mine, u)
		} else {
			theirs.add(u)
		}
	}
	s.units(2, nil)
	s.units(3, func(u *wire.Units) { u.Held = theirs })
	s.heldBy(3, 1, mine...)
	s.sent = nil
	s.m.Settled(s.now)
	g := take[wire.GiveUnits](s)
	if len(g) != 1 || s.m.held.count() != 0 || s.m.limbo.count() != len(mine) {
		t.Fatalf("gave %+v, holds %d, limbo %d", g, s.m.held.count(), s.m.limbo.count())
	}
	return s, g[0]
}

func TestNT4_LimboEndsByTheReceiversWordOnly(t *testing.T) {
	next := members(2, 1, 2, 3)
	reborn := members(2, 1, 2, 3)
	reborn.Members[1].Incarnation++
	for name, c := range map[string]struct {
		then        func(s *single, g wire.GiveUnits)
		held, limbo bool
	}{
		"taken":               {func(s *single, g wire.GiveUnits) { s.units(2, func(u *wire.Units) { u.Took = g.Seq }) }, false, false},
		"not yet":             {func(s *single, g wire.GiveUnits) { s.units(2, func(u *wire.Units) { u.Took = g.Seq - 1 }) }, false, true},
		"another view, taken": {func(s *single, g wire.GiveUnits) { s.apply(next); s.units(2, func(u *wire.Units) { u.Took = g.Seq }) }, false, false},
		"another view, not taken": {func(s *single, g wire.GiveUnits) {
			s.apply(next)
			s.units(2, func(u *wire.Units) { u.Took = g.Seq - 1 })
		}, true, false},
		"another view, not heard":  {func(s *single, g wire.GiveUnits) { s.apply(next); s.units(3, nil); s.tick(1000 * ms) }, false, true},
		"receiver not in the view": {func(s *single, g wire.GiveUnits) { s.apply(members(2, 1, 3)); s.units(3, nil); s.m.Settled(s.now) }, false, true},
		"receiver begins anew":     {func(s *single, g wire.GiveUnits) { s.apply(reborn); s.units(2, func(u *wire.Units) { u.Took = 5 }) }, false, false},
		"it comes back": {func(s *single, g wire.GiveUnits) {
			s.apply(members(2, 1, 3))
			s.apply(members(3, 1, 2, 3))
			s.units(2, func(u *wire.Units) { u.Took = g.Seq - 1 })
		}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, g := given(t, nil)
			c.then(s, g)
			each(g.Units, s.m.units, func(u int) {
				if s.m.Held(u) != c.held || s.m.limbo.has(u) != c.limbo {
					t.Errorf("unit %d: held %v, limbo %v", u, s.m.Held(u), s.m.limbo.has(u))
				}
			})
		})
	}
}

// While a give is open, its units are announced as ours, so that nobody thaws
// what may come back here.
func TestNT4_LimboIsClaimedInLaterViews(t *testing.T) {
	s, g := given(t, nil)
	s.sent = nil
	s.apply(members(2, 1, 3))
	var past []wire.UnitRange
	for _, u := range take[wire.Units](s) {
		past = append(past, u.Past...)
	}
	if len(past) == 0 || past[0] != g.Units[0] {
		t.Fatalf("past %v, limbo %v", past, g.Units)
	}
	// The receiver is forgotten: its director may thaw them, so the claim ends.
	s.units(3, nil)
	s.m.Settled(s.now)
	if _, err := s.m.Forget(s.now, "fw-2"); err != nil {
		t.Fatal(err)
	}
	s.units(3, func(u *wire.Units) { u.Sum = s.m.sum(); u.Held = nil })
	s.sent = nil
	s.tick(200 * ms)
	if len(s.m.peers[2].out) != 0 || s.m.stats.TakenBack != 0 {
		t.Fatal("still in limbo, or taken back without being asked for")
	}
}

func TestNT4_ALostGiveIsRepeatedUntilItIsConfirmed(t *testing.T) {
	s, g := given(t, nil)
	s.tick(1000 * ms)
	again := take[wire.GiveUnits](s)
	if len(again) < 2 || again[0].Seq != g.Seq || !slices.Equal(again[0].Units, g.Units) {
		t.Fatalf("%+v, then %+v", g, again)
	}
	s.units(2, func(u *wire.Units) { u.Took = g.Seq })
	s.sent = nil
	s.tick(1000 * ms)
	if again := take[wire.GiveUnits](s); len(again) != 0 {
		t.Fatalf("repeated after it was taken: %+v", again)
	}
}

func TestNT4_NothingIsGivenToWhomADiskDoesNotKnow(t *testing.T) {
	var pending []Memory
	v := members(1, 1, 2)
	s := newSingle(t, v, func(c *Config) {
		c.Memory.Roster = c.Memory.Roster[:1]
		c.Remember = func(m Memory) { pending = append(pending, m) }
	})
	s.apply(v)
	if len(pending) != 1 || len(pending[0].Roster) != 2 || pending[0].Lineage != lineageOf {
		t.Fatalf("to remember: %+v", pending)
	}
	if u := take[wire.Units](s); u[0].Sum != 0 {
		t.Fatal("announces a roster that is not on disk")
	}
	s.units(2, nil)
	s.heldBy(2, 1, all(s)...)
	if s.m.held.count() != 0 {
		t.Fatal("holds before the disk knows the lineage")
	}
	s.m.Settled(s.now)
	s.m.Remembered(s.now, pending[0].Version-1) // an older one
	s.tick(200 * ms)
	if s.m.stats.Given != 0 {
		t.Fatal("gave")
	}
	s.m.Remembered(s.now, pending[0].Version)
	if u := take[wire.Units](s); len(u) == 0 || u[len(u)-1].Sum != s.m.roster.sum {
		t.Fatal("does not tell that the roster is on disk")
	}
	s.heldBy(2, 1, all(s)...)
	s.tick(200 * ms)
	if s.m.stats.Given == 0 {
		t.Fatal("gave nothing")
	}
}

// The same for a holder that has got new company.
func TestNT4_NothingIsGivenToANewNodeBeforeTheDiskKnowsIt(t *testing.T) {
	var pending []Memory
	v := members(1, 1, 2)
	s := newHeard(t, v, func(c *Config) { c.Remember = func(m Memory) { pending = append(pending, m) } })
	s.heldBy(2, 1, all(s)...)
	s.apply(members(2, 1, 2, 3))
	if s.m.held.count() != 16 || len(pending) != 1 {
		t.Fatalf("holds %d, to remember: %+v", s.m.held.count(), pending)
	}
	s.units(2, nil)
	s.units(3, nil)
	s.m.Settled(s.now)
	s.m.Message(s.now, 3, wire.WantUnits{View: s.view.Tag(), Count: 1})
	s.tick(200 * ms)
	if s.m.stats.Given != 0 {
		t.Fatal("gave")
	}
	s.m.Remembered(s.now, pending[0].Version)
	s.tick(200 * ms)
	if s.m.stats.Given == 0 {
		t.Fatal("gave nothing")
	}
}

// A node that is leaving gets nothing, not even when it asks.
func TestEL10_ALeaverGetsNothing(t *testing.T) {
	v := members(1, 1, 2)
	s := newMember(t, v, nil)
	s.units(2, func(u *wire.Units) { u.Flags = wire.UnitsLeaving })
	s.heldBy(2, 1, all(s)...)
	s.m.Settled(s.now)
	s.m.Message(s.now, 2, wire.WantUnits{View: s.view.Tag(), Count: 1})
	s.tick(200 * ms)
	if s.m.stats.Given != 0 || s.m.Target(0) != 1 || s.m.Target(15) != 1 {
		t.Fatal("gave, or is not everybody's target")
	}
}

// Where everything is in its place nobody is asked what is idle: with 32,000
// units that would be the cost of a tick.
func TestASteadyNodeAsksNothing(t *testing.T) {
	v := members(1, 1, 2)
	s := newMember(t, v, nil)
	s.units(2, func(u *wire.Units) { u.Held = nil; u.Past = []wire.UnitRange{{First: 0, Count: 16}} })
	var mine []int
	for u := range s.m.units {
		if s.m.Target(u) == 1 {
			mine = append(mine, u)
		}
	}
	s.heldBy(2, 1, mine...)
	s.m.Settled(s.now)
	s.asked = 0
	s.tick(1000 * ms)
	if s.asked != 0 || s.m.held.count() != 8 {
		t.Errorf("asked %d times, holds %d", s.asked, s.m.held.count())
	}
	// Word borders.
	set, none := newBitset(200), newBitset(200)
	set.set(64)
	for _, c := range []struct {
		lo, hi int
		want   bool
	}{{0, 64, false}, {0, 65, true}, {64, 65, true}, {65, 200, false}, {10, 190, true}} {
		if anyIn(set, none, c.lo, c.hi) != c.want || countIn(set, c.lo, c.hi) == 1 != c.want {
			t.Errorf("%d to %d: %v", c.lo, c.hi, !c.want)
		}
	}
	if anyIn(set, set, 0, 200) {
		t.Error("what is excluded counts")
	}
}

// The last idle unit of a pool in use stays, unless the node is leaving.
func TestNT3_TheLastIdleUnitOfABusyNodeStays(t *testing.T) {
	v := members(1, 1, 2)
	s := newHeard(t, v, nil)
	s.heldBy(2, 1, all(s)...)
	for u := range s.m.units {
		s.busy[u] = s.m.Target(u) == 1
	}
	s.m.Settled(s.now)
	if n := s.m.held.count(); n != 9 {
		t.Fatalf("holds %d: 8 in use and one more should stay", n)
	}
	s.m.Leave(s.now)
	s.units(2, func(u *wire.Units) { u.Took = s.m.peers[2].given })
	s.tick(200 * ms)
	if n := s.m.held.count(); n != 8 {
		t.Fatalf("holds %d while leaving", n)
	}
}
