package blocks

import (
	"maps"
	"slices"
	"testing"

	"cohort/ccl/wire"
)

// departed is node 1 of three after node 3, which held everything, has departed in
// order: every unit is in use, unit u rested for u seconds at node 3, of unit 15 it said
// nothing, and ports of unit 14 had yet to begin. between happens before the view
// without it settles.
func departed(t *testing.T, between func(s *single)) *single {
	v := members(5, 1, 2, 3)
	s := newMember(t, v, nil)
	s.units(2, nil)
	s.units(3, func(u *wire.Units) { u.Held = []wire.UnitRange{{First: 0, Count: 16}} })
	s.busy = busy(s)
	msg := wire.Rests{View: v.Tag(), Departing: true, Count: 16}
	for u := range uint32(15) {
		left := u * 1000
		if u == 14 {
			left = wire.RestWhole
		}
		msg.Units = append(msg.Units, wire.UnitRest{Unit: u, Left: left})
	}
	s.m.Message(s.now, 3, msg)
	s.units(3, nil)
	s.m.roster.merge(wire.RosterEntry{Name: "fw-3", Seen: Number(v), Over: true})
	s.m.remember()
	if between != nil {
		between(s)
	}
	next := members(9, 1, 2)
	s.apply(next)
	s.units(2, nil)
	s.m.Settled(s.now)
	s.tick(300 * ms)
	if s.m.stats.InUse == 0 {
		t.Fatal("nothing thaws")
	}
	return s
}

// Who departs in order says what rests in its units: they rest for as long as that
// and no longer, from when this node heard it. What members know comes on top, and of
// what nobody speaks a whole hold-down is taken.
func TestNT5_EL10_AUnitRestsForAsLongAsItsHolderSaid(t *testing.T) {
	start := 1000 * ms
	check := func(name string, s *single, want func(u int) int64) {
		for u := range s.m.units {
			if !s.m.Held(u) {
				continue
			}
			switch end, rests := s.rested[u], want(u); {
			case rests == wholeHold && end < start+holdDown:
				t.Errorf("%s: unit %d rests for %v ms, want a hold-down", name, u, (end-start)/ms)
			case rests != wholeHold && end != rests:
				t.Errorf("%s: unit %d rests until %v, want %v", name, u, end, rests)
			}
		}
	}
	said := func(u int) int64 {
		switch {
		case u >= 14:
			return wholeHold
		case u == 0:
			return 0
		}
		return start + int64(u)*1000*ms
	}
	check("said", departed(t, nil), said)

	check("a member knows more", departed(t, func(s *single) {
		for _, u := range []uint32{0, 5} {
			s.m.Message(s.now, 2, wire.Rests{View: s.view.Tag(), Count: 16, Units: []wire.UnitRest{{Unit: u, Left: 6000}, {Unit: 13, Left: 1}}})
		}
	}), func(u int) int64 {
		if u == 0 || u == 5 {
			return start + 6000*ms
		}
		return said(u)
	})

	unknown := func(int) int64 { return wholeHold }
	check("a member is gone without a word", departed(t, func(s *single) {
		s.apply(members(6, 1, 2, 4))
		s.m.roster.merge(wire.RosterEntry{Name: "fw-4", Seen: Number(s.view), Over: true})
		s.m.remember()
	}), unknown)
	check("a later director departs, which had not heard it", departed(t, func(s *single) {
		s.apply(members(6, 1, 2, 4))
		s.m.Message(s.now, 4, wire.Rests{View: s.view.Tag(), Departing: true, Count: 16})
		s.m.roster.merge(wire.RosterEntry{Name: "fw-4", Seen: Number(s.view), Over: true})
		s.m.remember()
	}), unknown)
	check("somebody had them since", departed(t, func(s *single) {
		s.apply(members(6, 1, 2))
		s.units(2, func(u *wire.Units) { u.Held = []wire.UnitRange{{First: 0, Count: 16}} })
	}), unknown)
	check("the word is of another view", departed(t, func(s *single) {
		clear(s.m.told)
		clear(s.quiet)
		msg := wire.Rests{View: s.view.Tag() + 1, Departing: true, Count: 16}
		for u := range uint32(16) {
			msg.Units = append(msg.Units, wire.UnitRest{Unit: u, Left: 1})
		}
		s.m.Message(s.now, 3, msg)
	}), unknown)
	check("another life", departed(t, func(s *single) { s.m.Lost(s.now) }), unknown)
}

// wholeHold stands for at least a hold-down.
const wholeHold = -1

// An idle unit in which a member knows a hold-down is not taken for idle (NT5).
func TestNT5_WhatAMemberKnowsRestsInAnIdleUnit(t *testing.T) {
	s := frozen(t, func(s *single) {
		for u := range uint32(16) {
			s.m.Message(s.now, 2, wire.Rests{View: s.view.Tag(), Count: 16, Units: []wire.UnitRest{{Unit: u, Left: 2500}}})
		}
		s.m.Settled(s.now)
	})
	if s.m.stats.Thawed == 0 || s.m.stats.InUse != s.m.stats.Thawed || len(s.rested) != int(s.m.stats.Thawed) || len(take[wire.GiveUnits](s)) != 0 {
		t.Fatalf("%+v, %v rest", s.m.stats, s.rested)
	}
}

