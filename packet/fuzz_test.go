package packet_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"cohort/packet"
	"cohort/packet/packettest"
)

// Any bytes: no panic, offsets inside the buffer and in order, and what was
// accepted can be rewritten there and back without a trace.
func FuzzParse(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		f.Add(packettest.Build(packettest.Random(r)))
	}
	syn := packettest.TCP(web, packet.SYN, 1, 0, nil)
	f.Add(packettest.ICMPError(router, packet.ICMPTimeExceeded, 0, 0, syn))
	f.Add(packettest.ICMPError(router, packet.ICMPUnreachable, 4, 1400, packettest.Echo(client, server, 1, 1)))
	f.Add(packettest.Build(packettest.Spec{Key: web, MoreFragments: true}))
	f.Add(packettest.Build(packettest.Spec{Key: web, VLAN: 3}))
	f.Add(packettest.Build(packettest.Spec{Key: web, Flags: packet.SYN, MSS: 1460, WScale: 8, SACK: true}))
	f.Fuzz(func(t *testing.T, before []byte) {
		frame := bytes.Clone(before)
		var p packet.Packet
		reject := p.Parse(frame)
		if reject.String() == "invalid" {
			t.Fatalf("reject %d", reject)
		}
		var again packet.Packet
		if len(frame) >= packet.EthernetLen && reject == packet.OK {
			if r := again.ParseIP(frame, packet.EthernetLen); r != packet.OK || again.Key != p.Key {
				t.Fatalf("ParseIP: %v %v, Parse: %v", r, again.Key, p.Key)
			}
		}
		if !bytes.Equal(before, frame) {
			t.Fatal("parsing changed the buffer")
		}
		if reject != packet.OK {
			return
		}
		checkOffsets(t, &p)
		p.TCPOptions()
		p.HeaderSumOK()
		rewriteAndBack(t, &p, before)
	})
}

func checkOffsets(t *testing.T, p *packet.Packet) {
	if p.L3 != packet.EthernetLen || p.L4 < p.L3+packet.IPv4Len || p.Payload < p.L4 || p.End < p.Payload || p.End > len(p.Data) {
		t.Fatalf("offsets %d %d %d %d of %d bytes", p.L3, p.L4, p.Payload, p.End, len(p.Data))
	}
	if int(p.TotalLen) != p.End-p.L3 {
		t.Fatalf("total length %d, packet %d", p.TotalLen, p.End-p.L3)
	}
	if p.QuotedL3 != 0 && (p.QuotedL3 < p.Payload || p.QuotedL4 < p.QuotedL3+packet.IPv4Len || p.QuotedL4+8 > p.End) {
		t.Fatalf("quotation at %d and %d, packet %d to %d", p.QuotedL3, p.QuotedL4, p.Payload, p.End)
	}
}

// sumAt is where a transport header has its checksum.
var sumAt = map[uint8]int{packet.ProtoTCP: 16, packet.ProtoUDP: 6, packet.ProtoUDPLite: 6, packet.ProtoDCCP: 6, packet.ProtoICMP: 2}

// rewriteAndBack may exchange the two representations of a zero checksum, so
// it compares tuples and the bytes that are no checksums.
func rewriteAndBack(t *testing.T, p *packet.Packet, before []byte) {
	key := p.Key
	p.Rewrite(packet.FlowKey{Src: packet.Addr{1, 2, 3, 4}, Dst: packet.Addr{5, 6, 7, 8}, SrcPort: 9, DstPort: 10})
	p.Rewrite(key)
	if p.Key != key {
		t.Fatalf("key %v, want %v", p.Key, key)
	}
	sums := map[int]bool{p.L3 + 10: true, p.L3 + 11: true}
	if at, ok := sumAt[p.Proto]; ok {
		sums[p.L4+at], sums[p.L4+at+1] = true, true
	}
	for i := range before {
		if !sums[i] && before[i] != p.Data[i] {
			t.Fatalf("byte %d changed from %#x to %#x", i, before[i], p.Data[i])
		}
	}
}

