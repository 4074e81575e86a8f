package bpf_test

import (
	"encoding/binary"
	"net"
	"testing"

	"cohort/bpf"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// frame describes a data frame on the CCL, in the fields of struct ccl_header
// and around it; bytes writes it by hand, as docs and layout.h say.
type frame struct {
	over     family
	next     []byte // IPv6 extension headers; the first byte is the type of the first
	from, to uint8  // nodes
	sport    uint16
	vni      uint32
	inner    uint16 // ethertype
	version  uint8
	typ      uint8
	src      uint8
	hops     uint8
	view     uint32
	iface    uint8
	entry    uint8
	gen      uint32
	ip       []byte // the packet
}

// carries is a good frame with the IP packet of an Ethernet frame.
func carries(from, to uint8, eth []byte) frame { return overIPv4.carries(from, to, eth) }

func (f family) carries(from, to uint8, eth []byte) frame {
	ip := eth[14:]
	return frame{
		over: f, from: from, to: to, sport: 0xc000, vni: testVNI, inner: bpf.CCLEthertype, version: bpf.CCLHeaderVersion, typ: bpf.CCLData,
		src: from, hops: 1, view: testView, iface: inside, entry: from, gen: 77, ip: ip,
	}
}

func (f frame) bytes(t testing.TB) []byte {
	t.Helper()
	from, to := macOf(f.from), macOf(f.to)
	inner := make([]byte, bpf.CCLPayload-50, bpf.CCLPayload-50+len(f.ip))
	binary.BigEndian.PutUint16(inner[12:], f.inner)
	h := inner[14:]
	h[0], h[1], h[2], h[3] = f.version, f.typ, f.src, f.hops
	binary.BigEndian.PutUint32(h[4:], f.view)
	h[8], h[9] = f.iface, f.entry
	binary.BigEndian.PutUint32(h[12:], f.gen)
	buf := gopacket.NewSerializeBuffer()
	udp := &layers.UDP{SrcPort: layers.UDPPort(f.sport), DstPort: bpf.CCLPort}
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true},
		udp, &layers.VXLAN{ValidIDFlag: true, VNI: f.vni}, gopacket.Payload(append(inner, f.ip...))))
	outer := append([]byte(nil), buf.Bytes()...)
	eth := &layers.Ethernet{DstMAC: to[:], SrcMAC: from[:], EthernetType: layers.EthernetTypeIPv4}
	src, dst := net.IP(f.over.vtep(f.from).AsSlice()), net.IP(f.over.vtep(f.to).AsSlice())
	var ip gopacket.SerializableLayer = &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolUDP, SrcIP: src, DstIP: dst}
	if f.over == overIPv6 {
		next := layers.IPProtocolUDP
		if len(f.next) > 0 {
			next, outer = layers.IPProtocol(f.next[0]), append(append([]byte(nil), f.next[1:]...), outer...)
		}
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: src, DstIP: dst}
	}
	buf = gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, gopacket.Payload(outer)))
	return buf.Bytes()
}

// unpadded is the IP packet of p behind an Ethernet header, without padding.
func unpadded(t testing.TB, p pkt) []byte {
	b := p.bytes(t)
	return b[:14+int(word(b, 16))]
}

// TestForwarderSendsToOwner: the frame on the CCL, byte by byte; the packet in
// it is as it came, time to live included.
func TestForwarderSendsToOwner(t *testing.T) {
	overBoth(t, func(t *testing.T, over family) {
		n := over.node(t, 1)
		p := from(tcpKey)
		fwd := n.addForward(tcpKey, 2)
		r := n.runData(p.bytes(t)).want(t, bpf.ForwardCCL)

		want := over.carries(1, 2, p.bytes(t))
		h1, _ := n.table.Hash(tcpKey)
		want.sport = 0xc000 | uint16(h1&0x3fff)
		wantBytes(t, r.packet, want.bytes(t))
		packets, octets := fwd.Counters()
		if packets != 1 || octets != uint64(word(p.bytes(t), 16)) || fwd.SeenAt() == 0 {
			t.Errorf("forward entry: %d packets, %d bytes, last at %d", packets, octets, fwd.SeenAt())
		}
	})
}

