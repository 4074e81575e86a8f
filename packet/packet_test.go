package packet_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"cohort/packet"
	"cohort/packet/packettest"

	"pgregory.net/rapid"
)

var (
	client = packet.Addr{10, 0, 0, 1}
	server = packet.Addr{192, 0, 2, 80}
	router = packet.Addr{198, 51, 100, 1}
	web    = packet.FlowKey{Src: client, Dst: server, SrcPort: 40000, DstPort: 443, Proto: packet.ProtoTCP}
)

// Parse returns what an independent serializer wrote.
func TestParseReadsWhatWasBuilt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := packettest.Specs().Draw(t, "packet")
		frame := packettest.Build(s)
		padding := rapid.IntRange(0, 46).Draw(t, "padding") // Ethernet fills up short frames
		var p packet.Packet
		if r := p.Parse(append(frame, make([]byte, padding)...)); r != packet.OK {
			t.Fatalf("rejected: %v", r)
		}
		checkBuilt(t, s, &p, len(frame))
		shifted := append([]byte{1, 2, 3}, frame[packet.EthernetLen:]...)
		if r := p.ParseIP(shifted, 3); r != packet.OK {
			t.Fatalf("rejected behind three bytes: %v", r)
		}
		checkBuilt(t, s, &p, len(shifted))
	})
}

func checkBuilt(t *rapid.T, s packettest.Spec, p *packet.Packet, end int) {
	if p.Key != s.Key || p.ConnKey() != s.Key {
		t.Fatalf("key %v, want %v", p.Key, s.Key)
	}
	if p.Version != 4 || p.Proto != s.Key.Proto || p.TTL != s.TTL || p.TOS != s.TOS || p.ID != s.ID ||
		p.DontFragment != s.DontFragment || p.MoreFragments || p.FragOffset != 0 {
		t.Fatalf("IP header %+v, want %+v", p, s)
	}
	if p.End != end || int(p.TotalLen) != end-p.L3 || p.L4 != p.L3+packet.IPv4Len+s.IPOptions || p.PayloadLen() != len(s.Payload) {
		t.Fatalf("offsets %+v, want end %d, payload %d", p, end, len(s.Payload))
	}
	if !p.HeaderSumOK() {
		t.Fatal("header checksum of a good packet is wrong")
	}
	if p.ICMPType != s.ICMPType || p.IsICMPError() {
		t.Fatalf("ICMP type %d, want %d", p.ICMPType, s.ICMPType)
	}
	if s.Key.Proto != packet.ProtoTCP {
		return
	}
	if p.Flags != s.Flags || p.Seq != s.Seq || p.Ack != s.Ack || p.Window != s.Window {
		t.Fatalf("TCP header %+v, want %+v", p, s)
	}
	want := packet.TCPOptions{MSS: s.MSS, WScale: packet.NoWScale, SACK: s.SACK}
	if s.WScale != 0 {
		want.WScale = min(s.WScale-1, 14)
	}
	if got := p.TCPOptions(); got != want {
		t.Fatalf("TCP options %+v, want %+v", got, want)
	}
	seqLen := uint32(len(s.Payload))
	seqLen += uint32(s.Flags>>1&1) + uint32(s.Flags&1)
	if p.SeqLen() != seqLen {
		t.Fatalf("sequence space %d, want %d", p.SeqLen(), seqLen)
	}
}

