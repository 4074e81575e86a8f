package bpf_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"unsafe"

	"cohort/bpf"
	"cohort/flowtable"
	"cohort/nat"
	"cohort/packet"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// flat is the units map as Go sees it: one byte a unit.
func flat(lines []bpf.NATUnits) []uint8 {
	return unsafe.Slice(&lines[0].Director[0], len(lines)*bpf.NATUnitsLine)
}

// The pool of these tests: mappedAddr is its second address, so its ports are
// units 126 to 251. wholeAddr is a pool of one-to-one translation.
var (
	pat       = bpf.NATAddress{FirstUnit: 126, FirstPort: 1024, LastPort: 65535, BlockSize: 512}
	wholeAddr = netip.MustParseAddr("203.0.113.99")
	whole     = bpf.NATAddress{FirstUnit: 252, LastPort: 65535}
)

// pool tells the node about the addresses, whose units nobody directs yet.
func (n *node) pool() *node {
	n.t.Helper()
	n.put(n.maps.NatAddrs, be32(mappedAddr), pat)
	n.put(n.maps.NatAddrs, be32(wholeAddr), whole)
	return n
}

// direct makes node the director of the unit of mappedAddr that port lies in.
func (n *node) direct(port uint16, node uint8) { n.units[126+(int(port)-1024)/512] = node }

// back is the return packet of a connection that leaves as mappedAddr:port.
func back(proto uint8, port uint16) packet.FlowKey {
	return key(proto, serverAddr, map[uint8]uint16{packet.ProtoTCP: 443, packet.ProtoUDP: 53}[proto], mappedAddr, port)
}

// wantSteered compares the frame on the CCL byte by byte: generation 0, and the
// packet in it as it came.
func (n *node) wantSteered(p pkt, to uint8) {
	n.t.Helper()
	in := unpadded(n.t, p)
	r := n.runData(in).want(n.t, bpf.ForwardSteered)
	want := carries(n.id, to, in)
	h1, _ := n.table.Hash(p.key)
	want.sport, want.iface, want.gen = 0xc000|uint16(h1&0x3fff), outside, 0
	wantBytes(n.t, r.packet, want.bytes(n.t))
}

// TestFR6_ReturnPacketGoesToTheDirectorOfItsUnit: the first and the last port
// of every block, when all other blocks are another node's.
func TestFR6_ReturnPacketGoesToTheDirectorOfItsUnit(t *testing.T) {
	n := newNode(t, 1).pool()
	n.enterBy(outside)
	for i := range n.units {
		n.units[i] = 3
	}
	for block := 1024; block < 65536; block += 512 {
		n.direct(uint16(block), 2)
		n.wantSteered(from(back(packet.ProtoTCP, uint16(block))), 2)
		n.wantSteered(from(back(packet.ProtoUDP, uint16(block+511))), 2)
		n.direct(uint16(block), 3)
	}
	for kind := range queries {
		response := from(back(packet.ProtoICMP, 4711))
		asks(kind)(&response)
		n.wantSteered(response, 3)
	}
	if c := n.counters(); c[bpf.ForwardSteered] != 126*2+4 {
		t.Errorf("counted %v", c)
	}
}

// TestFR6_LastBlockMayBeShort: blocks of 1000 ports, the last one of 512.
func TestFR6_LastBlockMayBeShort(t *testing.T) {
	n := newNode(t, 1)
	n.enterBy(outside)
	n.put(n.maps.NatAddrs, be32(mappedAddr), bpf.NATAddress{FirstUnit: 7, FirstPort: 1024, LastPort: 65535, BlockSize: 1000})
	n.units[7+64], n.units[7+63] = 2, 3
	n.wantSteered(from(back(packet.ProtoTCP, 65535)), 2)
	n.wantSteered(from(back(packet.ProtoTCP, 65024)), 2)
	n.wantSteered(from(back(packet.ProtoTCP, 65023)), 3)
}

// TestFR6_WholeAddressIsOneUnit, with any port and any protocol.
func TestFR6_WholeAddressIsOneUnit(t *testing.T) {
	n := newNode(t, 1).pool()
	n.enterBy(outside)
	n.units[252] = 3
	for _, k := range []packet.FlowKey{
		key(packet.ProtoTCP, serverAddr, 443, wholeAddr, 1), key(packet.ProtoUDP, serverAddr, 53, wholeAddr, 65535),
		key(packet.ProtoICMP, serverAddr, 9, wholeAddr, 0), key(47, serverAddr, 0, wholeAddr, 0),
	} {
		n.wantSteered(from(k), 3)
	}
}

