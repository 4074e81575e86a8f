package packet_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"cohort/packet"
	"cohort/packet/packettest"

	"pgregory.net/rapid"
)

// segment is a TCP segment with these options, whose checksum is computed from
// scratch.
func segment(flags uint8, seq, ack uint32, options, payload []byte) []byte {
	if len(options)%4 != 0 {
		panic("options have whole words")
	}
	frame := packettest.TCP(web, flags, seq, ack, append(bytes.Clone(options), payload...))
	tcp := frame[34:]
	tcp[12] = byte(5+len(options)/4) << 4
	sumTCP(frame)
	return frame
}

// sumTCP writes the right checksum.
func sumTCP(frame []byte) {
	tcp := frame[34:]
	tcp[16], tcp[17] = 0, 0
	sum := packet.PseudoSum(packet.Addr(frame[26:30]), packet.Addr(frame[30:34]), packet.ProtoTCP, len(tcp))
	binary.BigEndian.PutUint16(tcp[16:], packet.Fold(packet.Sum(sum, tcp)))
}

// option is one that a list may have; shifted is what a list has in its place when
// acknowledgements have been changed by some number.
type option struct{ bytes, shifted []byte }

func sackOption(ack uint32, edges ...uint32) (o option) {
	head := []byte{5, byte(2 + 4*len(edges))}
	o.bytes, o.shifted = bytes.Clone(head), bytes.Clone(head)
	for _, e := range edges {
		o.bytes = binary.BigEndian.AppendUint32(o.bytes, e)
		o.shifted = binary.BigEndian.AppendUint32(o.shifted, e+ack)
	}
	return o
}

// anyOptions is a list with one selective acknowledgement at most, at any offset.
func anyOptions(t *rapid.T, ack uint32) (before, after []byte) {
	var list []option
	room, sacks := 40, 1
	for room > 0 && rapid.IntRange(0, 5).Draw(t, "more") > 0 {
		var o option
		switch rapid.IntRange(0, 3).Draw(t, "what") {
		case 0:
			o.bytes = []byte{1}
		case 1:
			o.bytes = append([]byte{8, 10}, rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "time stamps")...)
		case 2:
			n := rapid.IntRange(2, 9).Draw(t, "length")
			o.bytes = append([]byte{rapid.Byte().Filter(func(k byte) bool { return k > 5 }).Draw(t, "kind"), byte(n)}, rapid.SliceOfN(rapid.Byte(), n-2, n-2).Draw(t, "value")...)
		case 3:
			if sacks--; sacks < 0 {
				continue
			}
			n := 2 * rapid.IntRange(0, 4).Draw(t, "blocks")
			o = sackOption(ack, rapid.SliceOfN(rapid.Uint32(), n, n).Draw(t, "edges")...)
		}
		if len(o.bytes) > room {
			break
		}
		room -= len(o.bytes)
		if o.shifted == nil {
			o.shifted = o.bytes
		}
		list = append(list, o)
	}
	for _, o := range list {
		before, after = append(before, o.bytes...), append(after, o.shifted...)
	}
	for len(before)%4 != 0 { // to the end: whether what follows it is 5 does not matter
		before, after = append(before, 0), append(after, 0)
	}
	return before, after
}

// TestFR5_ShiftedSegmentEqualsBuildingAnew bit for bit, whatever options it has and
// wherever they stand.
func TestFR5_ShiftedSegmentEqualsBuildingAnew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seq, ack := rapid.Uint32().Draw(t, "seq"), rapid.Uint32().Draw(t, "ack")
		bySeq, byAck := rapid.Uint32().Draw(t, "by seq"), rapid.Uint32().Draw(t, "by ack")
		before, after := anyOptions(t, byAck)
		payload := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "payload")
		flags := rapid.SampledFrom([]uint8{packet.ACK, packet.ACK | packet.PSH, packet.SYN | packet.ACK, packet.RST | packet.ACK, packet.FIN | packet.ACK}).Draw(t, "flags")
		frame := segment(flags, seq, ack, before, payload)
		var p packet.Packet
		if r := p.Parse(frame); r != packet.OK {
			t.Fatal(r)
		}
		p.ShiftSequence(bySeq, byAck)
		if p.Seq != seq+bySeq || p.Ack != ack+byAck {
			t.Fatalf("fields say %d, %d", p.Seq, p.Ack)
		}
		if want := segment(flags, seq+bySeq, ack+byAck, after, payload); !bytes.Equal(frame, want) {
			t.Fatalf("options %x, shifted\n%x, built\n%x", before, frame, want)
		}
	})
}

// TestFR5_NoAcknowledgementNoneShifted: without ACK the field means nothing (RFC
// 9293, 3.1), and hosts compare the 0 of a reset.
func TestFR5_NoAcknowledgementNoneShifted(t *testing.T) {
	frame := segment(packet.RST, 7, 0, sackOption(0, 1, 2).bytes[:8], nil)
	want := segment(packet.RST, 8, 0, sackOption(0, 1, 2).bytes[:8], nil)
	var p packet.Packet
	p.Parse(frame)
	p.ShiftSequence(1, 99)
	if !bytes.Equal(frame, want) {
		t.Errorf("%x, want %x", frame, want)
	}
	udp := packettest.UDP(web, []byte("datagram"))
	before := bytes.Clone(udp)
	p.Parse(udp)
	p.ShiftSequence(1, 1)
	p.ShiftQuotedSequence(1, 1)
	if !bytes.Equal(udp, before) {
		t.Errorf("a datagram has no sequence numbers: %x, was %x", udp, before)
	}
}