func TestMG5_ParseRejectsByName(t *testing.T) {
	syn := packettest.TCP(web, packet.SYN, 1, 0, nil)
	dns := web
	dns.Proto = packet.ProtoUDP
	udp := packettest.UDP(dns, []byte("question"))
	// set returns a copy with a byte changed, IP header at 14, transport at 34
	set := func(frame []byte, at int, value byte) []byte {
		b := append([]byte(nil), frame...)
		b[at] = value
		return b
	}
	timeExceeded := func(quoted []byte) []byte {
		return packettest.ICMPError(router, packet.ICMPTimeExceeded, 0, 0, quoted)
	}
	aboutError := timeExceeded(timeExceeded(syn))
	lateFragment := packettest.Build(packettest.Spec{Key: web, FragOffset: 8, Payload: make([]byte, 32)})
	for _, c := range []struct {
		name  string
		frame []byte
		want  packet.Reject
	}{
		{"nothing", nil, packet.RejectTruncated},
		{"half an Ethernet header", syn[:13], packet.RejectTruncated},
		{"half an IP header", syn[:33], packet.RejectTruncated},
		{"ARP", set(set(syn, 12, 0x08), 13, 0x06), packet.RejectNotIP},
		{"VLAN", packettest.Build(packettest.Spec{Key: web, VLAN: 7}), packet.RejectVLAN},
		{"stacked VLAN", set(set(syn, 12, 0x88), 13, 0xa8), packet.RejectVLAN},
		{"IPv6", append(set(set(set(syn, 12, 0x86), 13, 0xdd), 14, 0x60), make([]byte, 20)...), packet.RejectIPv6},
		{"half an IPv6 header", set(set(set(syn, 12, 0x86), 13, 0xdd), 14, 0x60)[:50], packet.RejectTruncated},
		{"IPv4 in an IPv6 frame", append(set(set(syn, 12, 0x86), 13, 0xdd), make([]byte, 20)...), packet.RejectVersion},
		{"IPv6 in an IPv4 frame", set(syn, 14, 0x65), packet.RejectVersion},
		{"header length 16", set(syn, 14, 0x44), packet.RejectIHL},
		{"header longer than the frame", set(syn, 14, 0x4f), packet.RejectIHL},
		{"total length below the header", set(syn, 17, 19), packet.RejectTotalLen},
		{"total length beyond the frame", set(syn, 17, 41), packet.RejectTotalLen},
		{"first fragment", packettest.Build(packettest.Spec{Key: web, MoreFragments: true}), packet.RejectFragment},
		{"later fragment", lateFragment, packet.RejectFragment},
		{"half a TCP header", set(syn, 17, 39), packet.RejectL4Truncated},
		{"half a UDP header", set(udp, 17, 27), packet.RejectL4Truncated},
		{"half an ICMP header", set(packettest.Echo(client, server, 1, 1), 17, 27), packet.RejectL4Truncated},
		{"TCP offset 16", set(syn, 34+12, 0x40), packet.RejectTCPOffset},
		{"TCP offset beyond the segment", set(syn, 34+12, 0x60), packet.RejectTCPOffset},
		{"UDP length 7", set(udp, 34+5, 7), packet.RejectUDPLength},
		{"UDP length beyond the packet", set(udp, 34+5, 17), packet.RejectUDPLength},
		{"ICMP error without a quotation", set(set(packettest.Echo(client, server, 1, 1), 34, 11), 17, 28), packet.RejectQuote},
		{"ICMP error that quotes IPv6", set(timeExceeded(syn), 42, 0x60), packet.RejectQuote},
		{"ICMP error that quotes seven bytes", set(timeExceeded(syn), 17, 55), packet.RejectQuote},
		{"ICMP error about an ICMP error", aboutError, packet.RejectQuote},
		{"ICMP error about a later fragment", timeExceeded(lateFragment), packet.RejectQuote},
		{"ICMP error to another than the sender", set(timeExceeded(syn), 42+15, 99), packet.RejectQuoteAddress},
		{"good", syn, packet.OK},
	} {
		var p packet.Packet
		if got := p.Parse(c.frame); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRejectNamesDiffer(t *testing.T) {
	seen := map[string]packet.Reject{}
	for r := packet.OK; r.String() != "invalid"; r++ {
		if other, ok := seen[r.String()]; ok || r.String() == "" {
			t.Errorf("%d and %d are both %q", other, r, r)
		}
		seen[r.String()] = r
	}
	if len(seen) != 19 {
		t.Errorf("%d names", len(seen))
	}
}

func TestFragmentKeepsItsHeader(t *testing.T) {
	var p packet.Packet
	p.Parse(packettest.Build(packettest.Spec{Key: web, ID: 77, FragOffset: 1480, MoreFragments: true, Payload: make([]byte, 16)}))
	if p.ID != 77 || p.FragOffset != 1480 || !p.MoreFragments || p.Key.Src != client || p.Key.SrcPort != 0 {
		t.Fatalf("%+v", p)
	}
}

func TestFR9_EchoKeysAreEachOthersReverse(t *testing.T) {
	var request, reply packet.Packet
	if request.Parse(packettest.Echo(client, server, 0x1234, 9)) != packet.OK || reply.Parse(packettest.EchoReply(server, client, 0x1234, 9)) != packet.OK {
		t.Fatal("rejected")
	}
	want := packet.FlowKey{Src: client, Dst: server, SrcPort: 0x1234, Proto: packet.ProtoICMP}
	if request.Key != want || reply.Key != want.Reverse() {
		t.Fatalf("request %v, reply %v", request.Key, reply.Key)
	}
	a, _ := request.Key.Canonical()
	b, _ := reply.Key.Canonical()
	if a != b {
		t.Fatalf("canonical keys %v and %v", a, b)
	}
}

// RFC 5508: timestamp, information and address mask have their identifier where
// echo has it.
func TestFR9_KeysOfAllQueriesAreThoseOfEcho(t *testing.T) {
	for i, query := range packettest.Queries {
		asked := packet.FlowKey{Src: client, Dst: server, SrcPort: 0x1234, Proto: packet.ProtoICMP}
		var request, reply packet.Packet
		for _, c := range []struct {
			p        *packet.Packet
			key      packet.FlowKey
			icmpType uint8
		}{{&request, asked, query}, {&reply, asked.Reverse(), packettest.Responses[i]}} {
			r := c.p.Parse(packettest.Build(packettest.Spec{Key: c.key, ICMPType: c.icmpType, ICMPSeq: 7, Payload: make([]byte, 12)}))
			if r != packet.OK || c.p.Key != c.key || c.p.ConnKey() != c.key || c.p.IsICMPError() {
				t.Errorf("type %d: %v %v, want %v", c.icmpType, r, c.p.Key, c.key)
			}
		}
		if !request.IsICMPQuery() || request.IsICMPResponse() || reply.IsICMPQuery() || !reply.IsICMPResponse() {
			t.Errorf("types %d and %d are not told apart", query, packettest.Responses[i])
		}
	}
}

func TestFR9_OtherICMPHasNoPorts(t *testing.T) {
	key := packet.FlowKey{Src: client, Dst: server, Proto: packet.ProtoICMP}
	for icmpType := range 256 {
		spec := packettest.Spec{Key: key, ICMPType: uint8(icmpType), ICMPSeq: 7, QuoteWords: 9, Payload: make([]byte, 12)}
		var p packet.Packet
		r := p.Parse(packettest.Build(spec))
		if packettest.IsQuery(spec) || packettest.IsResponse(spec) || p.IsICMPError() {
			continue
		}
		if r != packet.OK || p.Key != key || p.IsICMPQuery() || p.IsICMPResponse() {
			t.Errorf("type %d: %v %v", icmpType, r, p.Key)
		}
	}
	var p packet.Packet // of another protocol, whatever its first byte says
	if r := p.Parse(packettest.Build(packettest.Spec{Key: packet.FlowKey{Src: client, Dst: server, Proto: 47}, Payload: make([]byte, 20)})); r != packet.OK || p.IsICMPQuery() || p.IsICMPResponse() {
		t.Errorf("GRE is a query %v, a response %v", p.IsICMPQuery(), p.IsICMPResponse())
	}
}

func TestFR9_ICMPErrorBelongsToTheQuotedConnection(t *testing.T) {
	dns := packet.FlowKey{Src: client, Dst: server, SrcPort: 5353, DstPort: 53, Proto: packet.ProtoUDP}
	gre := packet.FlowKey{Src: client, Dst: server, Proto: 47}
	ping := packet.FlowKey{Src: client, Dst: server, SrcPort: 7, Proto: packet.ProtoICMP}
	pong := packet.FlowKey{Src: client, Dst: server, DstPort: 7, Proto: packet.ProtoICMP}
	for _, c := range []struct {
		name   string
		quoted []byte
		key    packet.FlowKey
	}{
		{"TCP", packettest.TCP(web, packet.ACK, 1, 1, nil), web},
		{"TCP behind IP options", packettest.Build(packettest.Spec{Key: web, IPOptions: 8}), web},
		{"UDP", packettest.UDP(dns, []byte("question")), dns},
		{"echo request", packettest.Echo(client, server, 7, 1), ping},
		{"timestamp request", packettest.Build(packettest.Spec{Key: ping, ICMPType: packet.ICMPTimestamp, Payload: make([]byte, 12)}), ping},
		{"mask reply", packettest.Build(packettest.Spec{Key: pong, ICMPType: packet.ICMPMaskReply, Payload: make([]byte, 4)}), pong},
		{"GRE", packettest.Build(packettest.Spec{Key: gre, Payload: make([]byte, 20)}), gre},
	} {
		for _, icmpType := range []uint8{packet.ICMPUnreachable, packet.ICMPTimeExceeded, packet.ICMPParameter, packet.ICMPRedirect, packet.ICMPSourceQuench} {
			var p packet.Packet
			if r := p.Parse(packettest.ICMPError(router, icmpType, 0, 0, c.quoted)); r != packet.OK {
				t.Errorf("%s, type %d: rejected: %v", c.name, icmpType, r)
				continue
			}
			outer := packet.FlowKey{Src: router, Dst: client, Proto: packet.ProtoICMP}
			if !p.IsICMPError() || p.Key != outer || p.Quoted != c.key || p.ConnKey() != c.key.Reverse() {
				t.Errorf("%s, type %d: key %v, quoted %v, connection %v", c.name, icmpType, p.Key, p.Quoted, p.ConnKey())
			}
			if p.QuotedL3 != p.L4+8 || p.Data[p.QuotedL3]>>4 != 4 {
				t.Errorf("%s, type %d: quotation at %d", c.name, icmpType, p.QuotedL3)
			}
		}
	}
}

func TestTCPOptionsSurviveAnyBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frame := packettest.TCP(web, packet.SYN, 1, 0, make([]byte, 40))
		words := rapid.IntRange(0, 10).Draw(t, "words")
		frame[34+12] = byte(5+words) << 4
		copy(frame[54:], rapid.SliceOfN(rapid.Byte(), 40, 40).Draw(t, "options"))
		var p packet.Packet
		if r := p.Parse(frame); r != packet.OK {
			t.Fatal(r)
		}
		if o := p.TCPOptions(); o.WScale > 14 && o.WScale != packet.NoWScale {
			t.Fatalf("window shift %d", o.WScale)
		}
	})
}

