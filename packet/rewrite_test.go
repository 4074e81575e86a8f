package packet_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"cohort/packet"
	"cohort/packet/packettest"

	"pgregory.net/rapid"
)

// A rewritten packet is, bit for bit, the packet that would have been built
// with the new values.
func TestRewriteEqualsBuildingAnew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := packettest.Specs().Draw(t, "packet")
		want := s
		addr := rapid.Custom(func(t *rapid.T) packet.Addr {
			return packet.Addr(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address"))
		})
		if rapid.Bool().Draw(t, "new source") {
			want.Key.Src = addr.Draw(t, "source")
		}
		if rapid.Bool().Draw(t, "new destination") {
			want.Key.Dst = addr.Draw(t, "destination")
		}
		hasPorts := s.Key.Proto == packet.ProtoTCP || s.Key.Proto == packet.ProtoUDP
		if hasPorts || packettest.IsQuery(s) {
			want.Key.SrcPort = rapid.Uint16().Draw(t, "source port")
		}
		if hasPorts || packettest.IsResponse(s) {
			want.Key.DstPort = rapid.Uint16().Draw(t, "destination port")
		}
		hops := rapid.IntRange(0, int(s.TTL)-1).Draw(t, "hops")
		want.TTL -= uint8(hops)

		var p packet.Packet
		frame := packettest.Build(s)
		fixZero(frame, s)
		if r := p.Parse(frame); r != packet.OK {
			t.Fatal(r)
		}
		p.Rewrite(want.Key)
		for range hops {
			p.DecrementTTL()
		}
		if p.Key != want.Key || p.TTL != want.TTL {
			t.Fatalf("fields say %v, TTL %d", p.Key, p.TTL)
		}
		built := packettest.Build(want)
		fixZero(built, want)
		if !bytes.Equal(p.Data, built) {
			t.Fatalf("rewritten\n%x, built\n%x", p.Data, built)
		}
	})
}

// fixZero applies RFC 768's rule, which gopacket does not know, and that of
// SetDstPort for echo replies with identifier 0.
func fixZero(frame []byte, s packettest.Spec) {
	at := len(frame) - len(s.Payload) // behind the transport header
	switch {
	case s.Key.Proto == packet.ProtoUDP && !s.NoUDPSum:
		at -= 2
	case s.Key.Proto == packet.ProtoICMP && s.ICMPType == packet.ICMPEchoReply && s.Key.DstPort == 0:
		at -= 6
	default:
		return
	}
	if frame[at] == 0 && frame[at+1] == 0 {
		frame[at], frame[at+1] = 0xff, 0xff
	}
}

// An echo reply that is all zeros but for its checksum: 0 would not add up.
func TestChecksumOfAllZerosIsOnes(t *testing.T) {
	zeros := packettest.Spec{Key: packet.FlowKey{Src: server, Dst: client, DstPort: 7, Proto: packet.ProtoICMP}, Payload: make([]byte, 4)}
	var p packet.Packet
	if r := p.Parse(packettest.Build(zeros)); r != packet.OK {
		t.Fatal(r)
	}
	p.SetDstPort(0)
	if slowResidue(p.Data[p.L4:p.End]) != 0 {
		t.Errorf("%x does not add up", p.Data[p.L4:p.End])
	}
	zeros.Key.Src, zeros.Key.Dst = client, server
	e := errorCase{about: zeros, icmpType: packet.ICMPUnreachable, l4: 12}
	if r := p.Parse(e.build(zeros.Key, router)); r != packet.OK {
		t.Fatal(r)
	}
	p.RewriteError(packet.FlowKey{Src: client, Dst: server}, router, client)
	if slowResidue(p.Data[p.QuotedL4:p.End]) != 0 || slowResidue(p.Data[p.L4:p.End]) != 0 {
		t.Errorf("%x does not add up", p.Data[p.L4:p.End])
	}
}

// slowResidue is what a receiver makes of b and its checksum: 0 if it is right
// (RFC 1071, where a sum of zero is minus zero). b has an even length.
func slowResidue(b []byte) uint16 {
	sum := 0
	for i := 0; i < len(b); i += 2 {
		sum += int(b[i])<<8 | int(b[i+1])
	}
	for sum > 0xffff {
		sum -= 0xffff
	}
	return ^uint16(sum)
}

