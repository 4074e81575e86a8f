package wire

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cohort/packet"
)

// Whatever follows what in a batch: all of it arrives, in order, and answers that follow
// each other closely are a byte each.
func TestCL8_AnswersOfABurstShareAMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent, got []Message
		var b []byte
		serial, last := rapid.Uint32Max(MaxSerial).Draw(t, "first"), -1
		for range rapid.IntRange(1, 300).Draw(t, "messages") {
			m := Message(Gone{Key: sampleKey})
			if rapid.IntRange(0, 9).Draw(t, "granted") > 0 {
				serial = (serial + rapid.Uint32Range(0, 140).Draw(t, "step")) & MaxSerial
				m = Granted{Serial: serial, Bound: rapid.Bool().Draw(t, "bound")}
			}
			sent = append(sent, m)
			n := len(b)
			longer, ok := Extend(b, last, m)
			if b = longer; ok {
				if len(b) != n+1 {
					t.Fatalf("%d bytes more", len(b)-n)
				}
				continue
			}
			if len(b) != n {
				t.Fatalf("a refused message made %d bytes of %d", len(b), n)
			}
			b, last = Append(b, m), n
		}
		var expected []uint32
		d := Decoder{
			Expect:        func(_, _ packet.FlowKey) {},
			ExpectGranted: func(serial uint32) { expected = append(expected, serial) },
		}
		if err := d.Batch(netip.Addr{}, b, HandlerFunc(func(_ netip.Addr, m Message) { got = append(got, m) })); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(sent, got) {
			t.Fatalf("sent %v, got %v", sent, got)
		}
		var serials []uint32
		for _, m := range sent {
			if g, ok := m.(Granted); ok {
				serials = append(serials, g.Serial)
			}
		}
		if !slices.Equal(serials, expected) {
			t.Fatalf("expected %v of %v", expected, serials)
		}
	})
	var b []byte
	for i := range 100 {
		m := Granted{Serial: MaxSerial - 50 + uint32(i)&MaxSerial}
		m.Serial &= MaxSerial
		if longer, ok := Extend(b, 0, m); ok {
			b = longer
		} else {
			b = Append(b, m)
		}
	}
	if len(b) != 2+4+99 {
		t.Errorf("100 answers take %d bytes, want 105", len(b))
	}
}

// What Extend makes of a message that it is not meant for stays what it was.
func TestExtendLeavesOthersAlone(t *testing.T) {
	for _, m := range samples {
		b := Append(nil, m)
		longer, ok := Extend(slices.Clone(b), 0, Granted{Serial: 0x123457})
		if ok != (m.Type() == TypeGranted) || !ok && !slices.Equal(longer, b) {
			t.Errorf("%v: %v, %x of %x", m.Type(), ok, longer, b)
		}
	}
}