func TestTCPOptionsOfOtherProtocolsAreEmpty(t *testing.T) {
	var p packet.Packet
	p.Parse(packettest.Echo(client, server, 1, 1))
	if o := p.TCPOptions(); o != (packet.TCPOptions{WScale: packet.NoWScale}) {
		t.Fatalf("%+v", o)
	}
}

func TestParseAndRewriteDoNotAllocate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var frames [][]byte
	for range 64 {
		frames = append(frames, packettest.Build(packettest.Random(r)))
	}
	frames = append(frames, packettest.ICMPError(router, 11, 0, 0, frames[0]), frames[0][:20], nil)
	var p packet.Packet
	to := web
	if n := testing.AllocsPerRun(100, func() {
		for _, frame := range frames {
			if p.Parse(frame) != packet.OK {
				continue
			}
			_ = p.TCPOptions()
			_ = p.ConnKey()
			_ = p.HeaderSumOK()
			to.SrcPort++
			p.Rewrite(to)
			if p.TTL > 1 {
				p.DecrementTTL()
			}
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkParse(b *testing.B) {
	for name, frame := range map[string][]byte{
		"tcp":  packettest.TCP(web, packet.ACK, 1, 1, make([]byte, 64)),
		"udp":  packettest.UDP(web, make([]byte, 64)),
		"icmp": packettest.ICMPError(router, 11, 0, 0, packettest.TCP(web, packet.ACK, 1, 1, nil)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var p packet.Packet
			for range b.N {
				if r := p.Parse(frame); r != packet.OK {
					b.Fatal(r)
				}
			}
		})
	}
}

func BenchmarkRewrite(b *testing.B) {
	b.ReportAllocs()
	var p packet.Packet
	if r := p.Parse(packettest.TCP(web, packet.ACK, 1, 1, make([]byte, 64))); r != packet.OK {
		b.Fatal(r)
	}
	keys := [2]packet.FlowKey{web, {Src: router, Dst: server, SrcPort: 1, DstPort: 443, Proto: packet.ProtoTCP}}
	for i := range b.N {
		p.Rewrite(keys[i&1])
		p.DecrementTTL()
	}
	binary.BigEndian.PutUint16(p.Data, 0)
}
