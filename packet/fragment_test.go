package packet_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"cohort/packet"
	"cohort/packet/packettest"
)

// The fragments of a packet put together again are the packet, each fits, and
// each has a right header.
func TestTR1_FragmentsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		payload := rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "payload")
		mtu := rapid.IntRange(68, 1600).Draw(t, "mtu")
		frame := packettest.UDP(packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 5, DstPort: 6, Proto: packet.ProtoUDP}, payload)
		var p packet.Packet
		if r := p.Parse(frame); r != packet.OK {
			t.Fatal(r)
		}
		var whole []byte
		for offset, more := 0, true; more; {
			f, next := p.AppendFragment(nil, mtu, offset)
			if len(f) > mtu {
				t.Fatalf("fragment of %d bytes, mtu %d", len(f), mtu)
			}
			if packet.Checksum(f[:20]) != 0 {
				t.Fatal("bad header checksum")
			}
			if got := int(binary.BigEndian.Uint16(f[2:])); got != len(f) {
				t.Fatalf("total length %d of %d bytes", got, len(f))
			}
			word := binary.BigEndian.Uint16(f[6:])
			if int(word&0x1fff)*8 != offset || (word&0x2000 != 0) != (next != 0) {
				t.Fatalf("offset word %#x at %d, next %d", word, offset, next)
			}
			if !bytes.Equal(f[12:20], frame[26:34]) || !bytes.Equal(f[4:6], frame[18:20]) {
				t.Fatal("addresses or identification changed")
			}
			whole = append(whole, f[20:]...)
			offset, more = next, next != 0
		}
		if !bytes.Equal(whole, frame[34:p.End]) {
			t.Fatal("the fragments do not add up to the packet")
		}
	})
}