// residue is what a checksum over b is off by: 0 for a good one, and the same
// before and after any rewriting.
func residue(sum uint32, b []byte) uint16 {
	if r := packet.Fold(packet.Sum(sum, b)); r != 0xffff {
		return r
	}
	return 0
}

// residues are those of the IP header and of the transport checksum of a packet
// whose headers stand at l3 and l4, if it has one within end.
func residues(data []byte, l3, l4, end int) [2]uint16 {
	r := [2]uint16{residue(0, data[l3:l4])}
	src, dst, body := packet.Addr(data[l3+12:l3+16]), packet.Addr(data[l3+16:l3+20]), data[l4:end]
	switch proto := data[l3+9]; {
	case proto == packet.ProtoTCP && len(body) >= 18, proto == packet.ProtoUDP && body[6]|body[7] != 0,
		(proto == packet.ProtoUDPLite || proto == packet.ProtoDCCP) && len(body) >= packet.UDPLen: // what it leaves out is off by the same, before and after
		r[1] = residue(packet.PseudoSum(src, dst, proto, len(body)), body)
	case proto == packet.ProtoICMP:
		r[1] = residue(0, body)
	}
	return r
}

// sumLikeUDP are packets whose checksum stands where UDP has it, and never means
// "none": here it is 0, which comes back as the other zero.
var sumLikeUDP = []packettest.Spec{
	{Key: packet.FlowKey{Src: client, Dst: server, Proto: packet.ProtoUDPLite}, Payload: make([]byte, 24)},
	{Key: packet.FlowKey{Src: client, Dst: server, Proto: packet.ProtoDCCP}, Payload: make([]byte, 24)},
}

func keyFrom(proto uint8, addrs uint64, ports uint32) packet.FlowKey {
	k := packet.FlowKey{Proto: proto, SrcPort: uint16(ports >> 16), DstPort: uint16(ports)}
	binary.BigEndian.PutUint32(k.Src[:], uint32(addrs>>32))
	binary.BigEndian.PutUint32(k.Dst[:], uint32(addrs))
	return k
}

// Any packet, any tuple: it reads as asked, good checksums stay good and bad
// ones exactly as bad as they were.
func FuzzRewrite(f *testing.F) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 20 {
		f.Add(packettest.Build(packettest.Random(r)), r.Uint64(), r.Uint32())
	}
	f.Add(packettest.UDP(web, []byte("odd")), ^uint64(0), uint32(0))
	for _, about := range sumLikeUDP {
		f.Add(packettest.Build(about), r.Uint64(), r.Uint32())
	}
	f.Fuzz(func(t *testing.T, frame []byte, addrs uint64, ports uint32) {
		frame = bytes.Clone(frame)
		var p, again packet.Packet
		if p.Parse(frame) != packet.OK || p.IsICMPError() {
			return
		}
		before := residues(frame, p.L3, p.L4, p.End)
		to := keyFrom(p.Proto, addrs, ports)
		p.Rewrite(to)
		if after := residues(frame, p.L3, p.L4, p.End); after != before {
			t.Fatalf("checksums are off by %x, before by %x", after, before)
		}
		if r := again.Parse(frame); r != packet.OK || again.Key != p.Key {
			t.Fatalf("%v: reads as %v, fields say %v", r, again.Key, p.Key)
		}
		if p.Key.Src != to.Src || p.Key.Dst != to.Dst || p.Proto != packet.ProtoICMP && p.Key.SrcPort != 0 && p.Key.SrcPort != to.SrcPort {
			t.Fatalf("%v, want %v", p.Key, to)
		}
	})
}

