package translate

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"cohort/ccl/wire"
	"cohort/cluster/ownership"
	"cohort/nat"
	"cohort/packet"
)

const (
	inside  = 1
	outside = 2
	second  = int64(1e9)
)

// world is a Translator with everything around it: units that come when they
// are wanted, and a director that grants a host so many blocks.
type world struct {
	t       *testing.T
	tr      *Translator
	ports   *nat.Ports
	wanted  int
	may     int
	asked   int
	release int
	lines   []bool
}

func (w *world) Order(int) (a, b, c wire.NodeID) { return 1, 2, 3 }
func (w *world) Apart() bool                     { return false }
func (w *world) Held(u int) bool                 { return w.ports.Held(u) }
func (w *world) Want(int, int)                   { w.wanted++ }
func (w *world) Release(int, packet.Addr)        { w.release++ }
func (w *world) Ask(pool int, host packet.Addr) {
	w.asked++
	w.tr.HostAnswer(int64(w.asked), pool, host, w.asked <= w.may)
}

func newWorld(t *testing.T, cfg nat.Config) *world {
	t.Helper()
	rules, err := nat.Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ports: nat.NewPorts(rules.Geometry(), 0, rand.New(rand.NewPCG(1, 2)))}
	w.tr = New(rules, w.ports, w, w, func(_ int, _ packet.Addr, assigned bool) { w.lines = append(w.lines, assigned) })
	return w
}

func pool(p nat.Pool) []nat.Pool {
	p.Name, p.Addresses = "egress", []packet.Addr{{203, 0, 113, 10}}
	return []nat.Pool{p}
}

func free(packet.FlowKey) bool { return false }

func out(port uint16, proto uint8) packet.FlowKey {
	return packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: port, DstPort: 80, Proto: proto}
}

// Without a unit a connection waits and one is wanted; with one it gets a port,
// its own if that is free (RFC 4787: preservation).
func TestNT3_ShortOfPortsWantsAUnit(t *testing.T) {
	w := newWorld(t, nat.Config{Pools: pool(nat.Pool{}), Rules: []nat.Rule{{Name: "out", Type: nat.DynamicPAT, From: inside, To: outside, Pool: "egress", LogXlates: true}}})
	k := out(2000, packet.ProtoTCP)
	if _, _, r := w.tr.Source(0, inside, outside, k, k, 0, free); r != ownership.ReasonWait || w.wanted != 1 {
		t.Fatalf("%v, wanted %d units, want to wait for one", r, w.wanted)
	}
	// Nobody has one: that is believed for a while, and asked again.
	w.tr.UnitsAnswer(0, 0, 0)
	for now, want := range map[int64]ownership.Reason{0: ownership.ReasonNATPorts, refusedFor: ownership.ReasonWait} {
		if _, _, r := w.tr.Source(now, inside, outside, k, k, 0, free); r != want {
			t.Fatalf("%v after a refusal %d ns ago, want %v", r, now, want)
		}
	}
	if w.wanted != 2 {
		t.Fatalf("wanted %d times, want once more when the refusal is old", w.wanted)
	}
	u, _ := w.tr.Unit(packet.FlowKey{Dst: packet.Addr{203, 0, 113, 10}, DstPort: 2000, Proto: packet.ProtoTCP})
	w.ports.SetHeld(u, true)
	reply, logged, r := w.tr.Source(0, inside, outside, k, k, 0, free)
	if r != ownership.ReasonNone || !logged || reply.Dst != (packet.Addr{203, 0, 113, 10}) || reply.DstPort != 2000 || reply.Src != k.Dst {
		t.Fatalf("%v, logged %v, %v", reply, logged, r)
	}
}