// TestForwarderTrimsNothingButSaysTheLength: padding of a short frame stays
// behind the outer IP packet, where no receiver looks.
func TestForwarderTrimsNothingButSaysTheLength(t *testing.T) {
	overBoth(t, func(t *testing.T, over family) {
		n := over.node(t, 1)
		p := from(tcpKey)
		p.payload = nil
		n.addForward(tcpKey, 2)
		r := n.runData(p.bytes(t)).want(t, bpf.ForwardCCL)
		udp := uint16(40 + over.payload() - 14 - over.header)
		ipAt, ip := 16, udp+20
		if over == overIPv6 {
			ipAt, ip = 18, udp // without the header (RFC 8200, 3)
		}
		if got := word(r.packet, ipAt); got != ip {
			t.Errorf("outer IP length %d, want %d", got, ip)
		}
		if got := word(r.packet, 14+over.header+4); got != udp {
			t.Errorf("outer UDP length %d, want %d", got, udp)
		}
		owner := over.node(t, 2)
		_, f := owner.addFlow(tcpKey)
		owner.runCCL(r.packet).want(t, bpf.ForwardOwnerCCL)
		if _, octets := f.Counters(0); octets != 40 {
			t.Errorf("the owner counts %d bytes, want 40", octets)
		}
	})
}

// TestForwarderJudgesNothing: SYN, RST and the like are the owner's business.
func TestForwarderJudgesNothing(t *testing.T) {
	n := newNode(t, 1)
	n.addForward(tcpKey, 2)
	for _, flags := range []string{"S", "R", "", "FPU"} {
		p := from(tcpKey)
		p.flags = flags
		n.runData(p.bytes(t)).want(t, bpf.ForwardCCL)
	}
}

// TestForwarderNoticesThatTheOwnerIsAnother: dead, or living its next life.
func TestForwarderNoticesThatTheOwnerIsAnother(t *testing.T) {
	n := newNode(t, 1)
	f := n.addForward(tcpKey, 2)
	n.members[2].Incarnation++
	r := n.runData(from(tcpKey).bytes(t)).want(t, bpf.PuntStaleForward)
	if r.punt.Ref>>31 != 1 {
		t.Errorf("ref %#x, want that of a forward entry", r.punt.Ref)
	}
	n.members[2].Incarnation--
	n.members[2].Flags = 0
	n.runData(from(tcpKey).bytes(t)).want(t, bpf.PuntStaleForward)
	if packets, _ := f.Counters(); packets != 0 {
		t.Errorf("%d packets accounted that were not forwarded", packets)
	}
	n.members[2].Flags = bpf.MemberAlive
	f.Seq++
	n.runData(from(tcpKey).bytes(t)).want(t, bpf.PuntBusy)
	f.Seq++
	n.runData(from(tcpKey).bytes(t)).want(t, bpf.ForwardCCL)
	f.Flags = 0
	n.runData(from(tcpKey).bytes(t)).want(t, bpf.PuntMiss)
}

// TestFR1_FourNodesOneConnection follows a connection without a network: the
// request meets a forwarder, its output is the owner's input; the reply meets
// another forwarder.
func TestFR1_FourNodesOneConnection(t *testing.T) {
	overBoth(t, func(t *testing.T, over family) {
		a, b, owner := over.node(t, 1), over.node(t, 3), over.node(t, 2)
		_, f := owner.addFlow(tcpKey)
		a.addForward(tcpKey, 2)
		b.addForward(tcpKey.Reverse(), 2)
		b.enterBy(outside)

		request := from(tcpKey)
		onLink := a.runData(request.bytes(t)).want(t, bpf.ForwardCCL)
		sent := owner.runCCL(onLink.packet).want(t, bpf.ForwardOwnerCCL)
		wantBytes(t, sent.packet, request.sentTo(serverMAC).bytes(t))

		reply := from(tcpKey.Reverse())
		onLink = b.runData(reply.bytes(t)).want(t, bpf.ForwardCCL)
		sent = owner.runCCL(onLink.packet).want(t, bpf.ForwardOwnerCCL)
		wantBytes(t, sent.packet, reply.sentTo(clientMAC).bytes(t))

		for dir := range 2 {
			if packets, _ := f.Counters(dir); packets != 1 {
				t.Errorf("direction %d: the owner counted %d packets", dir, packets)
			}
		}
	})
}

