package blocks

import (
	"slices"
	"testing"
	"time"

	"cohort/ccl/wire"
)

func founded(t *testing.T, nodes int, pools ...Range) *world {
	t.Helper()
	w := newWorld(11, nodes, pools...)
	w.reliable = true
	w.form(0, 0)
	w.run(time.Second)
	if h := w.holders(); h[-1] != 0 {
		t.Fatal(h)
	}
	return w
}

// fill opens a connection in every unit that a node holds.
func (n *node) fill() {
	for _, u := range keys(n.held) {
		n.w.conns = append(n.w.conns, conn{u, n, n.life})
	}
}

func TestNT3_ALeaseTakesOneRoundTrip(t *testing.T) {
	w := founded(t, 4, Range{0, 126, 126})
	a := w.nodes[0]
	a.fill()
	before := len(a.held)
	asked := w.now
	a.m.Want(w.now, 0, 2)
	for len(a.answered) == 0 && w.now < asked+1000*ms {
		w.step()
	}
	if took := w.now - asked; took > 20*ms || !slices.Equal(a.answered, []int{2}) || len(a.held) != before+2 {
		t.Fatalf("%v: answered %v, %d units more", time.Duration(took), a.answered, len(a.held)-before)
	}
	// Everybody knows at once where return packets belong.
	w.run(10 * time.Millisecond)
	for _, n := range w.nodes {
		for u := range a.held {
			if n.m.Director(u) != a.id() {
				t.Errorf("%s sends unit %d to %d", n.name, u, n.m.Director(u))
			}
		}
	}
	if s := a.m.Status(); s.Stats.LeasesIn != 2 || s.Held != before+2 {
		t.Errorf("%+v", s.Stats)
	}
	// Given back when they were not asked for of late, but for one to spare, and
	// that too when nothing is in use any more.
	w.run(3 * time.Second)
	if h := w.holders(); h[0] != before+1 {
		t.Errorf("kept: %v", h)
	}
	w.conns = nil
	w.run(time.Second)
	if h := w.holders(); h[0] != before || w.failed != nil {
		t.Errorf("kept: %v, %v", h, w.failed)
	}
}

// No connection is refused while any block is free, wherever it is.
func TestNT3_TheLastFreeUnitOfTheClusterIsFound(t *testing.T) {
	w := founded(t, 4, Range{0, 24, 24}, Range{24, 4, 1})
	for _, n := range w.nodes {
		n.fill()
	}
	free := keys(w.nodes[3].held)[0]
	w.conns = slices.DeleteFunc(w.conns, func(c conn) bool { return c.atom == free })
	a := w.nodes[0]
	began := w.now
	a.m.Want(w.now, 0, 1)
	for len(a.answered) == 0 && w.now < began+1000*ms {
		w.step()
	}
	if took := w.now - began; !slices.Equal(a.answered, []int{1}) || !a.held[free] || took > 20*ms {
		t.Fatalf("%v after %v", a.answered, time.Duration(took))
	}
	a.fill()
	a.m.Want(w.now, 0, 1)
	w.run(100 * time.Millisecond)
	if !slices.Equal(a.answered, []int{1, 0}) {
		t.Fatalf("nobody has one: %v", a.answered)
	}
	a.m.Want(w.now, 1, 1)
	w.run(100 * time.Millisecond)
	if a.m.Stats().LeasesIn != 1 {
		t.Fatal("a unit in use was leased")
	}
}

// A change of view ends no Want: it goes on with the new members.
func TestNT3_AWantOutlivesAView(t *testing.T) {
	w := founded(t, 3, Range{0, 24, 24})
	a := w.nodes[0]
	a.fill()
	w.nodes[1].fill()
	w.form(0, 0)
	a.m.Want(w.now, 0, 1)
	w.run(500 * time.Millisecond)
	if !slices.Equal(a.answered, []int{1}) {
		t.Fatal(a.answered)
	}
	w.nodes[2].crash()
	a.fill()
	a.m.Want(w.now, 0, 1) // asks the dead, then those who have nothing
	w.run(2 * time.Second)
	if !slices.Equal(a.answered, []int{1, 0}) {
		t.Fatal(a.answered)
	}
	a.m.Want(w.now, 0, 1)
	a.m.Fence(w.now)
	if !slices.Equal(a.answered, []int{1, 0, 0}) {
		t.Fatal("a fenced node waits for ever")
	}
}

func TestNT3_TheHolderThatHasMostIsAskedFirst(t *testing.T) {
	v := members(1, 1, 2, 3)
	s := newMember(t, v, nil)
	s.units(2, func(u *wire.Units) { u.Held = []wire.UnitRange{{First: 0, Count: 3}} })
	s.units(3, func(u *wire.Units) { u.Held = []wire.UnitRange{{First: 3, Count: 9}} })
	ask := func() wire.NodeID {
		s.sent = nil
		s.m.Want(s.now, 0, 1)
		for _, x := range s.sent {
			if _, ok := x.m.(wire.WantUnits); ok {
				return x.to
			}
		}
		return 0
	}
	if to := ask(); to != 3 {
		t.Fatalf("asks %d", to)
	}
	refusal := wire.GiveUnits{View: v.Tag(), Answer: true}
	s.sent = nil
	s.m.Message(s.now, 3, refusal)
	if w := take[wire.WantUnits](s); len(w) != 1 {
		t.Fatal("does not turn to the other after a refusal")
	}
	s.m.Message(s.now, 2, refusal)
	if !slices.Equal(s.got, []int{0}) {
		t.Fatal(s.got)
	}
	if to := ask(); to != 2 && to != 3 {
		t.Fatal("never asks again")
	}
}

// Two nodes are short of the last unit, and who has it gives it to the other, and asks for
// it back in the same datagram. It is not passed on before who waits for it here has tried
// it: else it would go to and fro for ever, and nobody would ever use it.
func TestNT3_WhatALeaseBroughtIsTriedBeforeItIsPassedOn(t *testing.T) {
	for _, used := range []bool{true, false} {
		v := members(1, 1, 2)
		s := newMember(t, v, nil)
		s.units(2, func(u *wire.Units) { u.Held = []wire.UnitRange{{First: 0, Count: 16}} })
		s.m.Settled(s.now)
		s.m.Want(s.now, 0, 1)
		s.sent = nil
		want := wire.WantUnits{View: v.Tag(), Pool: 0, Count: 1}
		s.m.Message(s.now, 2, wire.GiveUnits{View: v.Tag(), Seq: s.m.peers[2].took + 1, Answer: true, Units: []wire.UnitRange{{First: 3, Count: 1}}})
		s.m.Message(s.now, 2, want)
		if g := take[wire.GiveUnits](s); !s.held[3] || len(g) != 0 {
			t.Fatalf("held %v, %+v: want the unit here, and no answer", s.held[3], g)
		}
		if used {
			s.busy = map[int]bool{3: true}
		}
		s.now += 10 * ms
		s.m.Tick(s.now)
		s.m.Message(s.now, 2, want) // it comes again
		if g := take[wire.GiveUnits](s); len(g) != 1 || !g[0].Answer || s.held[3] != used || (len(g[0].Units) == 0) != used {
			t.Fatalf("used %v: held %v, %+v", used, s.held[3], g)
		}
	}
}
