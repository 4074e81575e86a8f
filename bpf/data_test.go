package bpf_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"cohort/bpf"
	"cohort/flowtable"
	"cohort/packet"

	"github.com/cilium/ebpf"
)

// etherframe is a frame to this node of another protocol than IPv4.
func etherframe(ethertype uint16, payload ...byte) []byte {
	b := append(make([]byte, 14), payload...)
	copy(b, nodeMAC[:])
	binary.BigEndian.PutUint16(b[12:], ethertype)
	return append(b, make([]byte, max(0, 60-len(b)))...)
}

// ipv6To is an IPv6 packet, whose destination is all that matters.
func ipv6To(dst string) []byte {
	h := make([]byte, 40)
	h[0] = 0x60
	d := netip.MustParseAddr(dst).As16()
	copy(h[24:], d[:])
	return etherframe(0x86dd, h...)
}

// mod writes a packet with a change to its description.
func mod(t testing.TB, k packet.FlowKey, change func(*pkt)) []byte {
	t.Helper()
	p := from(k)
	change(&p)
	return p.bytes(t)
}

// poke writes a packet with a change to its bytes, from the IP header on.
func poke(t testing.TB, k packet.FlowKey, change func(ip []byte)) []byte {
	t.Helper()
	b := from(k).bytes(t)
	change(b[14:])
	return b
}

