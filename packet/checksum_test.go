package packet

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// slowChecksum is RFC 1071 read aloud.
func slowChecksum(b []byte) uint16 {
	var sum uint32
	for i, c := range b {
		if i%2 == 0 {
			sum += uint32(c) << 8
		} else {
			sum += uint32(c)
		}
		if sum > 0xffff {
			sum -= 0xffff
		}
	}
	return ^uint16(sum)
}

func TestChecksumIsRFC1071(t *testing.T) {
	// The example of RFC 1071, section 3.
	if got := Checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != ^uint16(0xddf2) {
		t.Fatalf("%#x", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "data")
		if got, want := Checksum(b), slowChecksum(b); got != want {
			t.Fatalf("%#x, want %#x", got, want)
		}
		cut := rapid.IntRange(0, len(b)/2).Draw(t, "cut") * 2
		if got := Fold(Sum(Sum(0, b[:cut]), b[cut:])); got != Checksum(b) {
			t.Fatalf("in two pieces %#x, want %#x", got, Checksum(b))
		}
	})
}

func TestChecksumOfAllOnesDoesNotOverflow(t *testing.T) {
	b := make([]byte, 9000)
	for i := range b {
		b[i] = 0xff
	}
	if got := Checksum(b); got != slowChecksum(b) {
		t.Fatalf("%#x, want %#x", got, slowChecksum(b))
	}
}

// Changing a word by its difference gives the checksum of the changed data.
func TestUpdateIsRFC1624(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 8, 60).Draw(t, "data")
		b = b[:len(b)&^3]
		b[0] = 0x45 // a header is never all zero, where the two zeros differ
		field := Checksum(b)
		at := rapid.IntRange(1, len(b)/4-1).Draw(t, "word") * 4
		if rapid.Bool().Draw(t, "wide") {
			old, word := binary.BigEndian.Uint32(b[at:]), rapid.Uint32().Draw(t, "new")
			binary.BigEndian.PutUint32(b[at:], word)
			field = Update32(field, old, word)
		} else {
			old, word := binary.BigEndian.Uint16(b[at:]), rapid.Uint16().Draw(t, "new")
			binary.BigEndian.PutUint16(b[at:], word)
			field = Update16(field, old, word)
		}
		if want := Checksum(b); field != want {
			t.Fatalf("%#x, want %#x", field, want)
		}
	})
}

// The case RFC 1624 was written for: equation 2 of RFC 1141 gives 0xffff here.
func TestUpdateGivesTheRightZero(t *testing.T) {
	if got := Update16(0xdd2f, 0x5555, 0x3285); got != 0 {
		t.Fatalf("%#x", got)
	}
}

func TestUDPChecksumIsNeverSentAsZero(t *testing.T) {
	// Search a port that makes the checksum come out as 0.
	frame := make([]byte, EthernetLen+IPv4Len+UDPLen+2)
	copy(frame[12:], []byte{0x08, 0x00, 0x45, 0, 0, 30, 0, 0, 0, 0, 64, ProtoUDP})
	copy(frame[26:], []byte{10, 0, 0, 1, 192, 0, 2, 1, 0, 1, 0, 53, 0, 10, 0, 0, 0xab, 0xcd})
	var p Packet
	if r := p.Parse(frame); r != OK {
		t.Fatal(r)
	}
	sum := func() uint16 { return Fold(Sum(PseudoSum(p.Key.Src, p.Key.Dst, ProtoUDP, 10), frame[34:])) }
	binary.BigEndian.PutUint16(frame[40:], sum())
	zeros := 0
	for port := range 1 << 16 {
		p.SetSrcPort(uint16(port))
		switch field := binary.BigEndian.Uint16(frame[40:]); {
		case field == 0:
			t.Fatalf("port %d: sent as zero", port)
		case field == 0xffff:
			zeros++
		}
		if sum() != 0 {
			t.Fatalf("port %d: wrong checksum", port)
		}
	}
	if zeros != 1 {
		t.Fatalf("%d ports gave the checksum zero", zeros)
	}
}

func TestUDPWithoutChecksumStaysWithout(t *testing.T) {
	frame := make([]byte, EthernetLen+IPv4Len+UDPLen)
	copy(frame[12:], []byte{0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, ProtoUDP})
	copy(frame[34:], []byte{0, 1, 0, 53, 0, 8})
	var p Packet
	if r := p.Parse(frame); r != OK {
		t.Fatal(r)
	}
	p.Rewrite(FlowKey{Src: Addr{1, 2, 3, 4}, Dst: Addr{5, 6, 7, 8}, SrcPort: 9, DstPort: 10})
	if binary.BigEndian.Uint16(frame[40:]) != 0 {
		t.Fatal("a checksum appeared")
	}
}
