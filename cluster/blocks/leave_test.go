package blocks

import (
	"testing"
	"time"

	"cohort/ccl/wire"
)

func TestEL10_ALeavingNodeHandsOverAndIsNotWaitedFor(t *testing.T) {
	w := founded(t, 4, Range{0, 126, 126})
	d := w.nodes[3]
	d.open()
	used := w.conns[0].atom
	d.m.Leave(w.now)
	w.run(time.Second)
	if h := w.holders(); h[3] != 1 || h[0] < 41 || !d.m.LeaveReady() {
		t.Fatal(h)
	}
	d.dropping = true
	d.m.Depart(w.now)
	w.run(100 * time.Millisecond)
	w.conns[0].own, w.conns[0].life = w.nodes[0], w.nodes[0].life // adopted
	d.crash()
	w.form(0, 0)
	w.run(time.Second)
	// The last one has a connection still. Its director has the block all the same:
	// else every node that has been away once would leave the others fewer of them.
	s := w.nodes[0].m.Status()
	if len(s.Missing) != 0 || s.Units[used].State != Held || w.holders()[-1] != 0 {
		t.Fatalf("waits for %v; %+v", s.Missing, s.Units[used])
	}
	w.conns = nil
	w.run(time.Second)
	for i, n := range w.nodes[:3] {
		if h := w.holders(); h[i] != 42 || w.failed != nil {
			t.Fatal(n.name, h, w.failed)
		}
	}
}

// A view that was made before the others heard of the departure still has the
// node; it is over all the same, and takes nothing.
func TestEL10_ADepartedNodeTakesNothing(t *testing.T) {
	v := members(1, 1, 2)
	s := newHeard(t, v, nil)
	s.heldBy(2, 1, 1, 2)
	s.m.Settled(s.now)
	s.now += 10 * ms
	s.m.Depart(s.now)
	if s.m.Held(1) || s.held[1] {
		t.Fatal("holds on")
	}
	took := s.m.peers[2].took
	s.heldBy(2, 1, 3)
	if s.m.Held(3) || s.m.peers[2].took != took {
		t.Fatal("takes units after it departed")
	}
	s.sent = nil
	s.apply(members(2, 1, 2))
	if e := s.m.roster.find("fw-1"); !e.Over || e.Seen != Number(s.view) {
		t.Fatalf("%+v", e)
	}
	s.units(2, func(u *wire.Units) { u.Sum = 5 })
	if r := take[wire.Roster](s); len(r) == 0 {
		t.Fatal("does not say that it is over")
	}
}

func TestEL9_TheLastNodeLeavesAtOnce(t *testing.T) {
	w := founded(t, 1, Range{0, 10, 10})
	w.nodes[0].m.Leave(w.now)
	w.run(200 * time.Millisecond)
	if !w.nodes[0].m.LeaveReady() || w.holders()[0] != 10 {
		t.Fatal(w.holders())
	}
}
