package nat

import "testing"

// keepers gives unit u the keeper u % n + 1, and returns the one of a key's unit.
func (w *world) keepers(n int) {
	w.SetKeepers(func(unit int) uint8 { return uint8(unit%n) + 1 })
}

func wanting(q Request, keeper uint8) Request {
	q.Keeper = keeper
	return q
}

// Ports whose second keys go to the wanted node come first, each of the eligible ones as
// likely as any (RFC 6056); the original port comes before them, and no port is refused
// for the sake of a keeper.
func TestNT3_FR3_PortsOfTheWantedKeeperComeFirst(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 1)).holdAll()
	w.keepers(3)
	seen, upper := map[uint16]bool{}, 0
	for i := range 900 {
		want := uint8(i%3) + 1
		q := wanting(tcp(1, 80), want)
		q.Prefer = 0
		k1 := w.must(q)
		unit, _ := w.g.UnitOf(k1)
		if got := uint8(unit%3) + 1; got != want {
			t.Fatalf("connection %d: a port of keeper %d, want %d", i, got, want)
		}
		if d := w.g.Describe(unit); k1.DstPort-d.First >= (d.Last-d.First+1)/2 {
			upper++
		}
		seen[k1.DstPort] = true
	}
	if upper < 350 || upper > 550 || len(seen) != 900 {
		t.Errorf("%d of 900 ports in the upper halves of their units, %d different ones", upper, len(seen))
	}
	if open := w.address[0].open; open > 9 {
		t.Errorf("%d units are open for 900 connections to three keepers", open)
	}
	q := wanting(tcp(2, 80), 2)
	free := w.g.Describe(120) // keeper 1
	q.Prefer = free.First + 5
	if k1 := w.must(q); k1.DstPort != q.Prefer {
		t.Errorf("port %d although %d is free", k1.DstPort, q.Prefer)
	}
	w.keepers(1) // nobody has what is wanted
	w.must(wanting(tcp(1, 80), 2))
	w.keepers(3)
	for i := len(w.live); i < 64512; i++ {
		if _, r := w.open(wanting(tcp(1, 80), 2)); r != Allocated {
			t.Fatalf("%v after %d of 64512 ports", r, i)
		}
	}
}

// Units that others may need are not opened for a keeper's sake when few are left.
func TestNT3_AKeeperDoesNotOpenTheLastIdleUnits(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 1))
	for u := range 8 {
		w.SetHeld(u, true)
	}
	w.keepers(8)
	for want := range uint8(8) {
		q := wanting(tcp(1, 80), want+1)
		q.Prefer = 0
		w.must(q)
	}
	if a := &w.address[0]; a.idle != 2 || a.open != 6 {
		t.Errorf("%d units open, %d idle, want 6 and 2", a.open, a.idle)
	}
}

// In what another node should have a keeper is a reason to begin no more than before.
func TestNT2_AKeeperIsNoReasonToUseALeasedUnit(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 1))
	for u := range 4 {
		w.SetHeld(u, true)
		w.SetLeased(u, u%2 == 1)
	}
	w.keepers(2) // keeper 2: the leased ones
	for range 50 {
		q := wanting(tcp(1, 80), 2)
		q.Prefer = 0
		if unit, _ := w.g.UnitOf(w.must(q)); unit%2 == 1 {
			t.Fatalf("a port of the leased unit %d", unit)
		}
	}
}

// Of a host's own blocks the wanted keeper's come first too (NT6).
func TestNT6_AHostsBlocksOfTheWantedKeeperComeFirst(t *testing.T) {
	p := portPool("egress", 1)
	p.MaxBlocksPerHost = 3
	w := newWorld(t, 0, p).holdAll()
	w.keepers(3)
	for u := range 3 {
		w.AssignHost(u, tcp(1, 80).Host)
	}
	for i := range 300 {
		q := wanting(tcp(1, 80), uint8(i%3)+1)
		q.Prefer = 0
		if unit, _ := w.g.UnitOf(w.must(q)); unit != i%3 {
			t.Fatalf("a port of unit %d, want %d", unit, i%3)
		}
	}
	for i := 300; i < 3*512; i++ {
		if _, r := w.open(wanting(tcp(1, 80), 1)); r != Allocated {
			t.Fatalf("%v after %d ports", r, i)
		}
	}
}

// The search for a keeper makes no garbage.
func TestKeeperAllocatesNoMemory(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 16)).holdAll()
	w.keepers(15)
	q := wanting(tcp(1, 80), 3)
	if n := testing.AllocsPerRun(1000, func() { w.Allocate(w.now, q, w.taken) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
