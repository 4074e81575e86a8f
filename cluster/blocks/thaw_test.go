package blocks

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"cohort/ccl/wire"
)

// frozen is node 1 of three, where nobody holds anything and all is as thawing
// wants it; change spoils one condition.
func frozen(t *testing.T, change func(s *single)) *single {
	v := members(5, 1, 2, 3)
	s := newHeard(t, v, nil)
	if change != nil {
		change(s)
	}
	s.tick(300 * ms)
	return s
}

func TestNT4_ThawNeedsEverything(t *testing.T) {
	settled := func(s *single) { s.m.Settled(s.now) }
	if s := frozen(t, settled); s.m.stats.Thawed == 0 || s.m.held.count() == 0 || len(take[wire.GiveUnits](s)) == 0 {
		t.Fatalf("nothing thaws where everything is right: %+v", s.m.stats)
	} else if s.m.touched.count() != int(s.m.stats.Thawed) {
		t.Fatal("what was thawed and given is not announced as had")
	}
	if s := frozen(t, func(s *single) { s.busy = busy(s); s.m.Settled(s.now) }); s.m.stats.InUse == 0 || s.m.held.count() != int(s.m.stats.InUse) {
		t.Fatalf("what connections use does not thaw, or not here where they are known: %+v", s.m.stats)
	}
	for name, spoil := range map[string]func(s *single){
		"not settled": func(s *single) {},
		"remade": func(s *single) {
			s.busy, s.m.remade = busy(s), everyUnit(s)
			s.m.remakeAfter = 1000 * ms
			s.m.Settled(s.now)
		},
		"roster": func(s *single) {
			s.m.roster.merge(wire.RosterEntry{Name: "fw-9", Seen: 4})
			s.sums()
			s.m.Settled(s.now)
		},
		"other roster": func(s *single) { s.units(2, func(u *wire.Units) { u.Sum = 9 }); s.m.Settled(s.now) },
		"no disk yet":  func(s *single) { s.units(2, func(u *wire.Units) { u.Sum = 0 }); s.m.Settled(s.now) },
		"more follows": func(s *single) { s.units(2, func(u *wire.Units) { u.Flags = wire.UnitsUnsure }); s.m.Settled(s.now) },
		"half a word": func(s *single) {
			s.apply(members(6, 1, 2, 3))
			s.units(2, nil)
			s.units(3, func(u *wire.Units) { u.Count = 15 })
			s.m.Settled(s.now)
		},
		"the end only": func(s *single) {
			s.apply(members(6, 1, 2, 3))
			s.units(2, nil)
			s.units(3, func(u *wire.Units) { u.First, u.Count = 8, 8 })
			s.m.Settled(s.now)
		},
		"silence": func(s *single) { s.apply(members(6, 1, 2, 3)); s.units(2, nil); s.m.Settled(s.now) },
		"another's": func(s *single) {
			s.units(2, func(u *wire.Units) { u.Held = []wire.UnitRange{{First: 0, Count: 16}} })
			s.m.Settled(s.now)
		},
		"another had": func(s *single) {
			s.units(2, func(u *wire.Units) { u.Past = []wire.UnitRange{{First: 0, Count: 16}} })
			s.m.Settled(s.now)
		},
		"no director": func(s *single) { clear(s.m.firsts); s.m.Settled(s.now) },
		"old geometry": func(s *single) {
			s.apply(members(6, 1, 2, 3))
			s.units(2, nil)
			s.units(3, func(u *wire.Units) { u.Geometry++ })
			s.m.Settled(s.now)
		},
	} {
		if s := frozen(t, spoil); s.m.stats.Thawed != 0 {
			t.Errorf("%s: %d units thawed", name, s.m.stats.Thawed)
		}
	}
}

