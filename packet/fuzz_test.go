package packet_test

import (
	"bytes"
	"math/rand/v2"
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
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
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
	if at, ok := map[uint8]int{packet.ProtoTCP: 16, packet.ProtoUDP: 6, packet.ProtoICMP: 2}[p.Proto]; ok {
		sums[p.L4+at], sums[p.L4+at+1] = true, true
	}
	for i := range before {
		if !sums[i] && before[i] != p.Data[i] {
			t.Fatalf("byte %d changed from %#x to %#x", i, before[i], p.Data[i])
		}
	}
}
