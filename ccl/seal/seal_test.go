package seal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand"
	"net/netip"
	"testing"
)

var (
	addrA = netip.MustParseAddr("10.99.0.1")
	addrB = netip.MustParseAddr("10.99.0.2")
	addrC = netip.MustParseAddr("10.99.0.3")
	key1  = Key{ID: 1, Secret: [32]byte{1}}
	key2  = Key{ID: 2, Secret: [32]byte{2}}
)

var entropy = rand.New(rand.NewSource(1))

func newSealer(t testing.TB, local netip.Addr, keys ...Key) *Sealer {
	t.Helper()
	s, err := New(Config{Local: local, Keys: keys, Rand: entropy, Clear: len(keys) == 0})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t testing.TB, s *Sealer, now int64, from netip.Addr, b []byte, want Reason) Opened {
	t.Helper()
	before := s.Counters()
	o, r := s.Open(now, from, b)
	if r != want {
		t.Fatalf("%v, want %v", r, want)
	}
	before[want]++
	if s.Counters() != before {
		t.Fatalf("counters %v, want %v", s.Counters(), before)
	}
	return o
}

// prove makes s's session current at r.
func prove(t testing.TB, now int64, s, r *Sealer) {
	t.Helper()
	o := open(t, r, now, s.local, s.Seal(nil, r.local, []byte{1}), Unproven)
	ch := r.Seal(nil, s.local, o.Challenge)
	o, _ = s.Open(now, r.local, ch)
	if o = open(t, r, now, s.local, s.Seal(nil, r.local, o.Response), Handshake); !o.Proved {
		t.Fatal("session did not prove itself")
	}
}

func TestSealedPayloadArrives(t *testing.T) {
	for name, keys := range map[string][]Key{"sealed": {key1}, "clear": nil} {
		t.Run(name, func(t *testing.T) {
			a, b := newSealer(t, addrA, keys...), newSealer(t, addrB, keys...)
			prove(t, 0, a, b)
			payload := append([]byte{1}, "hello"...)
			d := a.Seal([]byte("in front"), addrB, payload)[len("in front"):]
			if len(d) != len(payload)+a.Overhead() {
				t.Errorf("%d bytes for %d", len(d), len(payload))
			}
			if o := open(t, b, 0, addrA, d, Accepted); !bytes.Equal(o.Payload, payload) {
				t.Errorf("got %q", o.Payload)
			}
			open(t, b, 0, addrA, a.Seal(nil, netip.Addr{}, payload), Accepted) // broadcast
			if name == "sealed" && bytes.Contains(d, []byte("hello")) {
				t.Error("payload in clear")
			}
		})
	}
}