// Announcements in pieces count when the last piece is there.
func TestAnnouncementsComeInPieces(t *testing.T) {
	v := members(5, 1, 2)
	s := newHeard(t, v, func(c *Config) { c.MaxRanges = 1 })
	s.heldBy(2, 1, 3, 7, 8, 12)
	s.sent = nil
	s.apply(members(6, 1, 2))
	list := take[wire.Units](s)
	end, held := uint32(0), 0
	for i, u := range list {
		last := i == len(list)-1
		if u.First != end || (u.Flags == wire.UnitsUnsure) == last || (u.Flags == wire.UnitsAsk) != last {
			t.Errorf("piece %d of %d: %+v", i, len(list), u)
		}
		end = u.First + u.Count
		each(u.Held, 16, func(int) { held++ })
	}
	if end != 16 || held != 4 || len(list) < 4 {
		t.Errorf("%d pieces end at %d, %d held", len(list), end, held)
	}
}

// sums makes the others say that they have our roster.
func (s *single) sums() {
	s.m.remember()
	s.units(2, nil)
	s.units(3, nil)
}

// everyUnit is all of a machine.
func everyUnit(s *single) bitset {
	b := newBitset(s.m.units)
	for u := range s.m.units {
		b.set(u)
	}
	return b
}

func busy(s *single) map[int]bool {
	b := map[int]bool{}
	for u := range s.m.units {
		b[u] = true
	}
	return b
}

// A node that was forgotten and comes back counts again, also in a cluster that
// numbers its views from one again: it holds units like any other.
func TestNT4_WhoIsHereIsNotOver(t *testing.T) {
	v := members(1, 1, 2)
	s := newSingle(t, v, func(c *Config) {
		c.Memory.Roster[1].Seen, c.Memory.Roster[1].Over = 1<<40, true
	})
	s.apply(v)
	if e := s.m.roster.find("fw-2"); e.Over || e.Seen <= 1<<40 {
		t.Fatalf("%+v", e)
	}
	s.apply(members(2, 1))
	s.m.Settled(s.now)
	s.tick(200 * ms)
	if s.m.held.count() != 0 || !s.m.Apart() {
		t.Fatal("does not wait for it")
	}
	if changed, err := s.m.Forget(s.now, "fw-2"); !changed || err != nil {
		t.Fatal(err)
	}
	s.tick(200 * ms)
	if s.m.held.count() != s.m.units || s.m.Apart() {
		t.Fatal("waits on")
	}
}

// A roster crosses when two nodes have met in a view, though no name differs:
// what is newest of each node decides who is over.
func TestRostersCrossInEveryView(t *testing.T) {
	s := frozen(t, nil)
	s.apply(members(6, 1, 2, 3))
	s.sent = nil
	s.units(2, nil)
	if r := take[wire.Roster](s); len(r) != 1 || len(r[0].Entries) != 3 || r[0].Entries[0].Seen != Number(s.view) {
		t.Fatalf("%+v", r)
	}
	long := make([]wire.RosterEntry, 200)
	for i := range long {
		long[i] = wire.RosterEntry{Name: strings.Repeat("x", 50) + string(rune('0'+i)), Seen: 1, Over: true}
	}
	s.m.onRoster(long)
	s.sent = nil
	s.m.sendRoster(2)
	names := map[string]bool{}
	for _, r := range take[wire.Roster](s) {
		if n := len(wire.Append(nil, r)); n > 480 {
			t.Errorf("%d bytes", n)
		}
		for _, e := range r.Entries {
			names[e.Name] = true
		}
	}
	if len(names) != 203 {
		t.Errorf("%d of 203 names are told", len(names))
	}
}

// What was given in this view is never thawed in it by the giver, whatever the
// receiver says later.
func TestNT4_TheGiverDoesNotThawInTheSameView(t *testing.T) {
	s, g := given(t, nil)
	s.units(2, func(u *wire.Units) { u.Took = g.Seq })
	s.tick(300 * ms)
	each(g.Units, s.m.units, func(u int) {
		if s.m.Held(u) || s.m.limbo.has(u) {
			t.Errorf("unit %d is here again", u)
		}
	})
}

func TestForgetNamesItsErrors(t *testing.T) {
	s := frozen(t, nil)
	if _, err := s.m.Forget(s.now, "fw-2"); !errors.Is(err, ErrMember) {
		t.Errorf("a member: %v", err)
	}
	if _, err := s.m.Forget(s.now, "nobody"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a stranger: %v", err)
	}
	s.m.Fence(s.now)
	if _, err := s.m.Forget(s.now, "fw-2"); !errors.Is(err, ErrNoView) {
		t.Errorf("out of the view: %v", err)
	}
}