// TestMG5_EveryOutcomeHappens has one case at least for every number in
// reasons.h, and notices when one is missing. The node has a TCP flow that it
// owns and a UDP tuple that node 2 owns.
func TestMG5_EveryOutcomeHappens(t *testing.T) {
	to := func(k packet.FlowKey, dst string) packet.FlowKey {
		k.Dst = packet.AddrFrom(netip.MustParseAddr(dst))
		return k
	}
	none := func(*node, *flowtable.FlowSlot) {}
	vxlan := func(dst string) packet.FlowKey {
		k := to(udpKey, dst)
		k.DstPort = 4789
		return k
	}
	local := localAddr.String()
	onCCL := func(change func(*frame)) []byte {
		f := carries(2, 1, from(tcpKey).bytes(t))
		change(&f)
		return f.bytes(t)
	}
	cases := []struct {
		name  string
		want  bpf.Outcome
		in    []byte
		setup func(*node, *flowtable.FlowSlot)
		ccl   bool
		meta  uint32
	}{
		{name: "arp", want: bpf.PassARP, in: etherframe(0x0806)},
		{name: "lldp", want: bpf.PassOther, in: etherframe(0x88cc)},
		{name: "to this node", want: bpf.PassLocal, in: from(to(tcpKey, localAddr.String())).bytes(t)},
		{name: "fragment to this node", want: bpf.PassLocal, in: mod(t, to(udpKey, localAddr.String()), func(p *pkt) { p.moreFrags = true })},
		{name: "last hop to this node", want: bpf.PassLocal, in: mod(t, to(udpKey, localAddr.String()), func(p *pkt) { p.ttl = 1 })},
		{name: "icmp error to this node", want: bpf.PassLocal, in: mod(t, to(echoKey, localAddr.String()), func(p *pkt) { p.icmpType = 3 })},
		{name: "options to this node", want: bpf.PassLocal, in: mod(t, to(udpKey, localAddr.String()), func(p *pkt) { p.options = true })},
		{name: "multicast", want: bpf.PassMulticast, in: from(to(udpKey, "224.0.0.5")).bytes(t)},
		{name: "reserved class", want: bpf.PassMulticast, in: from(to(udpKey, "240.0.0.1")).bytes(t)},
		{name: "broadcast", want: bpf.PassMulticast, in: from(to(udpKey, "255.255.255.255")).bytes(t)},
		{name: "link-local", want: bpf.PassMulticast, in: from(to(udpKey, "169.254.1.1")).bytes(t)},
		{name: "unicast in a broadcast frame", want: bpf.PassMulticast, in: mod(t, tcpKey, func(p *pkt) { p.dmac = [6]uint8{255, 255, 255, 255, 255, 255} })},
		{name: "ipv6 multicast", want: bpf.PassIPv6Link, in: ipv6To("ff02::1")},
		{name: "ipv6 link-local", want: bpf.PassIPv6Link, in: ipv6To("fe80::1")},
		{name: "ipv6 neighbour solicitation", want: bpf.PassIPv6Link, in: ipv6To("ff02::1:ff00:1")},
		{name: "ipv6 transient link scope", want: bpf.PassIPv6Link, in: ipv6To("ff12::1")},
		{name: "ipv6 interface scope", want: bpf.DropIPv6Transit, in: ipv6To("ff01::1")},
		{name: "ipv6 site scope", want: bpf.DropIPv6Transit, in: ipv6To("ff05::2")},
		{name: "ipv6 global scope", want: bpf.DropIPv6Transit, in: ipv6To("ff0e::101")},
		{name: "ipv6 local", want: bpf.PassIPv6Local, in: ipv6To(localAddr6.String())},
		{name: "ipv6 neighbour of local", want: bpf.DropIPv6Transit, in: ipv6To("2001:db8:1::2")},
		{name: "short ipv6 local", want: bpf.DropBadIP, in: ipv6To(localAddr6.String())[:53]},
		{name: "ipv6 transit", want: bpf.DropIPv6Transit, in: ipv6To("2001:db8::1")},
		{name: "ipv6 site-local", want: bpf.DropIPv6Transit, in: ipv6To("fec0::1")},
		{name: "short ipv6", want: bpf.DropBadIP, in: ipv6To("fe80::1")[:53]},

		{name: "owner", want: bpf.ForwardOwner, in: from(tcpKey).bytes(t)},
		{name: "owner over the CCL", want: bpf.ForwardOwnerCCL, in: onCCL(func(*frame) {}), ccl: true},
		{name: "forwarder", want: bpf.ForwardCCL, in: from(udpKey).bytes(t)},

		{name: "steered", want: bpf.ForwardSteered, in: from(greKey).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) {
			n.put(n.maps.NatAddrs, be32(serverAddr), whole)
			n.units[whole.FirstUnit] = 2
		}},
		{name: "delegated", want: bpf.ForwardDelegated, in: from(udpKey.Reverse()).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) {
			n.enterBy(outside)
			n.addDelegation(udpKey.Reverse(), udpKey.Reverse(), 2, outside, toInside)
		}},
		{name: "relayed", want: bpf.ForwardRelayed, in: onCCL(func(f *frame) { f.ip = from(greKey).bytes(t)[14:] }), ccl: true, setup: func(n *node, _ *flowtable.FlowSlot) {
			n.put(n.maps.NatAddrs, be32(serverAddr), whole)
			n.units[whole.FirstUnit] = 1
			n.addForward(greKey, 3)
		}},

		{name: "miss", want: bpf.PuntMiss, in: from(greKey).bytes(t)},
		{name: "slow only, flow", want: bpf.PuntSlowOnly, in: from(tcpKey).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) { n.control.Flags = bpf.ControlSlowOnly }},
		{name: "slow only, forward", want: bpf.PuntSlowOnly, in: from(udpKey).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) { n.control.Flags = bpf.ControlSlowOnly }},
		{name: "first fragment", want: bpf.PuntFragment, in: mod(t, tcpKey, func(p *pkt) { p.moreFrags = true })},
		{name: "last fragment", want: bpf.PuntFragment, in: mod(t, tcpKey, func(p *pkt) { p.fragOffset = 100 })},
		{name: "fragment with its ports", want: bpf.PuntLabelled, in: onCCL(func(f *frame) {
			f.typ, f.ip = bpf.CCLFragment, mod(t, tcpKey, func(p *pkt) { p.fragOffset = 100 })[14:]
		}), ccl: true},
		{name: "ttl 1", want: bpf.PuntTTLExceeded, in: mod(t, tcpKey, func(p *pkt) { p.ttl = 1 })},
		{name: "ttl 0", want: bpf.PuntTTLExceeded, in: mod(t, tcpKey, func(p *pkt) { p.ttl = 0 })},
		{name: "ttl 1 over the CCL", want: bpf.PuntTTLExceeded, in: onCCL(func(f *frame) { f.ip = mod(t, tcpKey, func(p *pkt) { p.ttl = 1 })[14:] }), ccl: true},
		{name: "unreachable", want: bpf.PuntICMPError, in: mod(t, echoKey, func(p *pkt) { p.icmpType = 3 })},
		{name: "source quench", want: bpf.PuntICMPError, in: mod(t, echoKey, func(p *pkt) { p.icmpType = 4 })},
		{name: "icmp redirect", want: bpf.PuntICMPError, in: mod(t, echoKey, func(p *pkt) { p.icmpType = 5 })},
		{name: "time exceeded", want: bpf.PuntICMPError, in: mod(t, echoKey, func(p *pkt) { p.icmpType = 11 })},
		{name: "parameter problem", want: bpf.PuntICMPError, in: mod(t, echoKey, func(p *pkt) { p.icmpType = 12 })},
		{name: "torn slot", want: bpf.PuntBusy, in: from(tcpKey).bytes(t), setup: func(_ *node, f *flowtable.FlowSlot) { f.Seq++ }},
		{name: "torn next hop", want: bpf.PuntBusy, in: from(tcpKey).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) { n.nexthops[toOutside].Seq++ }},
		{name: "flow for Go", want: bpf.PuntFlow, in: from(tcpKey).bytes(t), setup: func(_ *node, f *flowtable.FlowSlot) { f.Flags |= flowtable.FlowPunt }},
		{name: "syn", want: bpf.PuntTCPFlags, in: mod(t, tcpKey, func(p *pkt) { p.flags = "S" })},
		{name: "reset", want: bpf.PuntTCPRST, in: mod(t, tcpKey, func(p *pkt) { p.flags = "R" })},
		{name: "no next hop", want: bpf.PuntNoNexthop, in: from(tcpKey).bytes(t), setup: func(_ *node, f *flowtable.FlowSlot) { f.NextHop[0] = 0 }},
		{name: "unresolved next hop", want: bpf.PuntNoNexthop, in: from(tcpKey).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) { n.nexthops[toOutside].Flags = 0 }},
		{name: "next hop out of range", want: bpf.PuntNoNexthop, in: from(tcpKey).bytes(t), setup: func(_ *node, f *flowtable.FlowSlot) { f.NextHop[0] = bpf.MaxNexthops }},
		{name: "too big", want: bpf.PuntTooBig, in: from(tcpKey).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) { n.nexthops[toOutside].Mtu = 48 }},
		{name: "stale forward", want: bpf.PuntStaleForward, in: from(udpKey).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) { n.members[2].Incarnation++ }},
		{name: "ip options", want: bpf.PuntIPOptions, in: mod(t, tcpKey, func(p *pkt) { p.options = true })},
		{name: "wrong interface", want: bpf.PuntWrongIface, in: from(tcpKey).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) { n.enterBy(outside) }},
		{name: "wrong interface at the forwarder", want: bpf.PuntWrongIface, in: onCCL(func(f *frame) { f.iface = outside }), ccl: true},
		{name: "interface not yet known", want: bpf.ForwardOwner, in: from(tcpKey).bytes(t), setup: func(n *node, f *flowtable.FlowSlot) { f.Iface[0] = 0 }},
		{name: "owned by a third", want: bpf.PuntNotOwner, in: onCCL(func(f *frame) { f.ip = from(udpKey).bytes(t)[14:] }), ccl: true},

		{name: "lease", want: bpf.DropLeaseExpired, in: from(tcpKey).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) { n.control.Lease = 1 }},
		{name: "lease, frame from a peer", want: bpf.DropLeaseExpired, in: onCCL(func(*frame) {}), ccl: true, setup: func(n *node, _ *flowtable.FlowSlot) { n.control.Lease = 1 }},
		{name: "fenced", want: bpf.DropFenced, in: from(tcpKey).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) { n.control.View = 0 }},
		{name: "fenced, frame from a peer", want: bpf.DropFenced, in: onCCL(func(*frame) {}), ccl: true, setup: func(n *node, _ *flowtable.FlowSlot) { n.control.View = 0 }},
		{name: "interface without id", want: bpf.DropUnknownIface, in: from(tcpKey).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) { n.enterBy(0) }},
		{name: "id out of range", want: bpf.DropUnknownIface, in: from(tcpKey).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) { n.enterBy(bpf.MaxIfaces) }},
		{name: "unconfigured interface", want: bpf.DropUnknownIface, in: from(tcpKey).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) {
			must(n.t, n.maps.IfindexToIface.Delete(uint32(loopback)))
		}},
		{name: "other host", want: bpf.DropOtherHost, in: mod(t, tcpKey, func(p *pkt) { p.dmac[5]++ })},
		{name: "interface without MAC", want: bpf.ForwardOwner, in: mod(t, tcpKey, func(p *pkt) { p.dmac[5]++ }), setup: func(n *node, _ *flowtable.FlowSlot) { n.ifaces[inside].Mac = [6]uint8{} }},
		{name: "ip version", want: bpf.DropBadIP, in: poke(t, tcpKey, func(ip []byte) { ip[0] = 0x55 })},
		{name: "ip header length", want: bpf.DropBadIP, in: poke(t, tcpKey, func(ip []byte) { ip[0] = 0x44 })},
		{name: "ip total length in the header", want: bpf.DropBadIP, in: poke(t, tcpKey, func(ip []byte) { ip[2], ip[3] = 0, 19 })},
		{name: "ip longer than the frame", want: bpf.DropBadIP, in: poke(t, tcpKey, func(ip []byte) { ip[2] = 0x10 })},
		{name: "short frame", want: bpf.DropBadIP, in: from(tcpKey).bytes(t)[:33]},
		{name: "short tcp", want: bpf.DropBadL4, in: poke(t, tcpKey, func(ip []byte) { ip[2], ip[3] = 0, 39 })},
		{name: "tcp offset too small", want: bpf.DropBadL4, in: poke(t, tcpKey, func(ip []byte) { ip[32] = 0x40 })},
		{name: "tcp offset too large", want: bpf.DropBadL4, in: poke(t, tcpKey, func(ip []byte) { ip[32] = 0xf0 })},
		{name: "short udp", want: bpf.DropBadL4, in: poke(t, udpKey, func(ip []byte) { ip[2], ip[3] = 0, 27 })},
		{name: "short icmp", want: bpf.DropBadL4, in: poke(t, echoKey, func(ip []byte) { ip[2], ip[3] = 0, 27 })},
		{name: "no socket", want: bpf.DropNoSlowPath, in: from(greKey).bytes(t), setup: func(n *node, _ *flowtable.FlowSlot) {
			must(n.t, n.maps.Xsks.Delete(uint32(inside*bpf.XSKQueues)))
		}},
		{name: "no socket on the CCL", want: bpf.DropNoSlowPath, in: onCCL(func(f *frame) { f.ip = from(greKey).bytes(t)[14:] }), ccl: true, setup: func(n *node, _ *flowtable.FlowSlot) {
			must(n.t, n.maps.Xsks.Delete(uint32(bpf.XSKCCL)))
		}},
		{name: "no room for metadata", want: bpf.DropNoMetadata, in: append(make([]byte, 200), from(greKey).bytes(t)...), meta: 200},
		{name: "no room for the CCL headers", want: bpf.DropNoHeadroom, in: append(make([]byte, 200), from(udpKey).bytes(t)...), meta: 200},

		{name: "ccl other", want: bpf.PassCCLOther, in: etherframe(0x0806), ccl: true},
		{name: "ccl control", want: bpf.PassCCLControl, in: onCCL(func(f *frame) { f.inner = 0x0800 }), ccl: true},
		{name: "wrong vni", want: bpf.DropWrongVNI, in: onCCL(func(f *frame) { f.vni = 1 }), ccl: true},
		{name: "bad frame", want: bpf.DropBadFrame, in: onCCL(func(f *frame) { f.version = 9 }), ccl: true},
		{name: "bad view", want: bpf.DropBadView, in: onCCL(func(f *frame) { f.view++ }), ccl: true},
		{name: "unknown peer", want: bpf.DropUnknownPeer, in: onCCL(func(f *frame) { f.src = 3 }), ccl: true},
		{name: "CL1 vxlan to this node", want: bpf.DropStrayVxlan, in: from(vxlan(local)).bytes(t)},
		{name: "CL1 its first fragment", want: bpf.DropStrayVxlan, in: mod(t, vxlan(local), func(p *pkt) { p.moreFrags = true })},
		{name: "CL1 a later fragment", want: bpf.PassLocal, in: mod(t, vxlan(local), func(p *pkt) { p.fragOffset = 8 })},
		{name: "CL1 vxlan at its last hop", want: bpf.DropStrayVxlan, in: mod(t, vxlan(local), func(p *pkt) { p.ttl = 1 })},
		{name: "CL1 vxlan with options", want: bpf.DropStrayVxlan, in: mod(t, vxlan(local), func(p *pkt) { p.options = true })},
		{name: "CL1 vxlan to everybody", want: bpf.DropStrayVxlan, in: from(vxlan("255.255.255.255")).bytes(t)},
		{name: "CL1 vxlan in a broadcast", want: bpf.DropStrayVxlan, in: mod(t, vxlan(local), func(p *pkt) { p.dmac = [6]byte{255, 255, 255, 255, 255, 255} })},
		{name: "vxlan that passes through", want: bpf.PuntMiss, in: from(vxlan("192.0.2.80")).bytes(t)},
		{name: "hop limit", want: bpf.DropHopLimit, in: onCCL(func(f *frame) { f.hops = 200 }), ccl: true},
	}
	happened := make(map[bpf.Outcome]bool)
	for _, c := range cases {
		happened[c.want] = true
		t.Run(c.want.String()+"/"+c.name, func(t *testing.T) {
			n := newNode(t, 1)
			_, f := n.addFlow(tcpKey)
			n.addForward(udpKey, 2)
			if c.setup == nil {
				c.setup = none
			}
			c.setup(n, f)
			program := n.data
			if c.ccl {
				program = n.ccl
			}
			r := n.runWithMetadata(program, c.in, c.meta).want(t, c.want)
			switch c.want.Kind() {
			case bpf.KindPass:
				wantBytes(t, r.packet, c.in)
			case bpf.KindPunt:
				if !c.ccl {
					wantBytes(t, r.packet, c.in)
				}
				if r.punt == nil || r.punt.Magic != bpf.PuntMagic || bpf.Outcome(r.punt.Reason) != c.want {
					t.Errorf("punted with %+v", r.punt)
				}
			}
		})
	}
	for _, o := range bpf.Outcomes() {
		if !happened[o] {
			t.Errorf("no case for %v", o)
		}
	}
}