// CL4: every attack is refused under its own name and changes nothing.
func TestCL4AttacksAreRefusedByName(t *testing.T) {
	a, b, c := newSealer(t, addrA, key1), newSealer(t, addrB, key1), newSealer(t, addrC, key1)
	evil := newSealer(t, addrA, Key{ID: 1, Secret: [32]byte{9}})
	prove(t, 0, a, b)
	prove(t, 0, a, c)
	msg := []byte{1, 2, 3}
	seen := a.Seal(nil, addrB, msg)
	open(t, b, 0, addrA, seen, Accepted)
	fresh := func() []byte { return a.Seal(nil, addrB, msg) }
	change := func(i int, v byte) []byte { d := fresh(); d[i] ^= v; return d }
	tests := []struct {
		name string
		from netip.Addr
		d    []byte
		want Reason
	}{
		{"nothing", addrA, nil, Truncated},
		{"header only", addrA, fresh()[:HeaderSize], Truncated},
		{"empty payload", addrA, a.Seal(nil, addrB, nil), Truncated},
		{"last byte missing", addrA, fresh()[:Overhead+len(msg)-1], BadTag},
		{"replayed", addrA, seen, Replay},
		{"spoofed source", addrC, fresh(), BadTag},
		{"our own address", addrB, fresh(), Reflected},
		{"meant for another member", addrA, a.Seal(nil, addrC, msg), BadTag},
		{"unicast passed off as broadcast", addrA, change(0, flagBroadcast), BadTag},
		{"other version", addrA, change(0, 0x20), BadVersion},
		{"unknown flag", addrA, change(0, 0x04), BadVersion},
		{"unknown key id", addrA, change(1, 0x10), UnknownKey},
		{"format changed", addrA, change(2, 1), BadTag},
		{"session changed", addrA, change(3, 1), BadTag},
		{"counter raised", addrA, change(12, 1), BadTag},
		{"payload mutated", addrA, change(HeaderSize, 1), BadTag},
		{"tag mutated", addrA, change(HeaderSize+len(msg), 1), BadTag},
		{"other cluster key", addrA, evil.Seal(nil, addrB, msg), BadTag},
		{"response nobody asked for", addrA, a.Seal(nil, addrB, append([]byte{KindResponse}, make([]byte, nonceSize)...)), BadHandshake},
		{"short response", addrA, a.Seal(nil, addrB, []byte{KindResponse, 1}), BadHandshake},
		{"challenge of another session", addrA, a.Seal(nil, addrB, append([]byte{KindChallenge}, make([]byte, challengeSize-1)...)), BadHandshake},
		{"short challenge", addrA, a.Seal(nil, addrB, []byte{KindChallenge, 1}), BadHandshake},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := open(t, b, 0, tt.from, tt.d, tt.want)
			if o.Payload != nil || o.Response != nil || o.Challenge != nil || o.Proved || o.Resend {
				t.Errorf("refused, and yet %+v", o)
			}
		})
	}
	open(t, b, 0, addrA, fresh(), Accepted)
	if n := b.count.Refused(); n != uint64(len(tests))+1 { // and the first, unproven
		t.Errorf("%d refusals counted, %d made", n, len(tests)+1)
	}
}

// Everything recorded of a former life stays refused, its handshake included.
func TestCL4OldSessionCannotBeReplayed(t *testing.T) {
	old, b := newSealer(t, addrA, key1), newSealer(t, addrB, key1)
	var recorded [][]byte
	record := func(d []byte) []byte { recorded = append(recorded, d); return d }
	o := open(t, b, 0, addrA, record(old.Seal(nil, addrB, []byte{1})), Unproven)
	o, _ = old.Open(0, addrB, b.Seal(nil, addrA, o.Challenge))
	open(t, b, 0, addrA, record(old.Seal(nil, addrB, o.Response)), Handshake)
	open(t, b, 0, addrA, record(old.Seal(nil, addrB, []byte{1, 1})), Accepted)
	unseen := record(old.Seal(nil, addrB, []byte{1, 2})) // never delivered
	_ = unseen

	// The peer restarts: the receiver knows the old session as dead.
	prove(t, 1e9, newSealer(t, addrA, key1), b)
	for _, d := range recorded {
		open(t, b, 1e9, addrA, d, StaleSession)
	}

	// The receiver restarts: it knows nothing, and asks in vain.
	b2 := newSealer(t, addrB, key1)
	for _, d := range recorded {
		o, r := b2.Open(2e9, addrA, d)
		if r != Unproven && r != BadHandshake || o.Payload != nil || o.Proved {
			t.Errorf("%v %+v", r, o)
		}
	}
	if b2.peers[addrA].current != nil {
		t.Error("a recording became current")
	}
}

// A living session's datagrams from before its proof are refused too.
func TestCL4RecordingIsNotNewToARestartedReceiver(t *testing.T) {
	a, b := newSealer(t, addrA, key1), newSealer(t, addrB, key1)
	prove(t, 0, a, b)
	d := a.Seal(nil, addrB, []byte{1})
	open(t, b, 0, addrA, d, Accepted)
	b = newSealer(t, addrB, key1)
	prove(t, 1, a, b)
	open(t, b, 1, addrA, d, Replay)
}