// The newest word on a node counts; of two equally new ones, that it is over.
func TestRosterMerges(t *testing.T) {
	var r roster
	for i, c := range []struct {
		e       wire.RosterEntry
		changed bool
		over    bool
	}{
		{wire.RosterEntry{Name: "b", Seen: 5}, true, false},
		{wire.RosterEntry{Name: "b", Seen: 4, Over: true}, false, false},
		{wire.RosterEntry{Name: "b", Seen: 5, Over: true}, true, true},
		{wire.RosterEntry{Name: "b", Seen: 5}, false, true},
		{wire.RosterEntry{Name: "b", Seen: 6}, true, false},
		{wire.RosterEntry{Name: "b", Seen: 7}, false, false},
	} {
		if got := r.merge(c.e); got != c.changed || r.find("b").Over != c.over {
			t.Errorf("step %d: changed %v, over %v", i, got, r.find("b").Over)
		}
	}
	if r.find("b").Seen != 7 {
		t.Error("the newest sight is not kept")
	}
	r.merge(wire.RosterEntry{Name: "a", Seen: 1})
	if got := r.missing(members(1, 1)); !slices.Equal(got, []string{"a", "b"}) {
		t.Error(got)
	}
}

// Only the control node founds, once, when all are there that anybody met.
func TestNT4_FoundingHappensOnce(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		view   *wire.View
		then   func(s *single)
		want   bool
	}{
		"control node":   {nil, members(1, 1, 2), func(s *single) { s.units(2, nil) }, true},
		"alone":          {nil, members(1, 1), func(s *single) {}, true},
		"silence":        {nil, members(1, 1, 2), func(s *single) {}, false},
		"data node":      {nil, &wire.View{Term: 1, Control: 2, Members: members(1, 1, 2).Members}, func(s *single) { s.units(2, nil) }, false},
		"not allowed to": {func(c *Config) { c.Found = false }, members(1, 1), func(s *single) {}, false},
		"somebody was there before": {func(c *Config) {
			c.Memory = Memory{Version: 1, Roster: []wire.RosterEntry{{Name: "fw-3", Seen: 1}}}
		}, members(1, 1), func(s *single) {}, false},
		"another met somebody": {nil, members(1, 1, 2), func(s *single) {
			s.units(2, func(u *wire.Units) { u.Sum = 5 })
		}, false},
		"there is one": {nil, members(1, 1, 2), func(s *single) {
			s.units(2, func(u *wire.Units) { u.Lineage = lineageOf })
		}, false},
	} {
		s := newSingle(t, nil, c.change)
		s.apply(c.view)
		c.then(s)
		s.m.Settled(s.now)
		s.tick(200 * ms)
		if got := s.m.lineage != 0 && s.m.lineage != lineageOf; got != c.want {
			t.Errorf("%s: founded %v", name, got)
		}
	}
}

// A founder that dies in the middle does not leave two lineages behind.
func TestNT4_AFounderThatDiesIsWaitedFor(t *testing.T) {
	w := newWorld(3, 3, Range{0, 12, 12})
	w.delay = func(a, b *node) int64 { return ms + int64(b.i/2)*100*ms } // node c hears late
	w.form(0, 0)
	w.run(30 * time.Millisecond)
	a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
	for a.m.lineage == 0 {
		w.run(10 * time.Millisecond)
	}
	a.crash()
	w.form(0, 0)
	w.run(3 * time.Second)
	for _, n := range []*node{b, c} {
		if n.m.held.count() != 0 || !slices.Equal(n.m.Status().Missing, []string{"fw-a"}) {
			t.Errorf("%s holds %d units, waits for %v", n.name, n.m.held.count(), n.m.Status().Missing)
		}
	}
	a.boot()
	w.form(0, 0)
	w.run(3 * time.Second)
	if h := w.holders(); h[-1] != 0 || w.failed != nil || a.m.lineage != c.m.lineage {
		t.Error(h, w.failed)
	}
}

