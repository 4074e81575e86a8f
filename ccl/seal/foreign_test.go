package seal

import (
	"net/netip"
	"testing"
)

func TestEL8_WhoSealsUnderAnotherKeyIsNamed(t *testing.T) {
	twin := Key{ID: key1.ID, Secret: [32]byte{9}} // ids are one byte: two keys may share one
	for _, tt := range []struct {
		key  Key
		want Reason
	}{{key2, UnknownKey}, {twin, BadTag}} {
		a, b := newSealer(t, addrA, tt.key), newSealer(t, addrB, key1)
		if _, ok := b.Foreign(addrA); ok {
			t.Fatal("before anything came")
		}
		for i := range int64(3) {
			open(t, b, 100+i, addrA, a.Seal(nil, addrB, []byte{1}), tt.want)
		}
		want := Foreign{Why: tt.want, Header: Version, Key: tt.key.ID, Count: 3, Last: 102}
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

// Nodes of two versions of the format do not understand each other, on either side:
// no payload, no handshake, no session. Both can say which versions these are.
func TestEL8_AnotherFormatIsNamedOnBothSidesAndNeverRead(t *testing.T) {
	for name, keys := range map[string][]Key{"sealed": {key1}, "clear": nil} {
		t.Run(name, func(t *testing.T) {
			a, b := newSealer(t, addrA, keys...), newSealer(t, addrB, keys...)
			a.format, b.format = 4, 5
			for _, payload := range [][]byte{
				{1, 2, 3},
				append([]byte{KindChallenge}, make([]byte, challengeSize-1)...),
				append([]byte{KindResponse}, make([]byte, nonceSize)...),
			} {
				for _, one := range []struct{ from, to *Sealer }{{a, b}, {b, a}} {
					for _, to := range []netip.Addr{one.to.local, {}} {
						o := open(t, one.to, 100, one.from.local, one.from.Seal(nil, to, payload), OtherFormat)
						if o.Payload != nil || o.Response != nil || o.Challenge != nil || o.Proved || o.Resend {
							t.Fatalf("%v of %x, wants %+v", one.from.local, payload, o)
						}
					}
					f, ok := one.to.Foreign(one.from.local)
					if !ok || f.Why != OtherFormat || f.Format != one.from.format {
						t.Errorf("%v of %v: %+v, %v", one.to.local, one.from.local, f, ok)
					}
				}
			}
			if len(a.peers)+len(b.peers) != 0 {
				t.Error("state is kept for peers that are not understood")
			}
			// One of them is upgraded.
			next := newSealer(t, addrA, keys...)
			next.format = 5
			prove(t, 200, next, b)
			if f, ok := b.Foreign(addrA); ok {
				t.Errorf("still blamed: %+v", f)
			}
		})
	}
}

// The header has a version of its own.
func TestEL8_AnotherHeaderIsNamed(t *testing.T) {
	a, b := newSealer(t, addrA, key1), newSealer(t, addrB, key1)
	d := a.Seal(nil, addrB, []byte{1})
	d[0] = (Version+1)<<4 | d[0]&0xf
	open(t, b, 100, addrA, d, BadVersion)
	want := Foreign{Why: BadVersion, Header: Version + 1, Key: key1.ID, Count: 1, Last: 100}
	if f, ok := b.Foreign(addrA); !ok || f != want {
		t.Errorf("%+v, %v, want %+v", f, ok, want)
	}
}
