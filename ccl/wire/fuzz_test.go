package wire

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Whatever the bytes, decoding ends with messages or a named error; what was
// decoded survives another round trip, and both decoders agree.
func FuzzDecode(f *testing.F) {
	var all []byte
	for _, m := range samples {
		f.Add(Append(nil, m))
		all = Append(all, m)
	}
	f.Add(all)
	several := Append(nil, Granted{Serial: 7})
	for i := range uint32(5) {
		several, _ = Extend(several, 0, Granted{Serial: 9 + 2*i, Bound: i%2 == 0})
	}
	f.Add(several)
	f.Fuzz(func(t *testing.T, b []byte) {
		var single, again []Message
		var err error
		for rest := b; err == nil; {
			var m Message
			m, rest, err = Decode(rest)
			if m == nil {
				if rest != nil {
					err = nil // unknown type
				}
				continue
			}
			single = append(single, m)
			m2, behind, err2 := Decode(Append(nil, m))
			if err2 != nil || len(behind) != 0 {
				t.Fatalf("%#v does not survive its own encoding: %v", m, err2)
			}
			if d := cmp.Diff(m, m2, equal...); d != "" {
				t.Fatal(d)
			}
		}
		var d Decoder
		batchErr := d.Batch(netip.Addr{}, b, HandlerFunc(func(_ netip.Addr, m Message) { again = append(again, m) }))
		if d := cmp.Diff(single, again, equal...); d != "" {
			t.Fatalf("decoders disagree (%v, %v): %s", err, batchErr, d)
		}
	})
}
