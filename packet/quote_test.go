package packet_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"cohort/packet"
	"cohort/packet/packettest"

	"pgregory.net/rapid"
)

// errorCase is an ICMP error about a packet, quoted to any length, or with the
// extensions of RFC 4884 behind as much of it as there is.
type errorCase struct {
	about     packettest.Spec
	icmpType  uint8
	code      uint8
	l4        int    // bytes quoted behind the IP header, at least 8
	extension []byte // nil: none
}

func errorCases(t *rapid.T) errorCase {
	c := errorCase{
		about:    packettest.Specs().Filter(func(s packettest.Spec) bool { return s.Key.Proto <= packet.ProtoUDP || len(s.Payload) >= 8 }).Draw(t, "quoted"),
		icmpType: rapid.SampledFrom([]uint8{packet.ICMPUnreachable, packet.ICMPSourceQuench, packet.ICMPRedirect, packet.ICMPTimeExceeded, packet.ICMPParameter}).Draw(t, "type"),
		code:     rapid.Uint8().Draw(t, "code"),
		l4:       8 + max(0, rapid.IntRange(-10, 100).Draw(t, "more than eight bytes")),
	}
	if c.l4 == 17 { // half a TCP checksum cannot be corrected
		c.l4++
	}
	if rapid.Bool().Draw(t, "extensions") {
		c.l4 = 128
		c.extension = rapid.SliceOfN(rapid.Byte(), 4, 32).Draw(t, "extension")
	}
	return c
}

// build is the error about the packet of key, from src.
func (c errorCase) build(key packet.FlowKey, src packet.Addr) []byte {
	about := c.about
	about.Key = key
	quoted := packettest.Build(about)
	fixZero(quoted, about)
	quote := quoted[packet.EthernetLen:]
	quote = bytes.Clone(quote[:min(len(quote), int(quote[0]&15)*4+c.l4)])
	s := packettest.Spec{Key: packet.FlowKey{Src: src, Dst: key.Src, Proto: packet.ProtoICMP}, ICMPType: c.icmpType, ICMPCode: c.code, TOS: 0xc0}
	if c.extension != nil {
		quote = append(quote, make([]byte, max(0, 128-len(quote)))...)
		quote = append(quote, make([]byte, -len(quote)&3)...)
		s.QuoteWords = uint8(len(quote) / 4)
		quote = append(quote, c.extension...)
	}
	s.Payload = quote
	return packettest.Build(s)
}

// otherKey is a tuple of the same protocol, with ports where it has them.
func otherKey(t *rapid.T, s packettest.Spec, what string) packet.FlowKey {
	k := s.Key
	addr := rapid.Custom(func(t *rapid.T) packet.Addr {
		return packet.Addr(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address"))
	})
	if rapid.Bool().Draw(t, what+" has another source") {
		k.Src = addr.Draw(t, what+" source")
	}
	if rapid.Bool().Draw(t, what+" has another destination") {
		k.Dst = addr.Draw(t, what+" destination")
	}
	hasPorts := k.Proto == packet.ProtoTCP || k.Proto == packet.ProtoUDP
	if hasPorts || packettest.IsQuery(s) {
		k.SrcPort = rapid.Uint16().Draw(t, what+" source port")
	}
	if hasPorts || packettest.IsResponse(s) {
		k.DstPort = rapid.Uint16().Draw(t, what+" destination port")
	}
	return k
}

// A translated error is, bit for bit, the error that would have been built about
// the packet as its sender sent it.
func TestNT9_TranslatedErrorEqualsBuildingAnew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := errorCases(t)
		real := otherKey(t, c.about, "real")
		src := rapid.SampledFrom([]packet.Addr{router, real.Dst, server}).Draw(t, "new source of the error")
		var p packet.Packet
		if r := p.Parse(c.build(c.about.Key, router)); r != packet.OK {
			t.Fatal(r)
		}
		if p.Quoted != c.about.Key {
			t.Fatalf("quoted %v, want %v", p.Quoted, c.about.Key)
		}
		p.RewriteError(real, src, real.Src)
		if want := c.build(real, src); !bytes.Equal(p.Data, want) {
			t.Fatalf("translated\n%x, built\n%x", p.Data, want)
		}
		var again packet.Packet
		if r := again.Parse(p.Data); r != packet.OK || again.Key != p.Key || again.Quoted != p.Quoted || p.Quoted != real {
			t.Fatalf("%v: key %v quoted %v, fields say %v %v, want quoted %v", r, again.Key, again.Quoted, p.Key, p.Quoted, real)
		}
	})
}