// TestHL5_NothingPassesWithoutLease, ARP, ping to the node and its routing
// protocols included; and at once when the lease is renewed, everything does.
func TestHL5_NothingPassesWithoutLease(t *testing.T) {
	n := newNode(t, 1)
	n.addFlow(tcpKey)
	ping := echoKey
	ping.Dst = packet.AddrFrom(localAddr)
	ospf := key(89, clientAddr, 0, netip.MustParseAddr("224.0.0.5"), 0)
	packets := map[bpf.Outcome][]byte{
		bpf.PassARP:       etherframe(0x0806),
		bpf.PassLocal:     from(ping).bytes(t),
		bpf.PassMulticast: from(ospf).bytes(t),
		bpf.PassIPv6Link:  ipv6To("ff02::1"),
		bpf.PassIPv6Local: ipv6To(localAddr6.String()),
		bpf.PassOther:     etherframe(0x88cc),
		bpf.ForwardOwner:  from(tcpKey).bytes(t),
		bpf.PuntMiss:      from(greKey).bytes(t),
	}
	for want, in := range packets {
		n.control.Lease = 1
		n.runData(in).want(t, bpf.DropLeaseExpired)
		n.control.Lease = ^uint64(0)
		n.control.View = 0
		n.runData(in).want(t, bpf.DropFenced)
		n.control.View = testView
		n.runData(in).want(t, want)
	}
}

