package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"cohort/packet"
)

var equal = []cmp.Option{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b packet.FlowKey) bool { return a == b }),
}

func TestEveryTypeHasAGenerator(t *testing.T) {
	for typ := range typeNames {
		if typ != TypePadding && generators[typ] == nil {
			t.Errorf("%v has no generator: its round trip is not tested", typ)
		}
	}
}

// Every message of every type comes back as it was sent, by both decoders, and
// consumes exactly its own bytes.
func TestRoundTrip(t *testing.T) {
	for typ, gen := range generators {
		t.Run(typ.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				want := gen(t)
				b := Append([]byte("before"), want)
				b = append(b, "behind"...)
				got, rest, err := Decode(b[len("before"):])
				if err != nil {
					t.Fatal(err)
				}
				if got.Type() != typ || string(rest) != "behind" {
					t.Fatalf("type %v, rest %q", got.Type(), rest)
				}
				if d := cmp.Diff(want, got, equal...); d != "" {
					t.Fatal(d)
				}
				handled := decodeAll(t, b[len("before"):len(b)-len("behind")])
				if d := cmp.Diff([]Message{want}, handled, equal...); d != "" {
					t.Fatal(d)
				}
			})
		})
	}
}

func decodeAll(t interface{ Fatal(...any) }, b []byte) (got []Message) {
	var d Decoder
	err := d.Batch(netip.Addr{}, b, HandlerFunc(func(_ netip.Addr, m Message) { got = append(got, m) }))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A batch is handled in order, whatever is mixed; padding and unknown types
// are stepped over.
func TestBatchKeepsOrderAndSkipsWhatItDoesNotKnow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []Message
		var b []byte
		unknown := uint64(0)
		for range rapid.IntRange(0, 12).Draw(t, "n") {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				b = append(b, make([]byte, rapid.IntRange(1, 5).Draw(t, "pad"))...)
			case 1:
				unknown++
				typ := rapid.SampledFrom([]byte{30, 31, 60, 200, 255}).Draw(t, "type")
				body := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "body")
				b = append(append(b, typ, byte(len(body))), body...)
			default:
				typ := rapid.SampledFrom([]Type{TypeClaim, TypeClose, TypeHeartbeat, TypeView, TypeOwner}).Draw(t, "type")
				m := generators[typ](t)
				want = append(want, m)
				b = Append(b, m)
			}
		}
		var got []Message
		var d Decoder
		if err := d.Batch(netip.Addr{}, b, HandlerFunc(func(_ netip.Addr, m Message) { got = append(got, m) })); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, equal...); diff != "" {
			t.Fatal(diff)
		}
		if d.Unknown != unknown {
			t.Fatalf("counted %d unknown messages, want %d", d.Unknown, unknown)
		}
	})
}

// poked is an encoded message with other bytes from at on.
func poked(m Message, at int, with ...byte) []byte {
	b := Append(nil, m)
	copy(b[at:], with)
	return b
}

func TestHostileBytesGetANamedError(t *testing.T) {
	claim := Append(nil, sampleClaim)
	cut := bytes.Clone(claim[:len(claim)-1])
	cut[1]--
	long := append(bytes.Clone(claim), 0)
	long[1]++
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, ErrEmpty},
		{"padding only", make([]byte, 40), ErrEmpty},
		{"a type and no length", []byte{1}, ErrTruncated},
		{"body shorter than its length", claim[:len(claim)-1], ErrTruncated},
		{"length shorter than the fields", cut, ErrTruncated},
		{"length longer than the fields", long, ErrTrailing},
		{"length of 2^63", []byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, ErrOversized},
		{"length that does not end", bytes.Repeat([]byte{0xff}, 20), ErrOversized},
		{"length over the limit", []byte{1, 0x81, 0x80, 0x01}, ErrOversized},
		{"unknown type", []byte{99, 2, 1, 2}, ErrUnknown},
		{"unknown type cut off", []byte{99, 2, 1}, ErrTruncated},
		{"node id 64", Append(nil, Owner{Owner: 64}), ErrValue},
		{"shift of nothing", poked(Claim{Conn: shiftedConn}, 18, 0, 0, 0, 0), ErrValue},
		{"shift of no TCP connection", poked(Claim{Conn: shiftedConn}, 17, 0x80), ErrValue},
		{"view with members out of order", Append(nil, ViewMsg{View{Members: []Member{{ID: 2}, {ID: 1}}}}), ErrValue},
		{"view with a member twice", Append(nil, ViewMsg{View{Members: []Member{{ID: 2}, {ID: 2}}}}), ErrValue},
		{"view with member 0", Append(nil, ViewMsg{View{Members: []Member{{}}}}), ErrValue},
		{"view with 64 members", Append(nil, ViewMsg{View{Members: make([]Member, 64)}}), ErrValue},
		{"view with more members than bytes", []byte{37, 4, 1, 1, 0, 60}, ErrTruncated},
		{"name that is not UTF-8", Append(nil, JoinRefused{Reason: "\xff\xfe"}), ErrValue},
		{"address of 5 bytes", []byte{39, 12, 0, 0, 0, 1, 0, 9, 5, 1, 2, 3, 4, 5}, ErrValue},
		{"list longer than its body", []byte{35, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, ErrTruncated},
		{"list of 65 names", namesOf(65), ErrValue},
		{"units outside their window", unitsBody(1, 10, 5, 1, 3, 3, 0), ErrValue},
		{"window outside all units", unitsBody(1, 0xff, 0xff, 3, 2), ErrValue},
		{"empty range of units", unitsBody(1, 10, 5, 1, 2, 0, 0), ErrValue},
		{"more ranges of units than bytes", unitsBody(1, 10, 5, 200, 1, 2, 0), ErrTruncated},
		{"257 ranges of units", unitsBody(1, 10, 5, 0x81, 2), ErrValue},
		{"answer that is neither yes nor no", []byte{13, 9, 0, 0, 0, 1, 7, 2, 0, 0, 0}, ErrValue},
		{"roster of 65", []byte{15, 1, 65}, ErrValue},
		{"roster longer than its body", []byte{15, 3, 2, 0, 0}, ErrTruncated},
		{"rule over 16 bits", []byte{1, 17, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1, 0x80, 0x80, 0x04, 0}, ErrValue},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, rest, err := Decode(tt.in)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, %v, want %v", m, err, tt.want)
			}
			if (rest != nil) != (tt.want == ErrUnknown) {
				t.Fatalf("rest %v with %v", rest, err)
			}
		})
	}
}