// A refusal is counted for the pool that had no port, whichever was asked
// before.
func TestNT3_RefusalsAreCountedByPool(t *testing.T) {
	voice := nat.Pool{Name: "voice", Kind: nat.PoolAddresses, Addresses: []packet.Addr{{203, 0, 113, 20}}}
	w := newWorld(t, nat.Config{
		Pools: append(pool(nat.Pool{}), voice),
		Rules: []nat.Rule{
			{Name: "phones", Type: nat.Dynamic, From: inside, To: outside, Source: netip.MustParsePrefix("10.9.0.0/16"), Pool: "voice"},
			{Name: "out", Type: nat.DynamicPAT, From: inside, To: outside, Pool: "egress"},
		},
	})
	for pool := range 2 {
		w.tr.UnitsAnswer(0, pool, 0) // nobody has one
	}
	refuse := func(host packet.Addr) {
		k := out(2000, packet.ProtoTCP)
		k.Src = host
		r := ownership.ReasonNone
		if _, _, mapped := w.tr.Mapping(inside, outside, k, k); mapped {
			_, r = w.tr.Map(0, inside, outside, k, k, 0, free)
		} else {
			_, _, r = w.tr.Source(0, inside, outside, k, k, 0, free)
		}
		if r != ownership.ReasonNATPorts {
			t.Fatalf("%v: %v, want no port", host, r)
		}
		w.tr.Refused()
	}
	refuse(packet.Addr{10, 0, 0, 1})
	refuse(packet.Addr{10, 9, 0, 1})
	refuse(packet.Addr{10, 9, 0, 2})
	if e, v := w.tr.Refusals(0), w.tr.Refusals(1); e != 1 || v != 2 {
		t.Errorf("egress %d, voice %d refusals, want 1 and 2", e, v)
	}
}

// A static mapping is logged in both directions, and its mapped address without
// a rule for the port belongs to nobody.
func TestNT1_StaticBothWays(t *testing.T) {
	w := newWorld(t, nat.Config{Rules: []nat.Rule{{
		Name: "web", Type: nat.Static, From: inside, To: outside, LogXlates: true,
		Original: netip.MustParsePrefix("10.1.8.80/32"), Mapped: netip.MustParsePrefix("203.0.113.80/32"),
	}}})
	in := packet.FlowKey{Src: packet.Addr{192, 0, 2, 9}, Dst: packet.Addr{203, 0, 113, 80}, SrcPort: 999, DstPort: 80, Proto: packet.ProtoTCP}
	to, ok := w.tr.Destination(outside, in)
	if !ok || to.Dst != (packet.Addr{10, 1, 8, 80}) {
		t.Fatalf("leads to %v, %v", to, ok)
	}
	reply, logged, r := w.tr.Source(0, outside, inside, in, to, 0, free)
	if r != ownership.ReasonNone || !logged || reply != to.Reverse() {
		t.Fatalf("%v, logged %v, %v", reply, logged, r)
	}
	k := packet.FlowKey{Src: packet.Addr{10, 1, 8, 80}, Dst: packet.Addr{192, 0, 2, 9}, SrcPort: 80, DstPort: 999, Proto: packet.ProtoTCP}
	reply, logged, r = w.tr.Source(0, inside, outside, k, k, 0, free)
	if r != ownership.ReasonNone || !logged || reply.Dst != (packet.Addr{203, 0, 113, 80}) || reply.DstPort != 80 {
		t.Fatalf("%v, logged %v, %v", reply, logged, r)
	}
}

// A host gets blocks one by one as far as its director lets it; then it is
// refused by name. Blocks that it does not use go back, and each coming and
// going is one line (RFC 6888, REQ-12).
func TestNT6_BlocksOfAHost(t *testing.T) {
	w := newWorld(t, nat.Config{
		Pools: pool(nat.Pool{BlockSize: 64, MaxBlocksPerHost: 2}),
		Rules: []nat.Rule{{Name: "out", Type: nat.DynamicPAT, From: inside, To: outside, Pool: "egress"}},
	})
	w.may = 2
	for u := range 10 {
		w.ports.SetHeld(u, true)
	}
	used := map[packet.FlowKey]bool{}
	taken := func(k packet.FlowKey) bool { return used[k] }
	var replies []packet.FlowKey
	var last ownership.Reason
	for port := uint16(1); port <= 2*64+1; port++ {
		k := out(port, packet.ProtoUDP)
		for range 3 { // a packet that waits is tried again
			var reply packet.FlowKey
			if reply, _, last = w.tr.Source(1, inside, outside, k, k, 0, taken); last == ownership.ReasonNone {
				w.tr.Use(reply)
				used[reply] = true
				replies = append(replies, reply)
				break
			}
		}
	}
	if len(replies) != 2*64 || last != ownership.ReasonNATHost || len(w.lines) != 2 {
		t.Fatalf("%d connections, then %v; %d lines in the log", len(replies), last, len(w.lines))
	}
	for _, r := range replies {
		w.tr.Release(2, r, false)
	}
	w.tr.Tick(second / 2)
	if w.release != 0 {
		t.Fatal("a block went back although its packet may be on its way")
	}
	w.tr.Tick(3 * second)
	if w.release != 2 || len(w.lines) != 4 || w.lines[3] {
		t.Fatalf("%d blocks went back, log %v", w.release, w.lines)
	}
}