// TestCL2_JumboFrameCrossesTheLink in one piece, most of it in fragments that
// the programs never see.
func TestCL2_JumboFrameCrossesTheLink(t *testing.T) {
	overBoth(t, func(t *testing.T, over family) {
		a, owner := over.node(t, 1), over.node(t, 2)
		a.addForward(udpKey, 2)
		owner.addFlow(udpKey)
		owner.nexthops[toOutside].Mtu = 9044
		p := from(udpKey)
		p.payload = make([]byte, 9044-28)
		onLink := a.runData(p.bytes(t)).want(t, bpf.ForwardCCL)
		allowance := 134 + over.header // 154, 174
		if got := len(onLink.packet) - 14; got > 9044+allowance {
			t.Fatalf("%d bytes on the link exceed data MTU + %d", got, allowance)
		}
		sent := owner.runCCL(onLink.packet).want(t, bpf.ForwardOwnerCCL)
		wantBytes(t, sent.packet, p.sentTo(serverMAC).bytes(t))
	})
}

// TestCL1_OnlyMembersAreBelieved: what the CCL program refuses, and what it
// leaves to the host.
func TestCL1_OnlyMembersAreBelieved(t *testing.T) {
	overBoth(t, func(t *testing.T, over family) {
		n := over.node(t, 2)
		n.addFlow(tcpKey)
		n.control.PrevView = testView - 1
		good := over.carries(1, 2, from(tcpKey).bytes(t))
		for _, c := range []struct {
			name string
			mod  func(*frame)
			want bpf.Outcome
		}{
			{"good", func(f *frame) {}, bpf.ForwardOwnerCCL},
			{"previous_view", func(f *frame) { f.view = testView - 1 }, bpf.ForwardOwnerCCL},
			{"last_hop", func(f *frame) { f.hops = bpf.CCLMaxHops }, bpf.ForwardOwnerCCL},
			{"wrong_vni", func(f *frame) { f.vni++ }, bpf.DropWrongVNI},
			{"wrong_vni_control", func(f *frame) { f.vni++; f.inner = 0x0800 }, bpf.DropWrongVNI},
			{"control", func(f *frame) { f.inner = 0x0800 }, bpf.PassCCLControl},
			{"other_vtep", func(f *frame) { f.to = 3 }, bpf.PassCCLOther},
			{"version", func(f *frame) { f.version++ }, bpf.DropBadFrame},
			{"type", func(f *frame) { f.typ += 2 }, bpf.DropBadFrame},
			{"no_hops", func(f *frame) { f.hops = 0 }, bpf.DropBadFrame},
			{"interface", func(f *frame) { f.iface = bpf.MaxIfaces }, bpf.DropBadFrame},
			{"entry", func(f *frame) { f.entry = bpf.MaxNodes }, bpf.DropBadFrame},
			{"future_view", func(f *frame) { f.view++ }, bpf.DropBadView},
			{"no_view", func(f *frame) { f.view = 0 }, bpf.DropBadView},
			{"no_member", func(f *frame) { f.from, f.src = 9, 9 }, bpf.DropUnknownPeer},
			{"node_number_past_the_end", func(f *frame) { f.src = 200 }, bpf.DropUnknownPeer},
			{"other_members_address", func(f *frame) { f.from = 3 }, bpf.DropUnknownPeer},
			{"ourselves", func(f *frame) { f.from, f.src = 2, 2 }, bpf.DropUnknownPeer},
			{"too_many_hops", func(f *frame) { f.hops = bpf.CCLMaxHops + 1 }, bpf.DropHopLimit},
		} {
			t.Run(c.name, func(t *testing.T) {
				n := n.in(t)
				f := good
				c.mod(&f)
				r := n.runCCL(f.bytes(t)).want(t, c.want)
				if c.want != bpf.ForwardOwnerCCL {
					wantBytes(t, r.packet, f.bytes(t))
				}
			})
		}
	})
}