// A damaged packet stays damaged: differences never repair a checksum.
func TestRewriteDoesNotRepairDamage(t *testing.T) {
	frame := packettest.TCP(web, packet.ACK, 1, 1, []byte("payload"))
	frame[len(frame)-1] ^= 1
	frame[15] ^= 4 // type of service
	var p packet.Packet
	if r := p.Parse(frame); r != packet.OK {
		t.Fatal(r)
	}
	p.Rewrite(packet.FlowKey{Src: router, Dst: client, SrcPort: 1, DstPort: 2})
	p.DecrementTTL()
	if p.HeaderSumOK() {
		t.Error("the IP header checksum is right")
	}
	sum := packet.PseudoSum(p.Key.Src, p.Key.Dst, p.Proto, p.End-p.L4)
	if packet.Fold(packet.Sum(sum, p.Data[p.L4:p.End])) == 0 {
		t.Error("the TCP checksum is right")
	}
}

func TestRewriteLeavesPacketsWithoutPortsAlone(t *testing.T) {
	for _, frame := range [][]byte{
		packettest.Build(packettest.Spec{Key: packet.FlowKey{Src: client, Dst: server, Proto: 47}, Payload: make([]byte, 20)}),
		packettest.ICMPError(router, 11, 0, 0, packettest.TCP(web, packet.ACK, 1, 1, nil)),
	} {
		before := bytes.Clone(frame)
		var p packet.Packet
		if r := p.Parse(frame); r != packet.OK {
			t.Fatal(r)
		}
		p.SetSrcPort(1)
		p.SetDstPort(2)
		if !bytes.Equal(before, frame) || p.Key.SrcPort != 0 || p.Key.DstPort != 0 {
			t.Errorf("protocol %d was changed", p.Proto)
		}
	}
}

// UDP-Lite and DCCP are translated without their ports, and their checksums are over the
// addresses as well: a receiver gets what adds up, also of what an error quotes. What is
// too short to have a checksum stays as it is.
func TestNT1_ChecksumsOverAddressesAddUp(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoUDPLite, packet.ProtoDCCP} {
		for i := range 1 << 16 / 7 {
			spec := packettest.Spec{Key: packet.FlowKey{Src: client, Dst: server, Proto: proto}, Payload: make([]byte, 16)}
			binary.BigEndian.PutUint16(spec.Payload[8:], uint16(7*i))
			sum := packet.PseudoSum(client, server, proto, len(spec.Payload))
			binary.BigEndian.PutUint16(spec.Payload[6:], packet.Fold(packet.Sum(sum, spec.Payload)))
			frame := packettest.Build(spec)
			var p packet.Packet
			if r := p.Parse(frame); r != packet.OK {
				t.Fatal(r)
			}
			to := packet.FlowKey{Src: packet.Addr{203, 0, 113, byte(i)}, Dst: packet.Addr{10, 9, 9, 9}}
			p.Rewrite(to)
			body := p.Data[p.L4:p.End]
			if sum := packet.PseudoSum(to.Src, to.Dst, proto, len(body)); packet.Fold(packet.Sum(sum, body)) != 0 || body[6]|body[7] == 0 {
				t.Fatalf("protocol %d, %x: does not add up", proto, body)
			}
			e := packettest.Build(packettest.Spec{
				Key: packet.FlowKey{Src: router, Dst: to.Src, Proto: packet.ProtoICMP}, ICMPType: packet.ICMPUnreachable, Payload: p.Data[p.L3:p.End],
			})
			if r := p.Parse(e); r != packet.OK {
				t.Fatal(r)
			}
			p.RewriteError(spec.Key, router, client)
			body = p.Data[p.QuotedL4:p.End]
			if sum := packet.PseudoSum(client, server, proto, len(body)); packet.Fold(packet.Sum(sum, body)) != 0 || slowResidue(p.Data[p.L4:p.End]) != 0 {
				t.Fatalf("protocol %d: the quoted %x does not add up", proto, body)
			}
		}
		short := packettest.Build(packettest.Spec{Key: packet.FlowKey{Src: client, Dst: server, Proto: proto}, Payload: []byte{1, 2, 3, 4, 5, 6, 7}})
		before := bytes.Clone(short)
		var p packet.Packet
		if r := p.Parse(short); r != packet.OK {
			t.Fatal(r)
		}
		p.SetSrc(router)
		if !bytes.Equal(short[34:], before[34:]) || !p.HeaderSumOK() {
			t.Errorf("protocol %d: %x became %x", proto, before, short)
		}
	}
}