// TestHashIsThatOfTheFlowTable: a missed packet carries the hashes of its key.
func TestHashIsThatOfTheFlowTable(t *testing.T) {
	n := newNode(t, 1)
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 300 {
		k := packet.FlowKey{Proto: [...]uint8{packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP, 47}[i%4]}
		binary.BigEndian.PutUint32(k.Src[:], rng.Uint32())
		binary.BigEndian.PutUint32(k.Dst[:], rng.Uint32N(0x70000000)|0x01000000) // unicast
		switch k.Proto {
		case packet.ProtoICMP:
			if k.SrcPort = uint16(rng.Uint32()) | 1; i%8 < 4 {
				k.SrcPort, k.DstPort = 0, k.SrcPort
			}
		case packet.ProtoTCP, packet.ProtoUDP:
			k.SrcPort, k.DstPort = uint16(rng.Uint32()), uint16(rng.Uint32())
		}
		r := n.runData(from(k).bytes(t)).want(t, bpf.PuntMiss)
		if h1, tag := n.table.Hash(k); r.punt.H1 != h1 || r.punt.Tag != tag {
			t.Fatalf("%v: XDP hashes %#x, %#x; the flow table %#x, %#x", k, r.punt.H1, r.punt.Tag, h1, tag)
		}
	}
}