// Depart tells every member of every unit that the node held, those that it says
// nothing of are others'; and before the roster that makes them thaw.
func TestNT5_EL10_WhoDepartsSaysWhatRests(t *testing.T) {
	v := members(5, 1, 2, 3)
	s := newHeard(t, v, func(c *Config) { c.MaxRanges = 4 })
	s.heldBy(2, 1, 0, 2, 3, 9)
	s.quiet[2], s.quiet[3], s.quiet[5] = s.now+1, s.now-1, s.now+5000*ms
	s.m.told.set(5)
	s.m.Entombed(9)
	s.sent = nil
	s.m.Depart(s.now)
	want := []wire.UnitRest{{Unit: 0}, {Unit: 2, Left: 1}, {Unit: 3}, {Unit: 5, Left: 5000}, {Unit: 9, Left: wire.RestWhole}}
	for _, id := range []wire.NodeID{2, 3} {
		var got []wire.UnitRest
		end, roster := uint32(0), false
		for _, x := range s.sent {
			if x.to != id {
				continue
			}
			switch m := x.m.(type) {
			case wire.Roster:
				roster = true
			case wire.Rests:
				if roster || !m.Departing || m.First != end || m.View != v.Tag() || len(m.Units) > 2 {
					t.Errorf("%+v, after the roster: %v", m, roster)
				}
				end = m.First + m.Count
				got = append(got, m.Units...)
			}
		}
		if end != 16 || !slices.Equal(got, want) {
			t.Errorf("node %d hears of %d units: %v", id, end, got)
		}
	}
}

// At the end of a round a member tells the directors of units without a holder what
// rests there, once each; a link that is backed up is tried again.
func TestNT5_ARoundTellsWhatRests(t *testing.T) {
	s := frozen(t, nil)
	s.units(2, func(u *wire.Units) { u.Held = []wire.UnitRange{{First: 0, Count: 4}} })
	for u := range s.m.units {
		s.quiet[u] = s.now + 7000*ms
	}
	s.quiet[5], s.quiet[6] = 0, s.now
	s.m.Entombed(6)
	s.full = true
	if s.m.TellRests(s.now) {
		t.Fatal("the round ends, and the link took nothing")
	}
	s.full, s.sent = false, nil
	if !s.m.TellRests(s.now) {
		t.Fatal("the round does not end")
	}
	got, want := map[uint32]wire.NodeID{}, map[uint32]wire.NodeID{}
	for u := 4; u < s.m.units; u++ {
		if d := s.m.firsts[u][0]; d != 1 && u != 5 {
			want[uint32(u)] = d
		}
	}
	for _, x := range s.sent {
		for _, r := range x.m.(wire.Rests).Units {
			got[r.Unit] = x.to
			if left := map[bool]uint32{true: wire.RestWhole, false: 7000}[r.Unit == 6]; r.Left != left {
				t.Errorf("unit %d rests for %d ms, want %d", r.Unit, r.Left, left)
			}
		}
	}
	if len(want) < 3 || !maps.Equal(got, want) {
		t.Fatalf("told %v, want %v", got, want)
	}
	if s.m.entombed.count() != 0 {
		t.Error("what was told once is told in the next round too")
	}
}

// restsJournal is a RestJournal.
type restsJournal struct {
	*single
	rests map[int]int64
}

func (j restsJournal) Rest(u int, end int64) {
	if j.rests[u] = end; end == 0 {
		delete(j.rests, u)
	}
}

// A rest goes on through a fence, through a restart of the process (HL5), and under
// other numbers (NT7), and ends with the unit's being given up.
func TestHL5_NT5_NT7_ARestGoesOn(t *testing.T) {
	v := members(5, 1)
	j := restsJournal{rests: map[int]int64{}}
	s := newSingle(t, v, nil)
	j.single = s
	s.m.cfg.Journal = j
	s.apply(v)
	s.busy = busy(s)
	s.m.Settled(s.now)
	s.tick(200 * ms)
	before := maps.Clone(s.rested)
	if len(before) != 16 || !maps.Equal(j.rests, before) {
		t.Fatalf("%v rest, the journal says %v", before, j.rests)
	}
	clear(s.rested)
	s.m.Fence(s.now)
	s.apply(v)
	s.m.Settled(s.now)
	if !maps.Equal(s.rested, before) {
		t.Fatalf("after a fence %v rest", s.rested)
	}

	next := newSingle(t, v, nil)
	next.now = s.now
	next.m.Restore(next.now, v.Members[0].Incarnation, Number(v), []int{1, 2, 3})
	next.m.RestoreRests([]Rest{{0, before[0]}, {1, before[1]}, {2, next.now}, {99, before[1]}})
	next.apply(v)
	if len(next.rested) != 0 {
		t.Fatal("it is told before it is settled")
	}
	next.m.Settled(next.now)
	if want := map[int]int64{1: before[1]}; !maps.Equal(next.rested, want) || !next.held[1] || !next.held[2] {
		t.Fatalf("after a restart %v rest, want %v", next.rested, want)
	}

	clear(s.rested)
	clear(s.held)
	clear(j.rests)
	c := Cutting{Pools: []Range{{0, 8, 8}}, Cut: 1}
	for u := range 8 {
		c.From = append(c.From, Part{2 * u, 2})
	}
	s.m.Recut(s.now, c)
	if len(s.rested) != 8 || !maps.Equal(j.rests, s.rested) || s.rested[7] != max(before[14], before[15]) {
		t.Fatalf("under other numbers %v rest, the journal says %v", s.rested, j.rests)
	}
	s.m.Lost(s.now)
	if len(s.m.rests)+len(j.rests) != 0 {
		t.Fatalf("what was given up rests: %v, %v", s.m.rests, j.rests)
	}
}