// What a rule makes mappings of, and the mapping that a packet from the other
// side belongs to.
func TestNT9_Mappings(t *testing.T) {
	w := newWorld(t, nat.Config{
		Pools: append(pool(nat.Pool{}), nat.Pool{Name: "direct", Kind: nat.PoolAddresses, Addresses: []packet.Addr{{203, 0, 113, 64}}}),
		Rules: []nat.Rule{
			{Name: "one", Type: nat.Dynamic, From: inside, To: outside, Source: netip.MustParsePrefix("10.2.0.0/16"), Pool: "direct"},
			{Name: "out", Type: nat.DynamicPAT, From: inside, To: outside, Pool: "egress", Mapping: nat.EndpointIndependent, Filtering: nat.EndpointIndependent},
		},
	})
	for u := range w.tr.geometry.Units() {
		w.ports.SetHeld(u, true)
	}
	k := out(2000, packet.ProtoUDP)
	m, flags, ok := w.tr.Mapping(inside, outside, k, k)
	if !ok || m != (packet.FlowKey{Src: k.Src, SrcPort: 2000, Proto: packet.ProtoUDP}) || flags != wire.ConnOpen {
		t.Fatalf("mapping %v, flags %x, %v", m, flags, ok)
	}
	reply, r := w.tr.Map(0, inside, outside, k, k, 0, free)
	back := packet.FlowKey{Src: packet.Addr{192, 0, 2, 77}, SrcPort: 5, Dst: reply.Dst, DstPort: reply.DstPort, Proto: packet.ProtoUDP}
	if got, ok := w.tr.Mapped(back); r != ownership.ReasonNone || !ok || got != reply {
		t.Fatalf("%v: mapped at %v, a packet there belongs to %v, %v", r, reply, got, ok)
	}
	k.Src = packet.Addr{10, 2, 0, 1}
	if m, flags, ok = w.tr.Mapping(inside, outside, k, k); !ok || m != (packet.FlowKey{Src: k.Src}) || flags != 0 {
		t.Fatalf("mapping of a host: %v, flags %x, %v", m, flags, ok)
	}
	reply, r = w.tr.Map(0, inside, outside, k, k, 0, free)
	back = packet.FlowKey{Src: packet.Addr{192, 0, 2, 77}, SrcPort: 5, Dst: reply.Dst, DstPort: 443, Proto: packet.ProtoTCP}
	if got, ok := w.tr.Mapped(back); r != ownership.ReasonNone || !ok || got != reply || reply != (packet.FlowKey{Dst: packet.Addr{203, 0, 113, 64}}) {
		t.Fatalf("%v: host mapped at %v, a packet there belongs to %v, %v", r, reply, got, ok)
	}
}

