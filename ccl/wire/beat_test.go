package wire

import (
	"errors"
	"testing"
)

func TestHL7_BeatIsTheOnlyMessageOfItsDatagram(t *testing.T) {
	beat := Append(nil, Beat{Life: 0x1122334455667788, Stale: 300, Flags: PulseAsk})
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"a beat":               {beat, nil},
		"cut":                  {beat[:len(beat)-1], ErrTruncated},
		"nothing":              {nil, ErrEmpty},
		"another type":         {Append(nil, Leave{From: sampleMember}), ErrValue},
		"two beats":            {append(append([]byte{}, beat...), beat...), ErrValue},
		"a body too long":      {append([]byte{beat[0], beat[1] + 1}, append(append([]byte{}, beat[2:]...), 0)...), ErrTrailing},
		"a stale of 33 bits":   {[]byte{byte(TypeBeat), 14, 1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0xff, 0xff, 0xff, 0x7f, 0}, ErrValue},
		"only its life, short": {[]byte{byte(TypeBeat), 3, 1, 2, 3}, ErrTruncated},
	} {
		if _, err := DecodeBeat(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		if m, err := DecodeBeat(beat); err != nil || m.Stale != 300 {
			t.Fatal(m, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a beat", n)
	}
}

// Both decoders agree on what a beat is, whatever the bytes.
func FuzzDecodeBeat(f *testing.F) {
	f.Add(Append(nil, Beat{Life: 1, Stale: 5, Flags: PulseHold}))
	f.Add(Append(nil, Query{Key: sampleKey}))
	f.Add([]byte{byte(TypeBeat), 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeBeat(b)
		other, rest, err2 := Decode(b)
		o, is := other.(Beat)
		if both := err2 == nil && is && len(rest) == 0; both != (err == nil) || both && o != m {
			t.Fatalf("%x: %+v %v, and %+v %v", b, m, err, other, err2)
		}
	})
}
