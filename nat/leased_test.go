package nat

import (
	"math/rand/v2"
	"testing"
	"time"

	"cohort/packet"
)

// A unit that another node should have becomes idle, however many connections begin:
// they find ports elsewhere, even where the original port is one of its.
func TestNT2_NothingBeginsInALeasedUnit(t *testing.T) {
	for seed := range uint64(10) {
		nothingBegins(t, seed)
	}
}

func nothingBegins(t *testing.T, seed uint64) {
	t.Helper()
	w := newWorld(t, 0, portPool("egress", 1))
	w.rng = rand.New(rand.NewPCG(seed, seed))
	for u := range 4 {
		w.SetHeld(u, true)
	}
	old := w.must(to(packet.ProtoTCP, 1, 1024+512, "192.0.2.1", 80)) // keeps its port: unit 1
	w.SetLeased(1, true)
	w.SetLeased(2, true) // idle still
	for i := range 2 * 512 {
		k := w.must(to(packet.ProtoTCP, byte(i), 1024+512+uint16(i), "192.0.2.1", 80))
		if u, _ := w.g.UnitOf(k); u != 0 && u != 3 {
			t.Fatalf("connection %d begins in unit %d, which another node should have, at port %d", i, u, k.DstPort)
		}
	}
	if w.close(old, false); !w.Idle(w.now, 1) || !w.Idle(w.now, 2) {
		t.Fatal("a unit that another node should have is not idle, and its only connection has ended")
	}
	// Nothing is refused for it (NT3).
	for i := range 2 * 512 {
		w.must(tcp(byte(i), 80))
	}
	if _, result := w.open(tcp(1, 80)); result != Short || w.Usage(1) != 512 || w.Usage(2) != 512 {
		t.Fatalf("%v with %d and %d ports used", result, w.Usage(1), w.Usage(2))
	}
}

// Who should have a unit changes with the view, while connections are in it.
func TestNT2_AUnitIsNotLeasedForEver(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 1))
	w.SetHeld(0, true)
	w.must(tcp(1, 80))
	w.SetHeld(1, true)
	begins := func(want int) {
		t.Helper()
		for range 10 {
			if u, _ := w.g.UnitOf(w.must(tcp(2, 80))); u != want {
				t.Fatalf("a connection begins in unit %d, want %d", u, want)
			}
		}
	}
	w.SetLeased(0, true)
	begins(1)
	w.SetLeased(1, true)
	w.SetLeased(0, false)
	begins(0)
	w.SetLeased(0, true)
	w.SetHeld(0, false) // given away, and taken again
	w.SetHeld(0, true)
	begins(0)
	w.SetHeld(2, false)
	w.SetLeased(2, true) // not held: says nothing
	w.SetHeld(2, true)
	w.SetLeased(0, true)
	begins(2)
}

// Neither does one begin there because ports elsewhere rest, while there are others.
func TestNT2_HoldDownElsewhereOpensNoLeasedUnit(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, time.Minute, portPool("egress", 1))
		w.rng = rand.New(rand.NewPCG(seed, seed))
		for u := range 3 {
			w.SetHeld(u, true)
		}
		leased := w.must(to(packet.ProtoTCP, 1, 1024+512, "192.0.2.1", 80))
		var list []packet.FlowKey
		for range 600 { // full: 0, and the rest in 2
			w.SetLeased(1, true)
			list = append(list, w.must(tcp(1, 80)))
		}
		for _, k := range list[:100] {
			w.close(k, true) // they rest, for this remote
		}
		for range 400 {
			if u, _ := w.g.UnitOf(w.must(tcp(1, 80))); u == 1 {
				t.Fatal("a connection begins in a leased unit, and others have room")
			}
		}
		w.close(leased, false)
	}
}

// A host's first unit is one that need not go (NT6).
func TestNT6_AHostGetsNoLeasedUnit(t *testing.T) {
	p := portPool("egress", 1)
	p.MaxBlocksPerHost = 2
	w := newWorld(t, 0, p)
	for u := range 8 {
		w.SetHeld(u, true)
		w.SetLeased(u, u != 5)
	}
	if u, ok := w.UnitForHost(w.now, 0, tcp(1, 0).Host); !ok || u != 5 {
		t.Fatalf("unit %d, %v", u, ok)
	}
	w.SetHeld(5, false)
	if _, ok := w.UnitForHost(w.now, 0, tcp(1, 0).Host); !ok {
		t.Fatal("none, and seven are idle")
	}
}