// A reload takes an address from its pool and gives another one a rule of its
// own. Packets to the first begin nothing any more; its mappings do not stand.
func TestNT7_AddressesThatWereAPools(t *testing.T) {
	compile := func(cfg nat.Config) *nat.Rules {
		t.Helper()
		r, err := nat.Compile(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, second := packet.Addr{203, 0, 113, 10}, packet.Addr{203, 0, 113, 11}
	out := nat.Rule{Name: "out", Type: nat.DynamicPAT, From: inside, To: outside, Pool: "egress"}
	both := nat.Config{Pools: []nat.Pool{{Name: "egress", Addresses: []packet.Addr{first, second, {203, 0, 113, 12}}}}, Rules: []nat.Rule{out}}
	w := newWorld(t, both)
	if w.tr.Recut(compile(both), 0, 0) {
		t.Error("the same pools have other units")
	}
	in := func(a packet.Addr) packet.FlowKey {
		return packet.FlowKey{Src: packet.Addr{192, 0, 2, 9}, Dst: a, SrcPort: 9, DstPort: 80, Proto: packet.ProtoUDP}
	}
	mapping := packet.FlowKey{Dst: first, DstPort: 6000, Proto: packet.ProtoUDP}
	if w.tr.Former(in(first)) || !w.tr.Stands(mapping) || w.tr.Stands(packet.FlowKey{Dst: first}) {
		t.Error("before the reload: an address is a former one, or a mapping of it does not stand, or one of a whole address does")
	}
	less := nat.Config{Pools: []nat.Pool{{Name: "egress", Addresses: []packet.Addr{{203, 0, 113, 12}}}}, Rules: []nat.Rule{out, {
		Name: "web", Type: nat.Static, From: inside, To: outside,
		Original: netip.MustParsePrefix("10.1.8.80/32"), Mapped: netip.MustParsePrefix("203.0.113.11/32"),
	}}}
	if !w.tr.Recut(compile(less), 0, 0) {
		t.Error("other pools have the same units")
	}
	if _, ok := w.tr.Destination(outside, in(first)); ok {
		t.Error("a packet to an address that was a pool's is routed on")
	}
	if to, ok := w.tr.Destination(outside, in(second)); !ok || to.Dst != (packet.Addr{10, 1, 8, 80}) {
		t.Errorf("an address that has a rule now leads to %v, %v", to, ok)
	}
	if !w.tr.Former(in(first)) || !w.tr.Former(in(first).Reverse()) || w.tr.Stands(mapping) {
		t.Error("after the reload: the address is no former one, or a mapping of it stands")
	}
	w.tr.Recut(compile(both), 0, 0)
	if w.tr.Former(in(first)) {
		t.Error("an address that is back is a former one")
	}
}

// The packet that met the old rules last meets the new ones when it is repeated.
func TestNT7_RepeatedPacketMeetsTheNewRules(t *testing.T) {
	rule := nat.Rule{Name: "out", Type: nat.DynamicPAT, From: inside, To: outside, Pool: "egress"}
	cfg := nat.Config{Pools: pool(nat.Pool{}), Rules: []nat.Rule{rule}}
	w := newWorld(t, cfg)
	k := packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 9}, SrcPort: 2000, DstPort: 80, Proto: packet.ProtoTCP}
	if !w.tr.Translates(inside, outside, k) {
		t.Fatal("not translated")
	}
	cfg.Rules = []nat.Rule{{Name: "not", Type: nat.Identity, From: inside, To: outside}, rule}
	rules, err := nat.Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.tr.Recut(rules, 0, 0)
	if w.tr.Translates(inside, outside, k) {
		t.Error("translated by a rule that is gone")
	}
}

// The bound of connections from outside is its pool's, and changes with the rules
// without numbering anything anew (NT7, NT9).
func TestNT9_MaxInboundIsThePools(t *testing.T) {
	cfg := nat.Config{Pools: []nat.Pool{
		{Name: "a", Addresses: []packet.Addr{{203, 0, 113, 10}}, MaxInbound: 7},
		{Name: "b", Addresses: []packet.Addr{{203, 0, 113, 11}}},
	}}
	w := newWorld(t, cfg)
	want := func(most [3]int) {
		t.Helper()
		for i, n := range most {
			if got := w.tr.MaxInbound(packet.FlowKey{Dst: packet.Addr{203, 0, 113, byte(10 + i)}, DstPort: 4001, Proto: packet.ProtoUDP}); got != n {
				t.Errorf("address %d: %d, want %d", i, got, n)
			}
		}
	}
	want([3]int{7, 0, 0})
	cfg.Pools[1].MaxInbound = 9
	rules, err := nat.Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if w.tr.Recut(rules, 0, 0) {
		t.Error("units are numbered anew")
	}
	want([3]int{7, 9, 0})
	for _, wrong := range []int{-1, nat.MaxMaxInbound + 1} {
		cfg.Pools[0].MaxInbound = wrong
		if _, err := nat.Compile(cfg); !errors.Is(err, nat.ErrConfig) {
			t.Errorf("%d: %v", wrong, err)
		}
	}
}