// Any ICMP error, any translation: as FuzzRewrite, for the error and for what it
// quotes; and nothing behind the quoted headers changes.
func FuzzRewriteError(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, icmpType := range []uint8{packet.ICMPUnreachable, packet.ICMPSourceQuench, packet.ICMPRedirect, packet.ICMPTimeExceeded, packet.ICMPParameter} {
		for range 6 {
			about := packettest.Random(r)
			about.Payload = append(about.Payload, make([]byte, 8)...)
			c := errorCase{about: about, icmpType: icmpType, l4: 8 + r.IntN(40)}
			f.Add(c.build(c.about.Key, router), r.Uint64(), r.Uint32(), r.Uint32())
			c.l4, c.extension = 128, []byte("0123abcd")
			f.Add(c.build(c.about.Key, router), r.Uint64(), r.Uint32(), r.Uint32())
		}
		for _, about := range sumLikeUDP {
			c := errorCase{about: about, icmpType: icmpType, l4: 8}
			f.Add(c.build(about.Key, router), r.Uint64(), r.Uint32(), r.Uint32())
		}
	}
	f.Fuzz(func(t *testing.T, original []byte, addrs uint64, ports, from uint32) {
		frame := bytes.Clone(original)
		var p, again packet.Packet
		if p.Parse(frame) != packet.OK || p.QuotedL3 == 0 {
			return
		}
		outer := residues(frame, p.L3, p.L4, p.End)
		end := p.End
		if frame[p.QuotedL3+9] == packet.ProtoTCP && !coversTCPSum(&p) {
			end = p.QuotedL4 // then nobody can check it
		}
		inner := residues(frame, p.QuotedL3, p.QuotedL4, end)
		key, to := p.Quoted, keyFrom(p.Quoted.Proto, addrs, ports)
		src, newSrc := p.Key.Src, keyFrom(0, uint64(from), 0).Dst
		p.RewriteError(to, newSrc, to.Src)
		if after := residues(frame, p.L3, p.L4, p.End); after != outer {
			t.Fatalf("the error's checksums are off by %x, before by %x", after, outer)
		}
		if after := residues(frame, p.QuotedL3, p.QuotedL4, end); after != inner {
			t.Fatalf("the quoted checksums are off by %x, before by %x", after, inner)
		}
		if r := again.Parse(frame); r != packet.OK || again.Key != p.Key || again.Quoted != p.Quoted {
			t.Fatalf("%v: reads as %v %v, fields say %v %v", r, again.Key, again.Quoted, p.Key, p.Quoted)
		}
		if p.Quoted.Src != to.Src || p.Quoted.Dst != to.Dst || p.Key.Src != newSrc || p.Key.Dst != to.Src {
			t.Fatalf("%v about %v, want %v", p.Key, p.Quoted, to)
		}
		p.RewriteError(key, src, key.Src)
		if p.Quoted != key {
			t.Fatalf("back: %v, want %v", p.Quoted, key)
		}
		wantQuotedBack(t, &p, original)
	})
}

// coversTCPSum reports whether the quotation has the whole TCP checksum.
func coversTCPSum(p *packet.Packet) bool {
	end := p.End
	if words := int(p.Data[p.L4+5]); words != 0 && p.ICMPType != packet.ICMPRedirect && p.ICMPType != packet.ICMPSourceQuench {
		end = min(end, p.QuotedL3+4*words)
	}
	return p.QuotedL4+18 <= end
}

// wantQuotedBack compares all bytes but the checksums.
func wantQuotedBack(t *testing.T, p *packet.Packet, original []byte) {
	sums := []int{p.L3 + 10, p.L4 + 2, p.QuotedL3 + 10}
	if at, ok := sumAt[p.Quoted.Proto]; ok && (p.Quoted.Proto != packet.ProtoTCP || coversTCPSum(p)) {
		sums = append(sums, p.QuotedL4+at)
	}
	for i := range original {
		if p.Data[i] != original[i] && !slices.Contains(sums, i&^1) {
			t.Fatalf("byte %d changed from %#x to %#x", i, original[i], p.Data[i])
		}
	}
}