// queries are the types of ICMP queries and of what answers them (RFC 5508).
var queries = map[string][2]uint8{"echo": {8, 0}, "timestamp": {13, 14}, "information": {15, 16}, "mask": {17, 18}}

// TestRFC5508_REQ1_QueriesPassInEveryRole: what Go installed for a query serves
// it and its response, at the owner and at a forwarder, and the keys are Go's.
func TestRFC5508_REQ1_QueriesPassInEveryRole(t *testing.T) {
	for name, types := range queries {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 1)
			keys := [2]packet.FlowKey{echoKey, echoKey.Reverse()}
			var frames [2][]byte
			for dir, k := range keys {
				frames[dir] = mod(t, k, func(p *pkt) { p.icmpType = types[dir] })
				n.enterBy([2]uint32{inside, outside}[dir])
				var slow packet.Packet
				if r := slow.Parse(frames[dir]); r != packet.OK || slow.Key != k {
					t.Fatalf("Go reads %v %v, want %v", r, slow.Key, k)
				}
				r := n.runData(frames[dir]).want(t, bpf.PuntMiss)
				if h1, tag := n.table.Hash(k); r.punt.H1 != h1 || r.punt.Tag != tag {
					t.Errorf("direction %d is not hashed as %v", dir, k)
				}
			}
			slot, f := n.addFlow(echoKey)
			for dir, in := range frames {
				n.enterBy(uint32(f.Iface[dir]))
				n.runData(in).want(t, bpf.ForwardOwner)
			}
			n.table.RemoveFlow(slot)
			n.addForward(keys[1], 2)
			n.enterBy(outside)
			n.runData(frames[1]).want(t, bpf.ForwardCCL)
			n.enterBy(inside)
			n.runData(frames[0]).want(t, bpf.PuntMiss) // the other way is another key
		})
	}
}