// unitsBody is a Units whose bytes from Took on are given.
func unitsBody(tail ...byte) []byte {
	body := append(make([]byte, 24), tail[0], 0) // up to Sum, then Took and flags
	body = append(body, tail[1:]...)
	return append([]byte{12, byte(len(body))}, body...)
}

// Text that is too long is cut between characters, never inside one.
func TestLongTextIsCutAtACharacter(t *testing.T) {
	b := Append(nil, JoinRefused{Reason: strings.Repeat("é", 200)})
	m, _, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.(JoinRefused).Reason; got != strings.Repeat("é", 127) {
		t.Fatalf("%d bytes: %q", len(got), got)
	}
}

var sampleKey = packet.FlowKey{
	Src: packet.Addr{10, 1, 2, 3}, Dst: packet.Addr{192, 0, 2, 80}, SrcPort: 40000, DstPort: 443, Proto: packet.ProtoTCP,
}

var sampleClaim = Claim{Conn: Conn{Key: sampleKey, Gen: 1, In: 1, Out: 2, State: 3, Flags: ConnSync, Rule: 300, Timeout: 3600}}

func TestCL8SizesOfStateMessages(t *testing.T) {
	udp := sampleClaim
	udp.Conn.Key.Proto, udp.Conn.State, udp.Conn.Flags, udp.Conn.Timeout = packet.ProtoUDP, 0, 0, 120
	shifted := sampleClaim
	shifted.Conn.SeqDelta = 0x12345678
	tests := []struct {
		name string
		m    Message
		max  int
	}{
		{"tcp claim", sampleClaim, 27},
		{"its answer", Granted{Serial: 1, Bound: true}, 6},
		{"claim that binds", Claim{Conn: boundConn}, len(Append(nil, Claim{Conn: sampleTranslated}))},
		{"close of both keys", Close{Key: sampleKey, Reply: sampleTranslated.Reply, Gen: 1}, 23},
		{"tcp claim with shifted sequence numbers", shifted, 31},
		{"udp claim", udp, 24},
		{"update", Update{Conn: sampleClaim.Conn}, 28},
		{"close", Close{Key: sampleKey, Gen: 1}, 16},
		{"close of an old connection", Close{Key: sampleKey, Gen: 1 << 20}, 20},
		{"query", Query{Key: sampleKey}, 15},
		{"owner", Owner{Key: sampleKey, Owner: 3, Gen: 1}, 17},
	}
	for _, tt := range tests {
		n := len(Append(nil, tt.m))
		t.Logf("%-28s %2d bytes", tt.name, n)
		if n > tt.max {
			t.Errorf("%s takes %d bytes, more than %d", tt.name, n, tt.max)
		}
	}
}

// countHandler touches every state message without keeping it.
type countHandler struct {
	HandlerFunc
	n int
}

func (h *countHandler) HandleClaim(netip.Addr, *Claim) { h.n++ }
func (h *countHandler) HandleClose(netip.Addr, *Close) { h.n++ }

func TestStateMessagesCostNoAllocation(t *testing.T) {
	b := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		b = Append(b[:0], sampleClaim)
		b = Append(b, Close{Key: sampleKey, Gen: 7})
	}); n != 0 {
		t.Errorf("append: %v allocations", n)
	}
	d, h := new(Decoder), new(countHandler)
	if n := testing.AllocsPerRun(100, func() {
		if err := d.Batch(netip.Addr{}, b, h); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("decode: %v allocations", n)
	}
	if h.n != 2*101 {
		t.Errorf("handled %d messages", h.n)
	}
}

func BenchmarkAppendClaim(b *testing.B) {
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], sampleClaim)
	}
}

func BenchmarkDecodeClaim(b *testing.B) {
	buf := Append(nil, sampleClaim)
	d, h := new(Decoder), new(countHandler)
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Batch(netip.Addr{}, buf, h); err != nil {
			b.Fatal(err)
		}
	}
}

// namesOf is a Join whose list of interfaces says that it has n names.
func namesOf(n byte) []byte {
	b := Append(nil, Join{})
	b[len(b)-20] = n // two checksums of configurations and an empty tier follow
	return b
}