// TestFR6_WithoutPortsTheFirstUnitDirects, so that one node alone translates
// such a protocol to an address.
func TestFR6_WithoutPortsTheFirstUnitDirects(t *testing.T) {
	n := newNode(t, 1).pool()
	n.enterBy(outside)
	for i := range n.units {
		n.units[i] = 3
	}
	n.direct(1024, 2)
	n.wantSteered(from(key(47, serverAddr, 0, mappedAddr, 0)), 2)
}

// TestFR6_UnitsAreThoseOfPackageNat: XDP computes what Go computes, over random
// addresses of random pools, ports and protocols.
func TestFR6_UnitsAreThoseOfPackageNat(t *testing.T) {
	g, err := nat.NewGeometry([]nat.Pool{
		{Name: "one", Addresses: []packet.Addr{{203, 0, 113, 10}, {203, 0, 113, 11}}},
		{Name: "two", Kind: nat.PoolAddresses, Addresses: []packet.Addr{{203, 0, 113, 20}, {203, 0, 113, 21}}},
		{Name: "odd", BlockSize: 1000, IncludeReserved: true, Addresses: []packet.Addr{{203, 0, 113, 30}}},
		{Name: "small", BlockSize: 64, Addresses: []packet.Addr{{203, 0, 113, 31}, {203, 0, 113, 32}}},
	})
	must(t, err)
	n := newNode(t, 1)
	n.enterBy(outside)
	for _, a := range g.Table() {
		n.put(n.maps.NatAddrs, be32(a.Addr.Netip()), bpf.NATAddress{FirstUnit: a.FirstUnit, FirstPort: a.FirstPort, LastPort: a.LastPort, BlockSize: a.BlockSize})
	}
	rng := rand.New(rand.NewPCG(8, 9))
	steered := 0
	for range 1500 {
		a := g.Table()[rng.IntN(len(g.Table()))]
		k := back([...]uint8{packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP, 47}[rng.IntN(4)], 0)
		k.Dst = a.Addr
		if k.Proto != 47 {
			// Anywhere, about the edges of blocks, and about the first port.
			k.DstPort = [...]uint16{
				uint16(rng.Uint32()), a.FirstPort + uint16(rng.IntN(70))*a.BlockSize + uint16(rng.IntN(3)) - 1, uint16(rng.IntN(2048)),
			}[rng.IntN(3)]
		}
		unit, ok := g.UnitOf(k)
		want := bpf.PuntMiss
		if ok {
			n.units[unit], want = 2, bpf.ForwardSteered
			steered++
		}
		n.runData(from(k).bytes(t)).want(t, want)
		if ok {
			n.units[unit] = 0
			n.runData(from(k).bytes(t)).want(t, bpf.PuntMiss) // it was this unit
		}
	}
	if steered < 1000 || steered > 1450 {
		t.Errorf("%d of 1500 steered", steered)
	}
}