// in is the same node, reporting to a subtest.
func (n *node) in(t testing.TB) *node {
	c := *n
	c.t = t
	return &c
}

// TestCL9_ExtensionHeadersAreRefused: the kernel would look behind them and find
// VXLAN that the program has not judged.
func TestCL9_ExtensionHeadersAreRefused(t *testing.T) {
	n := overIPv6.node(t, 2)
	n.addFlow(tcpKey)
	option := []byte{17, 0, 1, 4, 0, 0, 0, 0} // UDP follows; 8 bytes, PadN
	for _, c := range []struct {
		name string
		typ  byte
		want bpf.Outcome
	}{
		{"hop_by_hop", 0, bpf.DropBadFrame},
		{"routing", 43, bpf.DropBadFrame},
		{"fragment", 44, bpf.DropBadFrame},
		{"destination", 60, bpf.DropBadFrame},
		{"mobility", 135, bpf.DropBadFrame},
		{"hip", 139, bpf.DropBadFrame},
		{"shim6", 140, bpf.DropBadFrame},
		{"icmp", 58, bpf.PassCCLOther}, // no extension: neighbour discovery
		{"esp", 50, bpf.PassCCLOther},  // IPsec between the VTEPs is the host's
	} {
		t.Run(c.name, func(t *testing.T) {
			f := overIPv6.carries(1, 2, from(tcpKey).bytes(t))
			f.next = append([]byte{c.typ}, option...)
			r := n.in(t).runCCL(f.bytes(t)).want(t, c.want)
			wantBytes(t, r.packet, f.bytes(t))
			f.to = 3 // not to us: what the host gets anyway
			n.in(t).runCCL(f.bytes(t)).want(t, bpf.PassCCLOther)
		})
	}
}

// TestCL9_OneFamily: a data frame over the family that the cluster does not use
// is nobody's, whatever its addresses.
func TestCL9_OneFamily(t *testing.T) {
	overBoth(t, func(t *testing.T, over family) {
		other := overIPv4
		if over == overIPv4 {
			other = overIPv6
		}
		n := over.node(t, 2)
		n.addFlow(tcpKey)
		n.runCCL(over.carries(1, 2, from(tcpKey).bytes(t)).bytes(t)).want(t, bpf.ForwardOwnerCCL)
		n.runCCL(other.carries(1, 2, from(tcpKey).bytes(t)).bytes(t)).want(t, bpf.PassCCLOther)
	})
}

// TestCL9_EveryBitOfTheAddressCounts: a sender, or a receiver, that differs in
// one bit is another one.
func TestCL9_EveryBitOfTheAddressCounts(t *testing.T) {
	n := overIPv6.node(t, 2)
	n.addFlow(tcpKey)
	good := overIPv6.carries(1, 2, from(tcpKey).bytes(t)).bytes(t)
	for bit := range 256 {
		b := append([]byte(nil), good...)
		b[14+8+bit/8] ^= 1 << (bit % 8)
		want := bpf.DropUnknownPeer
		if bit >= 128 {
			want = bpf.PassCCLOther
		}
		n.runCCL(b).want(t, want)
	}
	n.runCCL(good).want(t, bpf.ForwardOwnerCCL)
}

// TestNoPreviousViewAcceptsNoZero: prev_view 0 means none.
func TestNoPreviousViewAcceptsNoZero(t *testing.T) {
	n := newNode(t, 2)
	f := carries(1, 2, from(tcpKey).bytes(t))
	f.view = 0
	n.runCCL(f.bytes(t)).want(t, bpf.DropBadView)
}