// The quoted TCP checksum is corrected when it is there to the last byte.
func TestNT9_QuotedTCPChecksumMayBeCutOff(t *testing.T) {
	real := packet.FlowKey{Src: packet.Addr{10, 9, 9, 9}, Dst: server, SrcPort: 7, DstPort: 443, Proto: packet.ProtoTCP}
	for _, l4 := range []int{8, 9, 15, 16, 18, 19, 20} {
		for _, icmpType := range []uint8{packet.ICMPTimeExceeded, packet.ICMPRedirect} {
			c := errorCase{about: packettest.Spec{Key: web, Flags: packet.ACK}, icmpType: icmpType, l4: l4}
			frame, want := c.build(web, router), c.build(real, router)
			if icmpType == packet.ICMPRedirect { // part of the gateway's address, not a length
				frame[39], want[39] = 5, 5
			}
			var p packet.Packet
			if r := p.Parse(frame); r != packet.OK {
				t.Fatal(r)
			}
			p.RewriteError(real, router, real.Src)
			if !bytes.Equal(p.Data, want) {
				t.Errorf("type %d, %d bytes quoted:\n%x, want\n%x", icmpType, l4, p.Data, want)
			}
		}
	}
}

// Of a checksum cut in half, the half that is there stays: what it would be is
// not known. The error is sound nevertheless.
func TestNT9_HalfAQuotedChecksumStays(t *testing.T) {
	c := errorCase{about: packettest.Spec{Key: web, Flags: packet.ACK}, icmpType: packet.ICMPTimeExceeded, l4: 17}
	var p packet.Packet
	if r := p.Parse(c.build(web, router)); r != packet.OK {
		t.Fatal(r)
	}
	half := p.Data[p.End-1]
	p.RewriteError(packet.FlowKey{Src: router, Dst: server, SrcPort: 7, DstPort: 443}, router, router)
	if p.Data[p.End-1] != half || packet.Checksum(p.Data[p.L4:p.End]) != 0 {
		t.Errorf("%x", p.Data)
	}
}

// A quoted UDP checksum never becomes 0, which would say that there was none;
// and one that was not there does not appear.
func TestNT9_QuotedUDPChecksumAndZero(t *testing.T) {
	dns := packet.FlowKey{Src: client, Dst: server, SrcPort: 5353, DstPort: 53, Proto: packet.ProtoUDP}
	for _, without := range []bool{false, true} {
		var p packet.Packet
		frame := packettest.Build(packettest.Spec{Key: dns, NoUDPSum: without, Payload: []byte("question")})
		if r := p.Parse(packettest.ICMPError(router, packet.ICMPUnreachable, 3, 0, frame)); r != packet.OK {
			t.Fatal(r)
		}
		seen := map[uint16]int{}
		for port := range 1 << 16 {
			k := dns
			k.SrcPort = uint16(port)
			p.RewriteError(k, router, client)
			seen[binary.BigEndian.Uint16(p.Data[p.QuotedL4+6:])]++
		}
		if without && seen[0] != 1<<16 || !without && (seen[0] != 0 || seen[0xffff] != 1) {
			t.Errorf("without a checksum %v: %d zeros, %d times all ones", without, seen[0], seen[0xffff])
		}
	}
}

// RFC 4884: a length that ends within the TCP header, which no router should
// send, puts the extension where the checksum would be.
func TestNT9_ExtensionsAreNotTheQuotation(t *testing.T) {
	c := errorCase{about: packettest.Spec{Key: web, Flags: packet.ACK}, icmpType: packet.ICMPUnreachable, l4: 20}
	var p packet.Packet
	if r := p.Parse(c.build(web, router)); r != packet.OK {
		t.Fatal(r)
	}
	for words, changes := range map[byte]bool{9: false, 10: true, 0: true} { // 36 and 40 bytes of the quotation
		frame := bytes.Clone(p.Data)
		frame[p.L4+5] = words
		before := bytes.Clone(frame)
		var q packet.Packet
		if r := q.Parse(frame); r != packet.OK {
			t.Fatal(r)
		}
		q.RewriteError(packet.FlowKey{Src: client, Dst: server, SrcPort: 1, DstPort: 443, Proto: packet.ProtoTCP}, router, client)
		if got := !bytes.Equal(frame[q.QuotedL4+16:], before[q.QuotedL4+16:]); got != changes {
			t.Errorf("length %d: changed %v", words, got)
		}
	}
}