// TestFR5_MalformedOptionsStay: what no host reads is left as it is.
func TestFR5_MalformedOptionsStay(t *testing.T) {
	for name, options := range map[string][]byte{
		"too short":               {5, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2},
		"longer than the header":  {5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0},
		"behind the end":          {0, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 0},
		"behind a longer end":     {0, 4, 0, 0, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0},
		"behind a malformed one":  {8, 0, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2},
		"a kind in the last byte": {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5},
		"half a block":            {5, 6, 0, 0, 0, 1, 1, 1},
	} {
		frame, want := segment(packet.ACK, 1, 2, options, nil), segment(packet.ACK, 1, 102, options, nil)
		var p packet.Packet
		p.Parse(frame)
		p.ShiftSequence(0, 100)
		if !bytes.Equal(frame, want) {
			t.Errorf("%s: %x, want %x", name, frame, want)
		}
	}
}

// TestFR5_SignedConnectionsAreSeen: RFC 2385 and RFC 5925.
func TestFR5_SignedConnectionsAreSeen(t *testing.T) {
	for _, c := range []struct {
		options []byte
		want    bool
	}{
		{append([]byte{19, 18}, make([]byte, 18)...), true},
		{[]byte{1, 1, 29, 6, 1, 2, 3, 4}, true},
		{[]byte{2, 4, 5, 0xb4, 1, 3, 3, 7}, false},
	} {
		var p packet.Packet
		p.Parse(segment(packet.SYN, 1, 0, c.options, nil))
		if got := p.TCPOptions().Signed; got != c.want {
			t.Errorf("%x: signed is %v", c.options, got)
		}
	}
}

// TestFR5_QuotedSegmentIsShiftedBack: what the sender of the segment gets quoted is
// what it has sent, as far as it is quoted.
func TestFR5_QuotedSegmentIsShiftedBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := errorCases(t)
		c.about.Key.Proto, c.about.Flags = packet.ProtoTCP, c.about.Flags|packet.ACK
		c.about.IPOptions = 0
		bySeq, byAck := rapid.Uint32().Draw(t, "by seq"), rapid.Uint32().Draw(t, "by ack")
		frame := c.build(c.about.Key, router)
		want := c
		want.about.Seq += bySeq
		if c.l4 >= 14 {
			want.about.Ack += byAck
		}
		var p packet.Packet
		if r := p.Parse(frame); r != packet.OK {
			t.Fatal(r)
		}
		p.ShiftQuotedSequence(bySeq, byAck)
		built := want.build(c.about.Key, router)
		if !bytes.Equal(frame, built) {
			t.Fatalf("shifted\n%x, built\n%x", frame, built)
		}
	})
}

// TestFR5_EightQuotedBytesHaveTheSequenceNumber and no more (RFC 792).
func TestFR5_EightQuotedBytesHaveTheSequenceNumber(t *testing.T) {
	frame := packettest.ICMPError(router, packet.ICMPUnreachable, 1, 0, packettest.TCP(web, packet.ACK, 1000, 5, []byte("data")))
	want := packettest.ICMPError(router, packet.ICMPUnreachable, 1, 0, packettest.TCP(web, packet.ACK, 1007, 5, []byte("data")))
	var p packet.Packet
	if r := p.Parse(frame); r != packet.OK {
		t.Fatal(r)
	}
	p.ShiftQuotedSequence(7, 9)
	if !bytes.Equal(frame, want) {
		t.Errorf("%x, want %x", frame, want)
	}
}

func TestShiftSequenceDoesNotAllocate(t *testing.T) {
	var p packet.Packet
	p.Parse(segment(packet.ACK, 1, 2, append([]byte{1, 1}, sackOption(0, 1, 2, 3, 4, 5, 6).bytes...), nil))
	if n := testing.AllocsPerRun(100, func() { p.ShiftSequence(3, 4) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Any segment, any shift: good checksums stay good and bad ones exactly as bad, and
// shifting back gives the same bytes.
func FuzzShiftSequence(f *testing.F) {
	f.Add(segment(packet.ACK, 1, 2, append([]byte{1, 1}, sackOption(0, 1, 2, 3, 4).bytes...), nil), uint32(5), uint32(6))
	f.Add(segment(packet.ACK, 1, 2, append([]byte{1}, append(sackOption(0, 1, 2).bytes, 0)...), []byte("x")), uint32(1<<31), ^uint32(0))
	f.Fuzz(func(t *testing.T, original []byte, seq, ack uint32) {
		frame := bytes.Clone(original)
		var p packet.Packet
		if p.Parse(frame) != packet.OK {
			return
		}
		before := residues(frame, p.L3, p.L4, p.End)
		p.ShiftSequence(seq, ack)
		if after := residues(frame, p.L3, p.L4, p.End); after != before {
			t.Fatalf("checksums are off by %x, before by %x", after, before)
		}
		p.ShiftSequence(-seq, -ack)
		for i := range frame { // a checksum may have got its other zero
			if sum := p.L4 + 16; frame[i] != original[i] && (i < sum || i > sum+1) {
				t.Fatalf("byte %d is %x, was %x", i, frame[i], original[i])
			}
		}
	})
}
