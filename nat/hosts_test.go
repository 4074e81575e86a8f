package nat

import (
	"slices"
	"testing"
	"time"

	"cohort/packet"
)

func limitedPool(blocks int) Pool {
	p := portPool("limited", 2)
	p.MaxBlocksPerHost = blocks
	return p
}

// grant does what the caller of Ports does after HostShort.
func (w *world) grant(host packet.Addr) (unit int) {
	w.t.Helper()
	unit, ok := w.UnitForHost(w.now, 0, host)
	if !ok {
		w.t.Fatal("no unit for a host")
	}
	w.AssignHost(unit, host)
	return unit
}

func TestNT6_HostsHaveTheirOwnBlocks(t *testing.T) {
	w := newWorld(t, 0, limitedPool(2)).holdAll()
	if _, result := w.open(tcp(1, 5000)); result != HostShort {
		t.Fatalf("a host without a unit: %s", result)
	}
	mine := w.grant(tcp(1, 0).Host)
	if home := w.g.Describe(w.g.Home(0, tcp(1, 0).Host)).Addr; w.g.Describe(mine).Addr != home {
		t.Errorf("unit of %s, the host's address is %s", w.g.Describe(mine).Addr, home)
	}
	theirs := w.grant(tcp(2, 0).Host)
	if mine == theirs {
		t.Fatal("one unit for two hosts")
	}
	preferred := w.g.Describe(mine).First + 7
	if k := w.must(tcp(1, preferred)); k.DstPort != preferred {
		t.Errorf("port %d is free in the host's unit, got %d", preferred, k.DstPort)
	}
	stranger := w.must(tcp(1, w.g.Describe(theirs).First))
	if u, _ := w.g.UnitOf(stranger); u != mine {
		t.Errorf("%s is in unit %d, the host has %d", stranger, u, mine)
	}
	for range 510 {
		if u, _ := w.g.UnitOf(w.must(tcp(1, 80))); u != mine {
			t.Fatalf("a port of unit %d, the host has %d", u, mine)
		}
	}
	if _, result := w.open(tcp(1, 80)); result != HostShort {
		t.Fatalf("513 connections in a unit of 512: %s", result)
	}
	w.must(to(packet.ProtoTCP, 1, 80, "192.0.2.2", 80)) // another remote may have the ports again
	if _, result := w.open(mapping(packet.ProtoTCP, 1, 80)); result != HostShort {
		t.Fatalf("a mapping in a full unit: %s", result)
	}
	second := w.grant(tcp(1, 0).Host)
	if w.g.Describe(second).Addr != w.g.Describe(mine).Addr {
		t.Error("the host's units have different addresses")
	}
	w.must(mapping(packet.ProtoTCP, 1, 80))
	if h, ok := w.HostOf(mine); !ok || h != tcp(1, 0).Host {
		t.Errorf("HostOf = %s, %v", h, ok)
	}
	if w.Idle(w.now, theirs) {
		t.Error("a unit that is a host's can be handed over before that is logged")
	}
}

func TestNT6_UnitsOfGoneHostsAreReported(t *testing.T) {
	w := newWorld(t, time.Minute, limitedPool(8)).holdAll()
	host := tcp(1, 0).Host
	var units []int
	for range 3 {
		units = append(units, w.grant(host))
	}
	busy := w.must(tcp(1, w.g.Describe(units[1]).First))
	w.close(w.must(tcp(1, w.g.Describe(units[2]).First)), true)
	report := func(want ...int) {
		t.Helper()
		got := w.FreeHostUnits(w.now, nil)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("free: %v, want %v", got, want)
		}
	}
	report(units[0])
	w.now += 60 * second
	report(units[0], units[2])
	w.close(busy, false)
	report(units...)
	// Taken back in any order, the list of the host's units stays whole.
	w.AssignHost(units[1], packet.Addr{})
	report(units[0], units[2])
	w.must(tcp(1, w.g.Describe(units[0]).First))
	w.AssignHost(units[2], packet.Addr{})
	if _, ok := w.HostOf(units[2]); ok {
		t.Error("the unit is still somebody's")
	}
	report()
	for range 511 {
		w.must(tcp(1, 80))
	}
	if _, result := w.open(tcp(1, 80)); result != HostShort {
		t.Errorf("only one unit is left: %s", result)
	}
	if w.Spare(0) != 251 || len(w.hosts) != 1 {
		t.Errorf("%d spare units, %d hosts", w.Spare(0), len(w.hosts))
	}
}

// Whatever is taken back in whatever order, every unit stays with its host.
func TestNT6_AssignmentsOfManyHosts(t *testing.T) {
	w := newWorld(t, 0, limitedPool(8)).holdAll()
	owner := map[int]packet.Addr{}
	for i := range 3000 {
		unit := w.rng.IntN(40)
		host := packet.Addr{10, 0, 0, byte(1 + w.rng.IntN(4))}
		if i%3 == 0 {
			host = packet.Addr{}
		}
		w.AssignHost(unit, host)
		if owner[unit] = host; host == (packet.Addr{}) {
			delete(owner, unit)
		}
		units := map[packet.Addr][]int{}
		for u, h := range owner {
			units[h] = append(units[h], u)
			if got, ok := w.HostOf(u); !ok || got != h {
				t.Fatalf("unit %d is of %s, want %s", u, got, h)
			}
		}
		for h, want := range units {
			var got []int
			for at := w.hosts[hostKey{0, h}]; at != 0; at = w.units[at-1].nextOfHost {
				got = append(got, int(at-1))
			}
			slices.Sort(got)
			if slices.Sort(want); !slices.Equal(got, want) {
				t.Fatalf("host %s has %v, want %v", h, got, want)
			}
		}
		if free := w.FreeHostUnits(w.now, nil); len(free) != len(owner) || len(w.hosts) != len(units) {
			t.Fatalf("%d units and %d hosts reported, want %d and %d", len(free), len(w.hosts), len(owner), len(units))
		}
	}
}

func TestNT6_NextHostFindsAUnitLeased(t *testing.T) {
	w := newWorld(t, 0, limitedPool(1))
	if _, ok := w.UnitForHost(w.now, 0, tcp(1, 0).Host); ok {
		t.Fatal("a unit from nowhere")
	}
	if _, n, ok := w.Need(); !ok || n != 1 {
		t.Fatalf("Need = %d, %v", n, ok)
	}
	w.SetHeld(5, true)
	w.grant(tcp(1, 0).Host)
	if _, n, ok := w.Need(); !ok || n != 1 {
		t.Errorf("no idle unit is left for the next host: Need = %d, %v", n, ok)
	}
}

func TestNT6_PoolsWithoutLimitAssignNothing(t *testing.T) {
	w := newWorld(t, 0, portPool("egress", 1)).holdAll()
	w.AssignHost(0, ip("10.0.0.1"))
	if _, ok := w.HostOf(0); ok {
		t.Error("assigned")
	}
}

// A unit that this node may no longer allocate from gives nothing, even to its
// host.
func TestNT4_HostsUnitMustBeHeld(t *testing.T) {
	w := newWorld(t, 0, limitedPool(1)).holdAll()
	u := w.grant(tcp(1, 0).Host)
	w.must(tcp(1, 80))
	w.SetHeld(u, false)
	for _, q := range []Request{tcp(1, 80), tcp(1, w.g.Describe(u).First), to(packet.ProtoTCP, 1, 80, "192.0.2.2", 80), mapping(packet.ProtoUDP, 1, 80)} {
		if k, result := w.open(q); result != HostShort {
			t.Fatalf("%s: %s", k, result)
		}
	}
}