// NT9, RFC 5508: where an error of each place in the network seems to come from.
func TestNT9_ErrorSource(t *testing.T) {
	inside, mapped := packet.Addr{10, 0, 0, 1}, packet.Addr{203, 0, 113, 10}
	private := packet.Addr{10, 7, 7, 7}
	tcp := func(src packet.Addr, sport uint16, dst packet.Addr, dport uint16) packet.FlowKey {
		return packet.FlowKey{Src: src, Dst: dst, SrcPort: sport, DstPort: dport, Proto: packet.ProtoTCP}
	}
	out, sent := tcp(mapped, 1024, server, 443), tcp(inside, 4000, server, 443)
	in, came := tcp(server, 4000, inside, 443), tcp(server, 4000, mapped, 443)
	for _, c := range []struct {
		name          string
		from          packet.Addr
		quoted, inner packet.FlowKey
		want          packet.Addr
	}{
		{"router outside, about a translated source (REQ-4)", router, out, sent, router},
		{"the server itself, about a translated source", server, out, sent, server},
		{"router inside, about a translated destination (REQ-5)", private, in, came, mapped},
		{"the inside host itself", inside, in, came, mapped},
		{"not translated", router, sent, sent, router},
	} {
		var p packet.Packet
		if r := p.Parse(packettest.ICMPError(c.from, packet.ICMPTimeExceeded, 0, 0, packettest.TCP(c.quoted, packet.ACK, 1, 1, nil))); r != packet.OK {
			t.Fatal(c.name, r)
		}
		got := p.ErrorSource(c.inner)
		if got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		p.RewriteError(c.inner, got, c.inner.Src)
		want := packettest.ICMPError(c.want, packet.ICMPTimeExceeded, 0, 0, packettest.TCP(c.inner, packet.ACK, 1, 1, nil))
		if !bytes.Equal(p.Data, want) {
			t.Errorf("%s:\n%x, want\n%x", c.name, p.Data, want)
		}
	}
}

func TestRewriteErrorLeavesOtherPacketsAlone(t *testing.T) {
	for _, frame := range [][]byte{packettest.TCP(web, packet.ACK, 1, 1, nil), packettest.Echo(client, server, 1, 1)} {
		before := bytes.Clone(frame)
		var p packet.Packet
		if r := p.Parse(frame); r != packet.OK {
			t.Fatal(r)
		}
		p.RewriteError(web.Reverse(), router, router)
		if !bytes.Equal(before, frame) {
			t.Errorf("changed to %x", frame)
		}
	}
}

// A damaged error stays damaged, and so does what it quotes.
func TestNT9_TranslationDoesNotRepairDamage(t *testing.T) {
	frame := packettest.ICMPError(router, packet.ICMPTimeExceeded, 0, 0, packettest.UDP(web, []byte("payload")))
	frame[len(frame)-1] ^= 1
	var p packet.Packet
	if r := p.Parse(frame); r != packet.OK {
		t.Fatal(r)
	}
	p.Data[p.QuotedL3+8] ^= 4 // time to live
	p.RewriteError(packet.FlowKey{Src: router, Dst: client, SrcPort: 1, DstPort: 2}, server, router)
	if packet.Checksum(p.Data[p.L4:p.End]) == 0 {
		t.Error("the ICMP checksum is right")
	}
	if packet.Checksum(p.Data[p.QuotedL3:p.QuotedL4]) == 0 {
		t.Error("the quoted IP header's checksum is right")
	}
}

func TestRewriteErrorDoesNotAllocate(t *testing.T) {
	frame := packettest.ICMPError(router, packet.ICMPTimeExceeded, 0, 0, packettest.TCP(web, packet.ACK, 1, 1, nil))
	to := web
	if n := testing.AllocsPerRun(100, func() {
		var p packet.Packet
		if p.Parse(frame) != packet.OK {
			t.Fatal("rejected")
		}
		to.SrcPort++
		to.Dst[3]++
		p.RewriteError(to, p.ErrorSource(to), to.Src)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkRewriteError(b *testing.B) {
	b.ReportAllocs()
	var p packet.Packet
	if r := p.Parse(packettest.ICMPError(router, packet.ICMPTimeExceeded, 0, 0, packettest.TCP(web, packet.ACK, 1, 1, nil))); r != packet.OK {
		b.Fatal(r)
	}
	keys := [2]packet.FlowKey{web, {Src: router, Dst: server, SrcPort: 1, DstPort: 443, Proto: packet.ProtoTCP}}
	for i := range b.N {
		k := keys[i&1]
		p.RewriteError(k, router, k.Src)
	}
}