// TestFR9_OtherICMPBelongsToNoConnection: neither a query nor a response has
// a key of its own, and the one without ports may be that of an identifier 0.
func TestFR9_OtherICMPBelongsToNoConnection(t *testing.T) {
	n := newNode(t, 1)
	k := echoKey
	k.SrcPort = 0
	n.addFlow(k)
	n.runData(from(k).bytes(t)).want(t, bpf.ForwardOwner)
	for _, icmpType := range []uint8{1, 2, 6, 7, 9, 10, 19, 30, 37, 38, 40, 42, 43, 253, 255} {
		in := mod(t, echoKey, func(p *pkt) { p.icmpType = icmpType })
		r := n.runData(in).want(t, bpf.PuntMiss)
		wantBytes(t, r.packet, in)
	}
}

// TestPuntSaysAllThatXDPKnows about a packet from the wire.
func TestPuntSaysAllThatXDPKnows(t *testing.T) {
	n := newNode(t, 1)
	slot, _ := n.addFlow(tcpKey)
	n.enterBy(outside)
	p := from(tcpKey.Reverse())
	p.flags = "SA"
	r := n.runData(p.bytes(t)).want(t, bpf.PuntTCPFlags)
	h1, tag := n.table.Hash(p.key)
	want := bpf.Punt{
		Magic: bpf.PuntMagic, Reason: uint8(bpf.PuntTCPFlags), Iface: outside, L3Off: 14, Entry: 1,
		View: testView, Ref: slot<<1 | 1, H1: h1, Tag: tag,
	}
	if *r.punt != want {
		t.Errorf("punt %+v, want %+v", *r.punt, want)
	}
	wantBytes(t, r.packet, p.bytes(t))
}

