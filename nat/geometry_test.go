package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cohort/packet"
)

func ip(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

func geometry(t testing.TB, pools ...Pool) *Geometry {
	t.Helper()
	g, err := NewGeometry(pools)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// portPool is a pool of ports with n addresses from 203.0.113.1 on.
func portPool(name string, n int) Pool {
	p := Pool{Name: name}
	for i := range n {
		p.Addresses = append(p.Addresses, addr(number(ip("203.0.113.1"))+uint32(i)))
	}
	return p
}

func TestNT2_AddressHas126Blocks(t *testing.T) {
	g := geometry(t, portPool("egress", 2), Pool{Name: "direct", Kind: PoolAddresses, Addresses: []packet.Addr{ip("198.51.100.7")}})
	if g.Units() != 2*126+1 {
		t.Fatalf("%d units, want 253", g.Units())
	}
	for _, c := range []struct {
		unit int
		want Unit
	}{
		{0, Unit{0, ip("203.0.113.1"), 1024, 1535}},
		{125, Unit{0, ip("203.0.113.1"), 65024, 65535}},
		{126, Unit{0, ip("203.0.113.2"), 1024, 1535}},
		{252, Unit{1, ip("198.51.100.7"), 0, 65535}},
	} {
		if got := g.Describe(c.unit); got != c.want {
			t.Errorf("unit %d: %+v, want %+v", c.unit, got, c.want)
		}
	}
	for _, c := range []struct {
		addr string
		port uint16
		unit int
		ok   bool
	}{
		{"203.0.113.1", 1023, 0, false},
		{"203.0.113.1", 0, 0, false},
		{"203.0.113.1", 1024, 0, true},
		{"203.0.113.1", 1535, 0, true},
		{"203.0.113.1", 1536, 1, true},
		{"203.0.113.2", 65535, 251, true},
		{"198.51.100.7", 0, 252, true},
		{"198.51.100.7", 9, 252, true},
		{"203.0.113.3", 2000, 0, false},
	} {
		if unit, ok := g.Unit(ip(c.addr), c.port); unit != c.unit || ok != c.ok {
			t.Errorf("unit of %s:%d = %d, %v; want %d, %v", c.addr, c.port, unit, ok, c.unit, c.ok)
		}
	}
}

// Whatever the pools, units partition the ports that are lent out, in order.
func TestNT2_UnitsPartitionThePorts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var pools []Pool
		next := uint32(1)
		for i := range rapid.IntRange(1, 4).Draw(t, "pools") {
			p := Pool{Name: fmt.Sprint("p", i), Kind: PoolKind(rapid.IntRange(0, 1).Draw(t, "kind"))}
			for range rapid.IntRange(1, 3).Draw(t, "addresses") {
				p.Addresses = append(p.Addresses, addr(next))
				next += rapid.Uint32Range(1, 1000).Draw(t, "gap")
			}
			if p.Kind == PoolPorts {
				p.BlockSize = rapid.Uint16Range(MinBlockSize, MaxBlockSize).Draw(t, "block")
				p.IncludeReserved = rapid.Bool().Draw(t, "reserved")
			}
			pools = append(pools, p)
		}
		g, err := NewGeometry(pools)
		if err != nil {
			t.Fatal(err)
		}
		unit := 0
		for i, p := range pools {
			if got := g.Pools()[i]; got.First != unit || got.Name != p.Name || got.Kind != p.Kind {
				t.Fatalf("pool %d: %+v, want first unit %d", i, got, unit)
			}
			for _, a := range p.Addresses {
				port := 1024
				if p.IncludeReserved {
					port = 1
				}
				if p.Kind == PoolAddresses {
					port = 0
				}
				for ; port <= 65535; unit++ {
					d := g.Describe(unit)
					if d.Addr != a || d.Pool != i || int(d.First) != port {
						t.Fatalf("unit %d is %+v, want %s from port %d", unit, d, a, port)
					}
					if n := d.Ports(); p.Kind == PoolPorts && n != int(p.BlockSize) && d.Last != 65535 {
						t.Fatalf("unit %d has %d ports, blocks have %d", unit, n, p.BlockSize)
					}
					for _, inside := range []uint16{d.First, d.Last, rapid.Uint16Range(d.First, d.Last).Draw(t, "port")} {
						if got, ok := g.Unit(a, inside); !ok || got != unit {
							t.Fatalf("unit of %s:%d = %d, %v; want %d", a, inside, got, ok, unit)
						}
					}
					port += d.Ports()
				}
			}
		}
		if unit != g.Units() {
			t.Fatalf("%d units counted, Units says %d", unit, g.Units())
		}
	})
}

