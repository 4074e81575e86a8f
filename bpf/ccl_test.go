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
	from, to uint8 // nodes
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
func carries(from, to uint8, eth []byte) frame {
	ip := eth[14:]
	return frame{
		from: from, to: to, sport: 0xc000, vni: testVNI, inner: bpf.CCLEthertype, version: bpf.CCLHeaderVersion, typ: bpf.CCLData,
		src: from, hops: 1, view: testView, iface: inside, entry: from, gen: 77, ip: ip,
	}
}

func (f frame) bytes(t testing.TB) []byte {
	t.Helper()
	vtep := func(id uint8) net.IP { return vtepOf(id).AsSlice() }
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
	buf = gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{DstMAC: to[:], SrcMAC: from[:], EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolUDP, SrcIP: vtep(f.from), DstIP: vtep(f.to)},
		gopacket.Payload(outer)))
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
	n := newNode(t, 1)
	p := from(tcpKey)
	fwd := n.addForward(tcpKey, 2)
	r := n.runData(p.bytes(t)).want(t, bpf.ForwardCCL)

	want := carries(1, 2, p.bytes(t))
	h1, _ := n.table.Hash(tcpKey)
	want.sport = 0xc000 | uint16(h1&0x3fff)
	wantBytes(t, r.packet, want.bytes(t))
	packets, octets := fwd.Counters()
	if packets != 1 || octets != uint64(word(p.bytes(t), 16)) || fwd.SeenAt() == 0 {
		t.Errorf("forward entry: %d packets, %d bytes, last at %d", packets, octets, fwd.SeenAt())
	}
}

// TestForwarderTrimsNothingButSaysTheLength: padding of a short frame stays
// behind the outer IP packet, where no receiver looks.
func TestForwarderTrimsNothingButSaysTheLength(t *testing.T) {
	n := newNode(t, 1)
	p := from(tcpKey)
	p.payload = nil
	n.addForward(tcpKey, 2)
	r := n.runData(p.bytes(t)).want(t, bpf.ForwardCCL)
	if got := word(r.packet, 16); got != 40+bpf.CCLPayload-14 {
		t.Errorf("outer IP length %d, want %d", got, 40+bpf.CCLPayload-14)
	}
	if got := word(r.packet, 14+20+4); got != 40+bpf.CCLPayload-14-20 {
		t.Errorf("outer UDP length %d, want %d", got, 40+bpf.CCLPayload-14-20)
	}
	owner := newNode(t, 2)
	_, f := owner.addFlow(tcpKey)
	owner.runCCL(r.packet).want(t, bpf.ForwardOwnerCCL)
	if _, octets := f.Counters(0); octets != 40 {
		t.Errorf("the owner counts %d bytes, want 40", octets)
	}
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
	a, b, owner := newNode(t, 1), newNode(t, 3), newNode(t, 2)
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
}

// TestCL2_JumboFrameCrossesTheLink in one piece, most of it in fragments that
// the programs never see.
func TestCL2_JumboFrameCrossesTheLink(t *testing.T) {
	a, owner := newNode(t, 1), newNode(t, 2)
	a.addForward(udpKey, 2)
	owner.addFlow(udpKey)
	owner.nexthops[toOutside].Mtu = 9044
	p := from(udpKey)
	p.payload = make([]byte, 9044-28)
	onLink := a.runData(p.bytes(t)).want(t, bpf.ForwardCCL)
	if got := word(onLink.packet, 16); got > 9044+154 {
		t.Fatalf("%d bytes on the link exceed data MTU + 154", got)
	}
	sent := owner.runCCL(onLink.packet).want(t, bpf.ForwardOwnerCCL)
	wantBytes(t, sent.packet, p.sentTo(serverMAC).bytes(t))
}

// TestCL1_OnlyMembersAreBelieved: what the CCL program refuses, and what it
// leaves to the host.
func TestCL1_OnlyMembersAreBelieved(t *testing.T) {
	n := newNode(t, 2)
	n.addFlow(tcpKey)
	n.control.PrevView = testView - 1
	good := carries(1, 2, from(tcpKey).bytes(t))
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
		{"type", func(f *frame) { f.typ++ }, bpf.DropBadFrame},
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
}

// in is the same node, reporting to a subtest.
func (n *node) in(t testing.TB) *node {
	c := *n
	c.t = t
	return &c
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
	n := newNode(t, 2)
	n.addFlow(tcpKey)
	n.members[1].Flags = 0
	n.runCCL(carries(1, 2, from(tcpKey).bytes(t)).bytes(t)).want(t, bpf.DropUnknownPeer)
}

// TestTruncatedFramesOnTheCCL cuts a good frame at every length.
func TestTruncatedFramesOnTheCCL(t *testing.T) {
	n := newNode(t, 2)
	n.addFlow(udpKey)
	whole := carries(1, 2, unpadded(t, from(udpKey))).bytes(t)
	for size := 14; size < len(whole); size++ {
		want := bpf.DropBadIP
		switch {
		case size < 14+20+8:
			want = bpf.PassCCLOther
		case size < bpf.CCLPayload:
			want = bpf.DropBadFrame
		}
		n.runCCL(whole[:size]).want(t, want)
	}
	n.runCCL(whole).want(t, bpf.ForwardOwnerCCL)
}

// TestOtherTrafficOnTheCCLPasses: ARP, ping between VTEPs, other UDP.
func TestOtherTrafficOnTheCCLPasses(t *testing.T) {
	n := newNode(t, 2)
	n.control.Lease = 0 // not the data interfaces' business
	arp := make([]byte, 60)
	binary.BigEndian.PutUint16(arp[12:], 0x0806)
	n.runCCL(arp).want(t, bpf.PassCCLOther)
	ping := from(echoKey)
	n.runCCL(ping.bytes(t)).want(t, bpf.PassCCLOther)
	control := carries(1, 2, from(tcpKey).bytes(t))
	control.inner = 0x0800
	n.runCCL(control.bytes(t)).want(t, bpf.PassCCLControl)
	b := control.bytes(t)
	binary.BigEndian.PutUint16(b[14+20+2:], 4790)
	n.runCCL(b).want(t, bpf.PassCCLOther)
}

// TestPacketsOfTheCCLThatTheOwnerCannotSettle reach Go with all that the
// forwarder said about them.
func TestPacketsOfTheCCLThatTheOwnerCannotSettle(t *testing.T) {
	n := newNode(t, 2)
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
			f := carries(1, 2, c.p.bytes(t))
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
}
