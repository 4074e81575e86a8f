package ccl

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"cohort/ccl/seal"
	"cohort/ccl/wire"
)

// attacker hears every datagram on the link and injects what it likes, but has
// no key.
type attacker struct {
	w        *world
	recorded []flying
}

func (a *attacker) tap(from, to netip.Addr, b []byte) {
	a.recorded = append(a.recorded, flying{from: from, to: to, b: b})
}

// inject puts one datagram in front of a node, under any source address.
func (a *attacker) inject(t *rapid.T) {
	if len(a.recorded) == 0 {
		return
	}
	pick := func(label string) netip.Addr { return a.w.nodes[rapid.IntRange(0, 2).Draw(t, label)].addr }
	f := a.recorded[rapid.IntRange(0, len(a.recorded)-1).Draw(t, "record")]
	b := append([]byte(nil), f.b...)
	from, to := f.from, f.to
	if !to.IsValid() {
		to = pick("to")
	}
	switch rapid.IntRange(0, 5).Draw(t, "attack") {
	case 0: // replay as it was
	case 1:
		b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	case 2:
		b = b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]
	case 3:
		from = pick("from")
	case 4:
		to = pick("to")
	case 5:
		from = netip.AddrFrom4([4]byte{10, 99, 9, byte(rapid.IntRange(0, 255).Draw(t, "stranger"))})
	}
	a.w.air = append(a.w.air, flying{a.w.now + a.w.rnd.Int63n(200_000), from, to, b})
}

// CL4: with an attacker that replays, mutates, truncates, misdirects and spoofs
// at will, across restarts of the nodes, the members' conversation is what it
// would have been: each message once, in order, and no peer believed to have
// restarted that has not.
func TestCL4AttackerOnTheLinkChangesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, rapid.Int64().Draw(rt, "seed"), 3)
		evil := &attacker{w: w}
		w.tap = evil.tap
		heartbeats := 0
		for life := range 3 {
			w.meet()
			sent := map[[2]netip.Addr]uint32{}
			for _, n := range w.nodes {
				n.resets = 0
			}
			for range rapid.IntRange(1, 40).Draw(rt, "ops") {
				for range rapid.IntRange(0, 3).Draw(rt, "attacks") {
					evil.inject(rt)
				}
				a, b := w.nodes[rapid.IntRange(0, 2).Draw(rt, "a")], w.nodes[rapid.IntRange(0, 2).Draw(rt, "b")]
				if a == b {
					heartbeats++
					_ = a.Datagram(w.now, netip.Addr{}, wire.Heartbeat{Epoch: uint32(heartbeats)})
				} else {
					a.mustSend(b, wire.Synced{View: sent[[2]netip.Addr{a.addr, b.addr}]})
					sent[[2]netip.Addr{a.addr, b.addr}]++
				}
				w.flush()
				w.step()
			}
			w.settle()
			checkConversation(rt, w, sent)
			w.boot(life) // and everything recorded is of a former life
		}
	})
}

func checkConversation(t *rapid.T, w *world, sent map[[2]netip.Addr]uint32) {
	for _, n := range w.nodes {
		next := map[netip.Addr]uint32{}
		beats := map[uint32]bool{}
		for i, m := range n.got {
			switch m := m.(type) {
			case wire.Synced:
				if m.View != next[n.from[i]] {
					t.Fatalf("%v got %d from %v, want %d", n.addr, m.View, n.from[i], next[n.from[i]])
				}
				next[n.from[i]]++
			case wire.Heartbeat:
				if beats[m.Epoch] {
					t.Fatalf("%v heard heartbeat %d twice", n.addr, m.Epoch)
				}
				beats[m.Epoch] = true
			}
		}
		for _, p := range w.nodes {
			if want := sent[[2]netip.Addr{p.addr, n.addr}]; next[p.addr] != want {
				t.Fatalf("%v got %d messages of %d from %v", n.addr, next[p.addr], want, p.addr)
			}
		}
		if n.resets != 0 {
			t.Fatalf("%v believes in %d restarts", n.addr, n.resets)
		}
		if len(n.Peers()) != 2 {
			t.Fatalf("%v knows %v", n.addr, n.Peers())
		}
		if c := n.Counters(); c.Malformed+c.BadMessages != 0 {
			t.Fatalf("%v took a forgery to pieces: %+v", n.addr, c)
		}
	}
}

// Every refusal is counted under its name at the Endpoint too.
func TestCL4EndpointCountsRefusals(t *testing.T) {
	w := newWorld(t, 1, 3)
	var last []byte
	w.tap = func(_, _ netip.Addr, b []byte) { last = b }
	w.meet()
	a, b := w.nodes[0], w.nodes[1]
	a.mustSend(b, wire.Query{})
	w.settle()
	a.mustSend(b, wire.Query{})
	a.Flush(w.now)
	genuine := last
	w.settle()
	before := b.Counters().Seal
	messages := len(b.got)
	mutated := append([]byte(nil), genuine...)
	mutated[len(mutated)-1] ^= 1
	mutated[17] ^= 0x40                        // and not a counter that was seen
	b.Receive(w.now, a.addr, genuine)          // replayed
	b.Receive(w.now, a.addr, mutated)          // mutated
	b.Receive(w.now, a.addr, genuine[:20])     // truncated
	b.Receive(w.now, w.nodes[2].addr, genuine) // spoofed
	w.boot(0)                                  // a new session of a
	w.meet()                                   // proves itself
	b.Receive(w.now, a.addr, genuine)          // of the old session
	after := b.Counters().Seal
	for r, want := range map[seal.Reason]uint64{seal.Replay: 1, seal.BadTag: 2, seal.Truncated: 1, seal.StaleSession: 1} {
		if got := after[r] - before[r]; got != want {
			t.Errorf("%v: counted %d, want %d", r, got, want)
		}
	}
	if len(b.got) != 0 || messages != 2 {
		t.Errorf("delivered %v", b.got)
	}
}