// What XDP computes from the table is what Unit says.
func TestFR6_TableGivesTheSameArithmetic(t *testing.T) {
	p := portPool("a", 3)
	p.BlockSize = 500
	g := geometry(t, p, Pool{Name: "d", Kind: PoolAddresses, Addresses: []packet.Addr{ip("198.51.100.7")}})
	if len(g.Table()) != 4 {
		t.Fatalf("%d entries, want 4", len(g.Table()))
	}
	for _, e := range g.Table() {
		for port := 0; port <= 65535; port++ {
			want, ok := -1, uint16(port) >= e.FirstPort && uint16(port) <= e.LastPort
			if ok {
				want = int(e.FirstUnit)
				if e.BlockSize != 0 {
					want += (port - int(e.FirstPort)) / int(e.BlockSize)
				}
			}
			if got, has := g.Unit(e.Addr, uint16(port)); has != ok || ok && got != want {
				t.Fatalf("%s:%d: %d, %v; the table says %d, %v", e.Addr, port, got, has, want, ok)
			}
		}
	}
}

func TestPortlessKeysBelongToTheFirstUnit(t *testing.T) {
	g := geometry(t, portPool("egress", 2))
	gre := packet.FlowKey{Src: ip("192.0.2.1"), Dst: ip("203.0.113.2"), Proto: 47}
	if unit, ok := g.UnitOf(gre); !ok || unit != 126 {
		t.Errorf("unit of GRE = %d, %v; want 126", unit, ok)
	}
	tcp := packet.FlowKey{Src: ip("192.0.2.1"), Dst: ip("203.0.113.2"), Proto: packet.ProtoTCP}
	if _, ok := g.UnitOf(tcp); ok {
		t.Error("TCP port 0 lies in a unit")
	}
	gre.Dst = ip("192.0.2.9")
	if _, ok := g.UnitOf(gre); ok {
		t.Error("an address outside the pools lies in a unit")
	}
}

func TestNT10_GeometryRefuses(t *testing.T) {
	a := []packet.Addr{ip("203.0.113.1")}
	for want, pools := range map[string][]Pool{
		"needs a name":            {{Addresses: a}},
		"another pool":            {{Name: "x", Addresses: a}, {Name: "x", Addresses: []packet.Addr{ip("203.0.113.2")}}},
		"no addresses":            {{Name: "x"}},
		`already in pool "x"`:     {{Name: "x", Addresses: a}, {Name: "y", Addresses: a}},
		"0.0.0.0":                 {{Name: "x", Addresses: []packet.Addr{{}}}},
		"block size 63":           {{Name: "x", Addresses: a, BlockSize: 63}},
		"block size 4097":         {{Name: "x", Addresses: a, BlockSize: 4097}},
		"connections per mapping": {{Name: "x", Addresses: a, Kind: PoolAddresses, MaxInbound: 1}},
		"max blocks per host":     {{Name: "x", Addresses: a, MaxBlocksPerHost: -1}},
		"for pools of ports":      {{Name: "x", Addresses: a, Kind: PoolAddresses, BlockSize: 64}},
		"unknown kind":            {{Name: "x", Addresses: a, Kind: 7}},
		"1025 addresses":          {{Name: "x", Addresses: manyAddresses(MaxPoolAddresses + 1), Kind: PoolAddresses}},
		"use larger blocks":       {{Name: "x", Addresses: manyAddresses(33), BlockSize: 64}},
		`pool "y"`:                {{Name: "x", Addresses: manyAddresses(32), BlockSize: 64}, {Name: "y", Addresses: []packet.Addr{ip("1.1.1.1")}, BlockSize: 64}},
	} {
		if _, err := NewGeometry(pools); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

func manyAddresses(n int) (out []packet.Addr) {
	for i := range n {
		out = append(out, addr(uint32(10<<24+i)))
	}
	return out
}

// Pools of one shape with other addresses, or the same in another order, are
// another cut.
func TestNT4_ChecksumTellsPoolsApart(t *testing.T) {
	a, b := packet.Addr{203, 0, 113, 1}, packet.Addr{203, 0, 113, 2}
	seen := map[uint32]int{}
	for i, p := range []Pool{
		{Name: "p", Addresses: []packet.Addr{a, b}},
		{Name: "p", Addresses: []packet.Addr{b, a}},
		{Name: "p", Addresses: []packet.Addr{a}},
		{Name: "p", Addresses: []packet.Addr{a, b}, BlockSize: 256},
		{Name: "p", Addresses: []packet.Addr{a, b}, IncludeReserved: true},
		{Name: "p", Kind: PoolAddresses, Addresses: []packet.Addr{a, b}},
	} {
		g, err := NewGeometry([]Pool{p})
		if err != nil {
			t.Fatal(err)
		}
		if other, known := seen[g.Checksum()]; known {
			t.Errorf("pools %d and %d have one checksum", other, i)
		}
		seen[g.Checksum()] = i
	}
}
