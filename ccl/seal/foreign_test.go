package seal

import (
	"net/netip"
	"testing"
)

func TestEL8_WhoSealsUnderAnotherKeyIsNamed(t *testing.T) {
	twin := Key{ID: key1.ID, Secret: [32]byte{9}} // ids are one byte: two keys may share one
	for _, tt := range []struct {
		key   Key
		known bool
		want  Reason
	}{{key2, false, UnknownKey}, {twin, true, BadTag}} {
		a, b := newSealer(t, addrA, tt.key), newSealer(t, addrB, key1)
		if _, ok := b.Foreign(addrA); ok {
			t.Fatal("before anything came")
		}
		for i := range int64(3) {
			open(t, b, 100+i, addrA, a.Seal(nil, addrB, []byte{1}), tt.want)
		}
		want := Foreign{Key: tt.key.ID, Known: tt.known, Count: 3, Last: 102}
		if f, ok := b.Foreign(netip.AddrFrom16(addrA.As16())); !ok || f != want {
			t.Errorf("%+v, %v, want %+v", f, ok, want)
		}
		if _, ok := b.Foreign(addrC); ok {
			t.Error("another peer is blamed")
		}
		// It is given the right key.
		if err := a.SetKeys([]Key{key1}); err != nil {
			t.Fatal(err)
		}
		prove(t, 200, a, b)
		if f, ok := b.Foreign(addrA); ok {
			t.Errorf("still blamed: %+v", f)
		}
	}
}

// A peer that is understood is not blamed for what others send in its name for
// longer than until its next message.
func TestEL8_ForgeriesInTheNameOfAPeerThatIsHeard(t *testing.T) {
	a, b, other := newSealer(t, addrA, key1), newSealer(t, addrB, key1), newSealer(t, addrA, key2)
	prove(t, 100, a, b)
	for i := range int64(50) {
		open(t, b, 200+i, addrA, other.Seal(nil, addrB, []byte{1}), UnknownKey)
		open(t, b, 200+i, addrA, a.Seal(nil, addrB, []byte{1}), Accepted)
		if f, ok := b.Foreign(addrA); ok {
			t.Fatalf("blamed: %+v", f)
		}
	}
}

func TestForeignIsBounded(t *testing.T) {
	b := newSealer(t, addrB, key1)
	for i := range 2 * MaxPeers {
		from := netip.AddrFrom4([4]byte{10, 98, byte(i >> 8), byte(i)})
		open(t, b, 1, from, newSealer(t, from, key2).Seal(nil, addrB, []byte{1}), UnknownKey)
	}
	if len(b.foreign) != MaxPeers {
		t.Errorf("%d addresses are kept", len(b.foreign))
	}
}