// TestDeadPeerIsRefused: a node that was removed may still be sending.
func TestDeadPeerIsRefused(t *testing.T) {
	overBoth(t, func(t *testing.T, over family) {
		n := over.node(t, 2)
		n.addFlow(tcpKey)
		n.members[1].Flags = 0
		n.runCCL(over.carries(1, 2, from(tcpKey).bytes(t)).bytes(t)).want(t, bpf.DropUnknownPeer)
	})
}

// TestTruncatedFramesOnTheCCL cuts a good frame at every length.
func TestTruncatedFramesOnTheCCL(t *testing.T) {
	overBoth(t, func(t *testing.T, over family) {
		n := over.node(t, 2)
		n.addFlow(udpKey)
		whole := over.carries(1, 2, unpadded(t, from(udpKey))).bytes(t)
		for size := 14; size < len(whole); size++ {
			want := bpf.DropBadIP
			switch {
			case size < 14+over.header+8:
				want = bpf.PassCCLOther
			case size < over.payload():
				want = bpf.DropBadFrame
			}
			n.runCCL(whole[:size]).want(t, want)
		}
		n.runCCL(whole).want(t, bpf.ForwardOwnerCCL)
	})
}

// TestOtherTrafficOnTheCCLPasses: ARP, ping between VTEPs, other UDP.
func TestOtherTrafficOnTheCCLPasses(t *testing.T) {
	overBoth(t, func(t *testing.T, over family) {
		n := over.node(t, 2)
		n.control.Lease = 0 // not the data interfaces' business
		arp := make([]byte, 60)
		binary.BigEndian.PutUint16(arp[12:], 0x0806)
		n.runCCL(arp).want(t, bpf.PassCCLOther)
		ping := from(echoKey)
		n.runCCL(ping.bytes(t)).want(t, bpf.PassCCLOther)
		control := over.carries(1, 2, from(tcpKey).bytes(t))
		control.inner = 0x0800
		n.runCCL(control.bytes(t)).want(t, bpf.PassCCLControl)
		b := control.bytes(t)
		binary.BigEndian.PutUint16(b[14+over.header+2:], 4790)
		n.runCCL(b).want(t, bpf.PassCCLOther)
	})
}

// TestPacketsOfTheCCLThatTheOwnerCannotSettle reach Go with all that the
// forwarder said about them.
func TestPacketsOfTheCCLThatTheOwnerCannotSettle(t *testing.T) {
	overBoth(t, func(t *testing.T, over family) {
		n := over.node(t, 2)
		n.addForward(udpKey, 3)
		syn := from(tcpKey)
		syn.flags = "S"
		for _, c := range []struct {
			name string
			p    pkt
			want bpf.Outcome
		}{
			{"miss", syn, bpf.PuntMiss},
			{"a_third_node_owns", from(udpKey), bpf.PuntNotOwner},
		} {
			t.Run(c.name, func(t *testing.T) {
				n := n.in(t)
				f := over.carries(1, 2, c.p.bytes(t))
				f.hops, f.entry, f.iface, f.gen, f.view = 2, 3, outside, 99, testView
				r := n.runCCL(f.bytes(t)).want(t, c.want)
				h1, tag := n.table.Hash(c.p.key)
				want := bpf.Punt{
					Magic: bpf.PuntMagic, Reason: uint8(c.want), Iface: outside, From: 1, L3Off: 14, Hops: 2, Entry: 3,
					View: testView, Gen: 99, Ref: r.punt.Ref, H1: h1, Tag: tag,
				}
				if *r.punt != want {
					t.Errorf("punt %+v, want %+v", *r.punt, want)
				}
				b := c.p.bytes(t)
				c := append(make([]byte, 12), b[12:]...) // no addresses
				wantBytes(t, r.packet, c)
			})
		}
	})
}