// The answer of a dead session that arrives behind its successor's is too late.
func TestLateResponseDoesNotReviveADeadSession(t *testing.T) {
	a1, b := newSealer(t, addrA, key1), newSealer(t, addrB, key1)
	o := open(t, b, 10, addrA, a1.Seal(nil, addrB, []byte{1}), Unproven)
	o, _ = a1.Open(20, addrB, b.Seal(nil, addrA, o.Challenge))
	late := a1.Seal(nil, addrB, o.Response)
	a2 := newSealer(t, addrA, key1)
	prove(t, 30, a2, b)
	open(t, b, 40, addrA, late, StaleSession)
	open(t, b, 50, addrA, a2.Seal(nil, addrB, []byte{1}), Accepted)
}

func TestNonceExpires(t *testing.T) {
	a, b := newSealer(t, addrA, key1), newSealer(t, addrB, key1)
	o := open(t, b, 0, addrA, a.Seal(nil, addrB, []byte{1}), Unproven)
	o, _ = a.Open(0, addrB, b.Seal(nil, addrA, o.Challenge))
	open(t, b, nonceLife+1, addrA, a.Seal(nil, addrB, o.Response), BadHandshake)
}

// A nonce is good for the session that it was made for and for no other one.
func TestNonceBelongsToOneSession(t *testing.T) {
	a, other, b := newSealer(t, addrA, key1), newSealer(t, addrA, key1), newSealer(t, addrB, key1)
	o := open(t, b, 0, addrA, a.Seal(nil, addrB, []byte{1}), Unproven)
	answer := append([]byte{KindResponse}, o.Challenge[9:]...)
	open(t, b, 0, addrA, other.Seal(nil, addrB, answer), BadHandshake)
}

// A replayed challenge is answered, which is worth nothing, but cannot make us
// send anything else; both are rationed.
func TestChallengesAndResponsesAreRationed(t *testing.T) {
	a, b := newSealer(t, addrA, key1), newSealer(t, addrB, key1)
	challenges, responses := 0, 0
	old := newSealer(t, addrA, key1)
	asked := binary.BigEndian.AppendUint64([]byte{KindChallenge}, b.session)
	asked = append(asked, make([]byte, nonceSize)...)
	for range 1000 {
		o := open(t, b, 0, addrA, a.Seal(nil, addrB, []byte{1}), Unproven)
		challenges += len(o.Challenge) / challengeSize
		o = open(t, b, 0, addrA, old.Seal(nil, addrB, asked), Handshake)
		responses += len(o.Response) / responseSize
		challenges += len(o.Challenge) / challengeSize
		if o.Resend {
			t.Fatal("an unproven session makes us send again")
		}
	}
	if challenges != replyBurst || responses != replyBurst {
		t.Errorf("%d challenges and %d responses at one moment, want %d", challenges, responses, replyBurst)
	}
	prove(t, 1e9, a, b) // and later it is quiet again
}

func TestStateIsBounded(t *testing.T) {
	b := newSealer(t, netip.MustParseAddr("10.98.0.1"), key1)
	for i := range MaxPeers + 50 {
		from := netip.AddrFrom4([4]byte{10, 99, byte(i >> 8), byte(i)})
		want := Unproven
		if i >= MaxPeers {
			want = TooManyPeers
		}
		open(t, b, 0, from, newSealer(t, from, key1).Seal(nil, b.local, []byte{1}), want)
	}
	forged := newSealer(t, addrA, Key{ID: 1})
	for i := range 100 {
		from := netip.AddrFrom4([4]byte{10, 97, 0, byte(i)})
		open(t, b, 0, from, forged.Seal(nil, b.local, []byte{1}), BadTag)
	}
	if len(b.peers) != MaxPeers {
		t.Errorf("%d peers", len(b.peers))
	}
}

