package packet

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func anyKey(t *rapid.T) FlowKey {
	b := rapid.SliceOfN(rapid.Byte(), 14, 14).Draw(t, "key")
	if rapid.Bool().Draw(t, "same address") {
		copy(b[4:8], b[:4])
	}
	return FlowKey{
		Src: Addr(b[:4]), Dst: Addr(b[4:8]), SrcPort: uint16(b[8])<<8 | uint16(b[9]),
		DstPort: uint16(b[10])<<8 | uint16(b[11]), Proto: b[12], Zone: b[13],
	}
}

// FR2: both directions of a connection have one canonical key.
func TestFR2_BothDirectionsHaveOneCanonicalKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := anyKey(t)
		if k.Reverse().Reverse() != k {
			t.Fatal("reversed twice is another key")
		}
		a, turned := k.Canonical()
		b, turnedBack := k.Reverse().Canonical()
		if a != b {
			t.Fatalf("%v and %v", a, b)
		}
		if turned && a != k.Reverse() || !turned && a != k {
			t.Fatalf("turned %v, but %v became %v", turned, k, a)
		}
		if k != k.Reverse() && turned == turnedBack {
			t.Fatal("both directions or neither were turned")
		}
		if again, turned := a.Canonical(); again != a || turned {
			t.Fatal("the canonical key is not its own")
		}
	})
}

func TestAddrFromTakesIPv4Only(t *testing.T) {
	for in, want := range map[string]Addr{
		"192.0.2.1": {192, 0, 2, 1}, "::ffff:192.0.2.1": {192, 0, 2, 1}, "2001:db8::1": {},
	} {
		if got := AddrFrom(netip.MustParseAddr(in)); got != want {
			t.Errorf("%s: %v", in, got)
		}
	}
}

func TestKeyString(t *testing.T) {
	k := FlowKey{Src: Addr{10, 0, 0, 1}, Dst: Addr{192, 0, 2, 1}, SrcPort: 1234, DstPort: 80, Proto: ProtoTCP}
	for proto, want := range map[uint8]string{
		ProtoTCP: "tcp 10.0.0.1:1234 > 192.0.2.1:80", ProtoUDP: "udp 10.0.0.1:1234 > 192.0.2.1:80",
		ProtoICMP: "icmp 10.0.0.1:1234 > 192.0.2.1:80", 47: "ip-47 10.0.0.1:1234 > 192.0.2.1:80",
	} {
		if k.Proto = proto; k.String() != want {
			t.Errorf("%q, want %q", k.String(), want)
		}
	}
}