// TestFullTableIsFound: every key of a full table, in either bucket, is found
// from both sides, and by XDP as by Go.
func TestFullTableIsFound(t *testing.T) {
	n := newNode(t, 1)
	rng := rand.New(rand.NewPCG(5, 6))
	var keys []packet.FlowKey
	for {
		k := udpKey
		binary.BigEndian.PutUint32(k.Src[:], 0x0a000000|rng.Uint32N(1<<24))
		k.SrcPort = uint16(rng.Uint32())
		_, err := n.table.InsertFlow(flowtable.FlowSlot{Key: [2]packet.FlowKey{k, k.Reverse()}, NextHop: [2]uint16{toOutside, toInside}})
		if err != nil {
			break
		}
		keys = append(keys, k)
	}
	if len(keys) < 200 {
		t.Fatalf("only %d flows fit", len(keys))
	}
	for _, k := range keys {
		n.runData(from(k).bytes(t)).want(t, bpf.ForwardOwner)
		n.runData(from(k.Reverse()).bytes(t)).want(t, bpf.ForwardOwner)
	}
}

// TestProgramOfOneInterfaceDoesNotLookForIt: only_iface is set at load time.
func TestProgramOfOneInterfaceDoesNotLookForIt(t *testing.T) {
	needRoot(t)
	n := &node{t: t, id: 1, over: overIPv4}
	n.load(tableSize{flows: 7, forwards: 7}, func(s *ebpf.CollectionSpec) { must(t, s.Variables["only_iface"].Set(uint32(outside))) })
	n.configure()
	must(t, n.maps.IfindexToIface.Delete(uint32(loopback)))
	n.addFlow(udpKey)
	n.runData(from(udpKey.Reverse()).bytes(t)).want(t, bpf.ForwardOwner)
	if r := n.runData(from(udpKey).bytes(t)).want(t, bpf.PuntWrongIface); r.punt.Iface != outside {
		t.Errorf("interface %d, want %d", r.punt.Iface, outside)
	}
}
