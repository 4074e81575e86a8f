package ccl

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"cohort/ccl/seal"
	"cohort/ccl/wire"
)

// sampleMessages returns a message of every type that has a name: those of the
// golden file. A new type without a sample fails here.
func sampleMessages(t *testing.T) (list []wire.Message) {
	t.Helper()
	golden, err := os.ReadFile("wire/testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	missing := map[wire.Type]bool{}
	for n := 1; n < 256; n++ {
		if typ := wire.Type(n); typ.String() != fmt.Sprintf("type-%d", n) {
			missing[typ] = true
		}
	}
	for line := range strings.Lines(string(golden)) {
		b, err := hex.DecodeString(strings.Fields(line)[1])
		if err != nil {
			t.Fatal(err)
		}
		m, _, err := wire.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		delete(missing, m.Type())
		list = append(list, m)
	}
	if len(missing) > 0 {
		t.Fatalf("no sample in wire/testdata/golden.txt of %v: they would not be attacked with", missing)
	}
	return list
}

// theatre is three members that know each other; a has sent b one message that
// has not arrived, and everything else was told before.
type theatre struct {
	*world
	a, b, c *node
	genuine []byte // from a, for b alone
	before  seal.Counters
	sent    int // by b
}

func newTheatre(t *testing.T, m wire.Message) *theatre {
	w := newWorld(t, 1, 3)
	w.meet()
	s := &theatre{world: w, a: w.nodes[0], b: w.nodes[1], c: w.nodes[2]}
	w.tap = func(from, to netip.Addr, b []byte) {
		if from == s.a.addr && s.genuine == nil {
			s.genuine = b
		}
	}
	// The payload of a batch: so every type goes the same way, a probe too.
	s.a.emit(s.b.addr, wire.Append([]byte{kindDatagram}, m), s.a.cfg.OutputControl)
	w.air = nil
	w.tap = func(from, _ netip.Addr, _ []byte) {
		if from == s.b.addr {
			s.sent++
		}
	}
	s.quiet()
	return s
}

// quiet forgets what b has heard and counted so far.
func (s *theatre) quiet() {
	for _, n := range s.nodes {
		n.got, n.from, n.heard, n.resets = nil, nil, 0, 0
	}
	s.before, s.sent = s.b.Counters().Seal, 0
}

// unmoved checks that what b was shown changed nothing, that b said nothing but
// challenges, and that all of it was counted under one reason.
func (s *theatre) unmoved(t *testing.T, attack string, want seal.Reason, shown, challenges int) {
	t.Helper()
	for r, n := range s.b.Counters().Seal {
		switch got := n - s.before[r]; {
		case seal.Reason(r) == want && got != uint64(shown):
			t.Errorf("%s: %d counted as %v, want %d", attack, got, want, shown)
		case seal.Reason(r) != want && got != 0:
			t.Errorf("%s: %d counted as %v, want %v", attack, got, seal.Reason(r), want)
		}
	}
	b := s.b
	if len(b.got) > 0 || b.heard > 0 || b.resets > 0 || s.sent != challenges {
		t.Errorf("%s: delivered %v, heard %d, reset %d, answered %d", attack, b.got, b.heard, b.resets, s.sent)
	}
	if p := b.Peers(); !slices.Equal(p, []netip.Addr{s.a.addr, s.c.addr}) && !slices.Equal(p, []netip.Addr{s.c.addr, s.a.addr}) {
		t.Errorf("%s: peers %v", attack, p)
	}
	if c := b.Counters(); c.Malformed+c.BadMessages+c.UnknownMessages != 0 {
		t.Errorf("%s: taken to pieces: %+v", attack, c)
	}
	s.quiet()
}

func (s *theatre) show(from netip.Addr, datagrams ...[]byte) {
	for _, d := range datagrams {
		s.b.Receive(s.now, from, d)
	}
}

// sealedBy makes what an outsider who knows the format, but not the key, sends
// in the name of an address.
func sealedBy(t *testing.T, s *theatre, key seal.Key, as netip.Addr, m wire.Message) []byte {
	t.Helper()
	sealer, err := seal.New(seal.Config{Local: as, Keys: []seal.Key{key}, Rand: s.rnd})
	if err != nil {
		t.Fatal(err)
	}
	return sealer.Seal(nil, s.b.addr, wire.Append([]byte{kindDatagram}, m))
}

// CL4: messages of every type, forged in every way, change nothing and are
// counted each under its own reason; after all of it the genuine one is taken.
func TestCL4EveryTypeOfMessageIsRefusedFromOutside(t *testing.T) {
	for i, m := range sampleMessages(t) {
		t.Run(fmt.Sprintf("%v-%d", m.Type(), i), func(t *testing.T) {
			s := newTheatre(t, m)
			g := s.genuine
			stranger := netip.MustParseAddr("10.99.0.77")

			s.show(stranger, g)
			s.unmoved(t, "spoofed: under a non-member's address", seal.BadTag, 1, 0)
			s.show(s.c.addr, g)
			s.unmoved(t, "spoofed: under another member's address", seal.BadTag, 1, 0)
			s.show(s.b.addr, g)
			s.unmoved(t, "reflected", seal.Reflected, 1, 0)

			guess := seal.Key{ID: clusterKey.ID, Secret: [32]byte{9}}
			old := seal.Key{ID: clusterKey.ID + 1, Secret: clusterKey.Secret}
			for _, from := range []netip.Addr{stranger, s.a.addr} {
				s.show(from, sealedBy(t, s, guess, from, m))
				s.unmoved(t, "sealed under a guessed key", seal.BadTag, 1, 0)
				s.show(from, sealedBy(t, s, old, from, m))
				s.unmoved(t, "sealed under a key of another id", seal.UnknownKey, 1, 0)
			}

			clear := wire.Append([]byte{kindDatagram}, m)
			s.show(s.a.addr, append(make([]byte, 64), clear...)) // version 0
			s.unmoved(t, "not sealed at all", seal.BadVersion, 1, 0)

			for n := range g {
				s.show(s.a.addr, g[:n])
				want := seal.BadTag
				if n < seal.Overhead+1 {
					want = seal.Truncated
				}
				s.unmoved(t, fmt.Sprintf("truncated to %d of %d bytes", n, len(g)), want, 1, 0)
			}
			for _, more := range []int{1, 16, 1500, 60_000} {
				s.show(s.a.addr, append(slices.Clone(g), make([]byte, more)...))
				s.unmoved(t, fmt.Sprintf("oversized by %d bytes", more), seal.BadTag, 1, 0)
			}
			for at := range g {
				for bit := range 8 {
					bad := slices.Clone(g)
					bad[at] ^= 1 << bit
					want := seal.BadTag
					switch {
					case at == 0 && bit > 0: // bit 0 is the broadcast flag
						want = seal.BadVersion
					case at == 1:
						want = seal.UnknownKey
					}
					s.show(s.a.addr, bad)
					if lower(bad, g) && s.b.Counters().Seal[seal.Replay] > s.before[seal.Replay] {
						want = seal.Replay // one that b has seen: refused before the tag is looked at
					}
					s.unmoved(t, fmt.Sprintf("byte %d bit %d mutated", at, bit), want, 1, 0)
				}
			}

			s.show(s.a.addr, g)
			if len(s.b.got) != btoi(m.Type() != wire.TypeProbe) || s.b.heard != 1 {
				t.Fatalf("the genuine message is refused: got %v, %v", s.b.got, s.b.Counters().Seal)
			}
			s.quiet()
			s.show(s.a.addr, g, g, g)
			s.unmoved(t, "replayed", seal.Replay, 3, 0)
		})
	}
}

// lower reports whether a datagram has a lower counter than another one.
func lower(a, b []byte) bool { return bytes.Compare(a[11:seal.HeaderSize], b[11:seal.HeaderSize]) < 0 }

// CL4: what was recorded is refused by the next life of the receiver until the
// sender has proved that it is alive, and by everybody after the sender's next
// life has; a member that has an old key only is refused as well (CL10).
func TestCL4EveryTypeOfMessageIsRefusedFromAnotherLife(t *testing.T) {
	for i, m := range sampleMessages(t) {
		t.Run(fmt.Sprintf("%v-%d", m.Type(), i), func(t *testing.T) {
			s := newTheatre(t, m)
			g := s.genuine
			tap := s.tap
			s.tap = nil
			s.boot(0)
			s.meet()
			s.tap = tap
			s.quiet()
			s.show(s.a.addr, g)
			s.unmoved(t, "of a life that is over", seal.StaleSession, 1, 0)

			s.boot(1)
			s.show(s.a.addr, g)
			if n := len(s.b.Peers()); n != 0 {
				t.Errorf("a recording made %d peers", n)
			}
			if c := s.b.Counters().Seal; c[seal.Unproven] != 1 || len(s.b.got)+s.b.heard != 0 || s.sent != 1 {
				t.Errorf("after a restart: %v, got %v, heard %d, answered %d", c, s.b.got, s.b.heard, s.sent)
			}

			s = newTheatre(t, m)
			fresh := seal.Key{ID: clusterKey.ID + 1, Secret: [32]byte{7}}
			if err := s.b.sealer.SetKeys([]seal.Key{fresh}); err != nil {
				t.Fatal(err)
			}
			s.show(s.a.addr, s.genuine)
			s.unmoved(t, "from a member with an old key", seal.UnknownKey, 1, 0)
		})
	}
}