// CL10: the key changes under a session without ending it.
func TestCL10KeyRotationKeepsTheSession(t *testing.T) {
	a, b := newSealer(t, addrA, key1), newSealer(t, addrB, key1)
	prove(t, 0, a, b)
	say := func(want Reason) {
		t.Helper()
		open(t, b, 0, addrA, a.Seal(nil, addrB, []byte{1}), want)
	}
	set := func(s *Sealer, keys ...Key) {
		t.Helper()
		if err := s.SetKeys(keys); err != nil {
			t.Fatal(err)
		}
		if s == b {
			say(Accepted)
		}
	}
	under := func(want uint8) {
		t.Helper()
		say(Accepted)
		if id, ok := b.PeerKey(addrA); !ok || id != want {
			t.Errorf("a seals under %d (%v), want %d", id, ok, want)
		}
	}
	if _, ok := b.PeerKey(addrA); ok {
		t.Error("the key of a peer is known that has not said a word")
	}
	set(b, key1, key2)
	set(a, key1, key2)
	under(key1.ID)
	set(a, key2, key1)
	under(key2.ID)
	set(b, key2, key1)
	set(b, key2)
	old := a
	set(old, key1)
	say(UnknownKey)
	set(old, Key{ID: 2, Secret: key1.Secret})
	say(BadTag)
}

func TestConfigurationIsChecked(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg  Config
		want error
	}{
		"no key":        {Config{Local: addrA, Rand: entropy}, ErrNoKey},
		"three keys":    {Config{Local: addrA, Rand: entropy, Keys: []Key{key1, key2, {ID: 3}}}, ErrTooManyKeys},
		"one id twice":  {Config{Local: addrA, Rand: entropy, Keys: []Key{key1, key1}}, ErrDuplicateKey},
		"no address":    {Config{Rand: entropy, Keys: []Key{key1}}, nil},
		"no randomness": {Config{Local: addrA, Keys: []Key{key1}}, nil},
		"no entropy":    {Config{Local: addrA, Rand: bytes.NewReader(nil), Keys: []Key{key1}}, nil},
		"clear key":     {Config{Local: addrA, Rand: entropy, Clear: true, Keys: []Key{key1}}, nil},
	} {
		if _, err := New(tt.cfg); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenDoesNotAllocate(t *testing.T) {
	a, b := newSealer(t, addrA, key1), newSealer(t, addrB, key1)
	prove(t, 0, a, b)
	payload, d := make([]byte, 1400), make([]byte, 0, 1500)
	payload[0] = 1
	if n := testing.AllocsPerRun(100, func() {
		d = a.Seal(d[:0], addrB, payload)
		if _, r := b.Open(0, addrA, d); r != Accepted {
			t.Fatal(r)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// No datagram that was not sealed is ever accepted, and none is a panic.
func FuzzOpen(f *testing.F) {
	a := newSealer(f, addrA, key1)
	f.Add(a.Seal(nil, addrB, []byte{1, 2, 3}))
	f.Add(make([]byte, 60))
	f.Fuzz(func(t *testing.T, d []byte) {
		for _, keys := range [][]Key{{key1}, nil} {
			s := newSealer(t, addrB, keys...)
			if _, r := s.Open(1, addrA, d); r == Accepted {
				t.Fatalf("accepted %x", d)
			}
		}
	})
}

func BenchmarkSealOpen1400(b *testing.B) {
	s, r := newSealer(b, addrA, key1), newSealer(b, addrB, key1)
	prove(b, 0, s, r)
	payload, d := make([]byte, 1400), make([]byte, 0, 1500)
	payload[0] = 1
	b.ReportAllocs()
	for b.Loop() {
		d = s.Seal(d[:0], addrB, payload)
		if _, reason := r.Open(0, addrA, d); reason != Accepted {
			b.Fatal(reason)
		}
	}
}

// The bytes of a sealed datagram, handshakes and payload, are fixed: nodes of
// different versions share a link.
func TestGoldenDatagram(t *testing.T) {
	seed := bytes.Repeat([]byte{0x11}, 8+32)
	a, err := New(Config{Local: addrA, Keys: []Key{key1}, Format: 4, Rand: bytes.NewReader(seed)})
	if err != nil {
		t.Fatal(err)
	}
	const want = "" +
		"21" + "01" + "04" + "1111111111111111" + "0000000000000001" + // version 2, broadcast, key 1, format 4, session, counter
		"e6dc73406c24bcb405c4b1213a6b433b16213225b8eb"
	if got := hex.EncodeToString(a.Seal(nil, netip.Addr{}, []byte("\x01hello"))); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
