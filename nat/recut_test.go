package nat

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"cohort/packet"
)

// drawPool is a pool of one or two of the addresses from 203.0.113.first on.
func drawPool(t *rapid.T, name string, first byte) Pool {
	p := Pool{Name: name, Kind: PoolKind(rapid.IntRange(0, 3).Draw(t, "kind") / 3)}
	for i := range rapid.IntRange(1, 2).Draw(t, "addresses") {
		p.Addresses = append(p.Addresses, packet.Addr{203, 0, 113, first + byte(i)})
	}
	if p.Kind == PoolPorts {
		p.BlockSize = rapid.SampledFrom([]uint16{300, 512, 1024, 4096}).Draw(t, "size")
		p.IncludeReserved = rapid.Bool().Draw(t, "reserved")
	}
	return p
}

// Whoever held all that a new unit is made of could allocate each of its ports
// before (NT7): From is compared with asking for every port.
func TestNT7_FromEqualsAskingForEveryPort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func() *Geometry {
			pools := []Pool{drawPool(t, "a", 1), drawPool(t, "b", 3)}
			if rapid.Bool().Draw(t, "swap") {
				pools[0], pools[1] = pools[1], pools[0]
			}
			g, err := NewGeometry(pools[:rapid.IntRange(1, 2).Draw(t, "pools")])
			if err != nil {
				t.Fatal(err)
			}
			return g
		}
		old, g := draw(), draw()
		for u, part := range g.From(old) {
			d := g.Describe(u)
			want := map[int]bool{}
			for port := int(d.First); port <= int(d.Last); port++ {
				o, ok := old.Unit(d.Addr, uint16(port))
				if !ok || old.pools[old.pool[old.of[o]]].Kind != g.pools[d.Pool].Kind {
					want = nil
					break
				}
				want[o] = true
			}
			key := packet.FlowKey{Dst: d.Addr, Proto: 47} // no ports: the address' first unit stands for it
			if mine, _ := g.UnitOf(key); mine == u {
				if o, ok := old.UnitOf(key); ok && want != nil && !want[o] {
					want = nil
				}
			}
			if len(want) != part.Count {
				t.Fatalf("unit %d, %v: made of %+v, want %v", u, d, part, want)
			}
			for o := part.First; o < part.First+part.Count; o++ {
				if !want[o] {
					t.Fatalf("unit %d, %v: made of %+v, want %v", u, d, part, want)
				}
			}
		}
	})
}

// What rests under the old numbering rests under the new one, and keeps its
// unit from being lent.
func TestNT7_HoldDownGoesOnUnderAnotherNumbering(t *testing.T) {
	w := newWorld(t, time.Minute, portPool("egress", 1)).holdAll()
	kept, closed := w.must(tcp(1, 2000)), w.must(tcp(2, 3000))
	w.close(closed, true)
	pools := []Pool{portPool("first", 2), portPool("egress", 1)}
	pools[0].Addresses = []packet.Addr{{198, 51, 100, 1}, {198, 51, 100, 2}}
	pools[1].BlockSize = 256
	w.Recut(geometry(t, pools...), time.Minute, 0)
	for u := range w.g.Units() {
		if w.Held(u) || w.Uses(u) != 0 {
			t.Fatalf("unit %d is held or in use before anybody said so", u)
		}
		w.SetHeld(u, true)
	}
	w.Use(kept)
	unit, _ := w.g.UnitOf(closed)
	if in, _ := w.g.UnitOf(kept); w.Idle(w.now, unit) || w.Uses(in) != 1 {
		t.Fatal("what rests does not keep its unit from being lent, or what is used is not counted")
	}
	q := tcp(3, 3000)
	q.Pool = 1
	if again := w.must(q); again == closed {
		t.Fatalf("%v is given out again while it rests", closed)
	}
	w.now += 61 * second
	if !w.Idle(w.now, unit) {
		t.Fatal("a hold-down never ends")
	}
}

// A host keeps its blocks where the numbering only moves, and not where they
// are cut anew.
func TestNT7_BlocksOfAHostMove(t *testing.T) {
	limited := portPool("egress", 2)
	limited.MaxBlocksPerHost = 4
	w := newWorld(t, 0, limited).holdAll()
	host := packet.Addr{10, 0, 0, 7}
	w.AssignHost(3, host)   // of the first address
	w.AssignHost(130, host) // of the second
	pools := []Pool{portPool("first", 1), limited}
	pools[0].Addresses = []packet.Addr{{198, 51, 100, 1}}
	w.Recut(geometry(t, pools...), 0, 0)
	count := func() (n int) {
		w.HostUnits(func(pool int, h packet.Addr, units int) {
			if pool == 1 && h == host {
				n = units
			}
		})
		return n
	}
	if h, _ := w.HostOf(126 + 3); h != host || count() != 2 {
		t.Fatalf("unit 129 is %v's, who has %d units", h, count())
	}
	pools[1].BlockSize = 1024
	w.Recut(geometry(t, pools...), 0, 0)
	if count() != 0 {
		t.Fatal("a host has blocks that are cut anew")
	}
}