// Two halves that were founded apart, against all advice: when they meet, one
// lineage remains, and every unit has one holder.
func TestNT4_OneOfTwoLineagesRemains(t *testing.T) {
	w := newWorld(4, 4, Range{0, 40, 20})
	for _, n := range w.nodes {
		n.side = n.i / 2
	}
	one, two := w.nodes[:2], w.nodes[2:]
	w.form(0, 0)
	w.run(time.Second)
	for u := range w.atoms { // what the other half holds is another cluster's
		w.atoms[u] = owned{}
	}
	w.form(1, 0)
	w.run(time.Second)
	if one[0].m.lineage == two[0].m.lineage || two[0].m.held.count() != 20 {
		t.Fatal("there are not two lineages")
	}
	w.failed = nil
	want := min(one[0].m.lineage, two[0].m.lineage)
	for _, n := range w.nodes {
		n.side = 0
	}
	w.resume()
	w.form(0, 0)
	joined := func() bool {
		return !slices.ContainsFunc(w.nodes, func(n *node) bool { return n.m.lineage != want })
	}
	for !joined() {
		w.step()
	}
	for u := range w.atoms {
		holders := 0
		for _, n := range w.nodes {
			if n.m.Held(u) {
				holders++
			}
		}
		if holders > 1 {
			t.Fatalf("unit %d is held by %d nodes of one lineage", u, holders)
		}
	}
	w.run(5 * time.Second)
	by := map[int]string{}
	for _, n := range w.nodes {
		if n.m.lineage != want {
			t.Errorf("%s belongs to %x", n.name, n.m.lineage)
		}
		if n.m.held.count() != 10 {
			t.Errorf("%s holds %d", n.name, n.m.held.count())
		}
		for u := range w.atoms {
			if n.m.Held(u) {
				by[u] += n.name
			}
		}
	}
	for u := range w.atoms {
		if len(by[u]) != len("fw-a") {
			t.Errorf("unit %d is held by %q", u, by[u])
		}
	}
}

// The whole cluster loses power, one node stays dead: nothing thaws until an
// operator says so (it may be alive elsewhere), then everything does.
func TestNT4_AfterAPowerFailureTheMissingNodeIsAnOperatorsWord(t *testing.T) {
	w := newWorld(5, 4, Range{0, 126, 126})
	w.form(0, 0)
	w.run(time.Second)
	for _, n := range w.nodes {
		n.crash()
	}
	for _, n := range w.nodes[:3] {
		n.boot()
	}
	w.form(0, 0)
	w.run(2 * time.Second)
	s := w.nodes[1].m.Status()
	if h := w.holders(); h[-1] != 126 || !slices.Equal(s.Missing, []string{"fw-d"}) || s.Units[5].State != Frozen {
		t.Fatalf("%v, waiting for %v, %v", h, s.Missing, s.Units[5])
	}
	if changed, err := w.nodes[2].m.Forget(w.now, "fw-d"); !changed || err != nil {
		t.Fatal(err)
	}
	w.run(time.Second)
	if h := w.holders(); h[0] != 42 || h[1] != 42 || h[2] != 42 || w.failed != nil {
		t.Fatal(h, w.failed)
	}
	// It was not dead for good: it is a member like any other.
	w.nodes[3].boot()
	w.form(0, 0)
	w.run(2 * time.Second)
	if h := w.holders(); h[3] < 31 || h[-1] != 0 || w.failed != nil {
		t.Fatal(h, w.failed)
	}
}

// A unit that is thawed in use rests at its new holder; one that is found idle, where
// this node knows what it needs to, does not, nor does one of a founding.
func TestNT5_AUnitThawedInUseRests(t *testing.T) {
	if s := frozen(t, func(s *single) { s.m.Settled(s.now) }); s.m.stats.Thawed == 0 || len(s.rested) != 0 {
		t.Fatalf("%d thawed, %v rest", s.m.stats.Thawed, s.rested)
	}
	s := frozen(t, func(s *single) { s.busy = busy(s); s.m.Settled(s.now) })
	if len(s.rested) == 0 || len(s.rested) != int(s.m.stats.InUse) {
		t.Fatalf("%d thawed in use, %v rest", s.m.stats.InUse, s.rested)
	}
	for u, end := range s.rested {
		if end < s.now-300*ms+holdDown {
			t.Errorf("unit %d rests until %d: what its holder knew nobody says", u, end)
		}
	}
}