// TestFR6_WhatIsNotSteered reaches Go as it came, as a miss like any other or
// for the reason it had before.
func TestFR6_WhatIsNotSteered(t *testing.T) {
	with := func(change func(*pkt)) pkt {
		p := from(back(packet.ProtoTCP, 40000))
		change(&p)
		return p
	}
	same := func(*pkt) {}
	toPort := func(port uint16) pkt { return from(back(packet.ProtoTCP, port)) }
	icmp := func(typ uint8) pkt {
		return with(func(p *pkt) { p.key = key(packet.ProtoICMP, serverAddr, 0, mappedAddr, 0); p.icmpType = typ })
	}
	for _, c := range []struct {
		name  string
		p     pkt
		setup func(*node)
		want  bpf.Outcome
	}{
		{"directed_by_this_node", with(same), func(n *node) { n.direct(40000, 1) }, bpf.PuntMiss},
		{"directed_by_nobody", with(same), func(n *node) { n.direct(40000, 0) }, bpf.PuntMiss},
		{"director_is_dead", with(same), func(n *node) { n.members[2].Flags = 0 }, bpf.PuntMiss},
		{"director_is_no_member", with(same), func(n *node) { n.direct(40000, 9) }, bpf.PuntMiss},
		{"director_past_the_members", with(same), func(n *node) { n.direct(40000, 200) }, bpf.PuntMiss},
		{"reserved_port", toPort(1023), nil, bpf.PuntMiss},
		{"port_0", toPort(0), nil, bpf.PuntMiss},
		{"port_past_the_range", toPort(60001), func(n *node) {
			short := pat
			short.LastPort = 60000
			n.put(n.maps.NatAddrs, be32(mappedAddr), short)
		}, bpf.PuntMiss},
		{"unit_past_the_array", with(same), func(n *node) {
			far := pat
			far.FirstUnit = bpf.MaxNATUnits
			n.put(n.maps.NatAddrs, be32(mappedAddr), far)
		}, bpf.PuntMiss},
		{"unit_that_overflows", with(same), func(n *node) {
			far := pat
			far.FirstUnit = 0xffffffff
			n.put(n.maps.NatAddrs, be32(mappedAddr), far)
			n.units[(40000-1024)/512-1] = 0
		}, bpf.PuntMiss},
		{"another_address", with(func(p *pkt) { p.key.Dst[3]++ }), nil, bpf.PuntMiss},
		{"source_in_the_pool", with(func(p *pkt) { p.key = p.key.Reverse() }), nil, bpf.PuntMiss},
		{"echo_request", icmp(8), nil, bpf.PuntMiss},
		{"timestamp_request", icmp(13), nil, bpf.PuntMiss},
		{"slow_only", with(same), func(n *node) { n.control.Flags = bpf.ControlSlowOnly }, bpf.PuntMiss},
		{"icmp_error", icmp(3), nil, bpf.PuntICMPError},
		{"fragment", with(func(p *pkt) { p.moreFrags = true }), nil, bpf.PuntFragment},
		{"last_hop", with(func(p *pkt) { p.ttl = 1 }), nil, bpf.PuntTTLExceeded},
		{"ip_options", with(func(p *pkt) { p.options = true }), nil, bpf.PuntIPOptions},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, 1).pool()
			n.enterBy(outside)
			for i := range n.units {
				n.units[i] = 2
			}
			if c.setup != nil {
				c.setup(n)
			}
			r := n.runData(c.p.bytes(t)).want(t, c.want)
			wantBytes(t, r.packet, c.p.bytes(t))
			if r.punt.Ref != 0 || r.punt.From != 0 || r.punt.Iface != outside {
				t.Errorf("punt %+v", *r.punt)
			}
		})
	}
}

// TestFR6_EntryWins over arithmetic, and one that is void does not hide it.
func TestFR6_EntryWins(t *testing.T) {
	n := newNode(t, 1).pool()
	n.enterBy(outside)
	n.direct(40000, 2)
	_, f := n.addFlow(tcpKey, translated(tcpKey, mappedAddr, 40000))
	n.runData(from(f.Key[1]).bytes(t)).want(t, bpf.ForwardOwner)
	f.Flags &^= flowtable.FlowLive
	n.wantSteered(from(f.Key[1]), 2)

	k := back(packet.ProtoUDP, 40001)
	fwd := n.addForward(k, 3)
	r := n.runData(from(k).bytes(t)).want(t, bpf.ForwardCCL)
	if got := r.packet[bpf.CCLHeader+15]; got != 77 {
		t.Errorf("generation %d, want the forward entry's", got)
	}
	n.members[3].Flags = 0
	n.runData(from(k).bytes(t)).want(t, bpf.PuntStaleForward)
	fwd.Flags = 0
	n.wantSteered(from(k), 2)
}

// TestFR6_ProgramsKeepNothing: there is no call in them that could make a map
// grow with connections.
func TestFR6_ProgramsKeepNothing(t *testing.T) {
	for _, load := range []func() (*ebpf.CollectionSpec, error){bpf.LoadData, bpf.LoadCcl} {
		spec, err := load()
		must(t, err)
		for name, p := range spec.Programs {
			for _, i := range p.Instructions {
				if i.IsBuiltinCall() && (i.Constant == int64(asm.FnMapUpdateElem) || i.Constant == int64(asm.FnMapPushElem)) {
					t.Errorf("%s: %v", name, i)
				}
			}
		}
	}
}

// TestFR6_JumboFrameIsSteered in one piece.
func TestFR6_JumboFrameIsSteered(t *testing.T) {
	n := newNode(t, 1).pool()
	n.enterBy(outside)
	n.direct(40000, 2)
	p := from(back(packet.ProtoUDP, 40000))
	p.payload = make([]byte, 9044-28)
	n.wantSteered(p, 2)
}
