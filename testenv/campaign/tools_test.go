package campaign

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cohort/api"
	"cohort/cluster/sequence"
	"cohort/packet"
	"cohort/packet/packettest"
	"cohort/testenv/topology"
)

func TestBits_AreASet(t *testing.T) {
	var b bits
	for _, n := range []uint64{0, 63, 64, 1000, 5} {
		if !b.add(n) {
			t.Errorf("%d is not new", n)
		}
		if b.add(n) {
			t.Errorf("%d is new twice", n)
		}
	}
}

func TestDistribute_OrdersAndRanks(t *testing.T) {
	var times []time.Duration
	for i := 200; i > 0; i-- {
		times = append(times, time.Duration(i)*time.Millisecond)
	}
	if got, want := Distribute(times), (Distribution{200, 1, 101, 199, 200}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := Distribute(nil); got != (Distribution{}) || got.String() != "none" {
		t.Errorf("of nothing: %v", got)
	}
}

func TestStream_RemembersItsLongestGap(t *testing.T) {
	var s stream
	at := time.Unix(100, 0)
	for _, ms := range []int{0, 5, 10, 310, 315, 400} {
		s.arrived(at.Add(time.Duration(ms) * time.Millisecond))
	}
	if got := s.gap.Length(); got != 300*time.Millisecond {
		t.Errorf("longest gap %v, want 300ms", got)
	}
}

func TestApplied_CountsOnlyViewsSince(t *testing.T) {
	at := time.Unix(100, 0)
	events := []api.Event{
		{Time: at.Add(-time.Second), Cause: "view 1.1: formed"},
		{Time: at.Add(time.Second), Cause: "fw-b is silent"},
		{Time: at.Add(2 * time.Second), Cause: "view 1.2: without fw-b"},
		{Time: at.Add(3 * time.Second), Cause: "view 1.3: with fw-b"},
	}
	first, views := applied(events, at)
	if views != 2 || !first.Equal(at.Add(2*time.Second)) {
		t.Errorf("first %v of %d views", first, views)
	}
}

func TestSamples_CountForwardingOnlyWhenCertain(t *testing.T) {
	at := time.Unix(100, 0)
	reading := func(ms int, owner, ccl uint64) sample {
		return sample{at.Add(time.Duration(ms) * time.Millisecond), map[string]uint64{
			"forward_owner": owner, "forward_ccl": ccl, "drop_fenced": uint64(ms),
		}}
	}
	s := samples{reading(0, 10, 1), reading(5, 20, 2), reading(10, 21, 2), reading(15, 21, 4)}
	if got := s.since(at.Add(7 * time.Millisecond)); got != 2 {
		t.Errorf("%d forwarded since the middle, want 2", got)
	}
	if got := s.since(at.Add(time.Second)); got != 0 {
		t.Errorf("%d forwarded after the end, want 0", got)
	}
}

func TestCensus_TellsDoublesAndTheUnprotected(t *testing.T) {
	a, b := &topology.Node{Name: "fw-a"}, &topology.Node{Name: "fw-b"}
	key := func(port uint16) Key {
		return newKey("tcp", netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 7),
			netip.AddrPortFrom(netip.MustParseAddr("10.0.1.10"), port))
	}
	held := func(n *topology.Node, r api.Roles) Holding { return Holding{n, api.Conn{Roles: r}} }
	c := Census{
		key(1): {held(a, "O"), held(b, "DB")},
		key(2): {held(a, "O"), held(b, "O")},
		key(3): {held(a, "OD"), held(b, "F")},
		key(4): {held(b, "DB")},
	}
	if d := c.Doubles(); len(d) != 1 || d[0] != key(2) {
		t.Errorf("doubles %v", d)
	}
	if why := c.Unprotected([]Key{key(1), key(2), key(3), key(4), key(5)}); len(why) != 4 || !strings.HasSuffix(why[3], "nobody") {
		t.Errorf("unprotected: %q", why)
	}
	if k := newKey("tcp", key(1).High, key(1).Low); k != key(1) {
		t.Errorf("the other direction is another connection: %v", k)
	}
}

func TestResult_IsWrittenForMachinesAndPeople(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	r := NewResult("kill", "make campaign")
	r.Add("lost", 0, "0")
	r.Add("detection", Distribute([]time.Duration{time.Second}), "")
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "campaign-kill.json"))
	var back Result
	if err != nil || json.Unmarshal(text, &back) != nil || back.Command != "make campaign" || len(back.Figures) != 2 {
		t.Errorf("JSON: %v %s", err, text)
	}
	text, err = os.ReadFile(filepath.Join(dir, "campaign-kill.md"))
	if err != nil || !strings.Contains(string(text), "| detection | 1000.0 / 1000.0 / 1000.0 / 1000.0 ms (n=1) |  |\n") {
		t.Errorf("Markdown: %v %s", err, text)
	}
}

func TestHolders_TellWhatIsUnfair(t *testing.T) {
	nodes := []*topology.Node{{Name: "fw-a"}, {Name: "fw-b"}}
	top := &topology.Topology{Nodes: nodes}
	block := func(first uint16, holder, target, state string) api.NATBlock {
		return api.NATBlock{First: first, Holder: holder, Target: target, State: state}
	}
	a, b := block(1024, "fw-a", "fw-a", api.BlockHeld), block(1536, "fw-b", "fw-b", api.BlockIdle)
	fair := Holders{{a, b}, {a, b}}
	if why := fair.Unfair(); why != "" {
		t.Errorf("fair is unfair: %s", why)
	}
	if own := fair.Own(top); len(own) != 2 || len(own[1024]) != 1 || own[1024][0] != nodes[0] || own[1536][0] != nodes[1] {
		t.Errorf("own %v", own)
	}
	stolen := block(1024, "fw-b", "fw-b", api.BlockHeld)
	if own := (Holders{{a, b}, {stolen, b}}).Own(top); len(own[1024]) != 2 {
		t.Errorf("of a block with two holders: %v", own)
	}
	frozen := block(1024, "fw-a", "fw-a", api.BlockFrozen)
	if own := (Holders{{frozen, b}, {frozen, b}}).Own(top); len(own[1024]) != 0 {
		t.Errorf("somebody has a frozen block: %v", own)
	}
	for name, h := range map[string]Holders{
		"nothing":           {},
		"no blocks":         {{}, {}},
		"frozen":            {{frozen, b}, {frozen, b}},
		"two words":         {{a, b}, {stolen, b}},
		"not at its target": {{block(1024, "fw-a", "fw-b", api.BlockLeased), b}, {block(1024, "fw-a", "fw-b", api.BlockLeased), b}},
		"one has all":       {{stolen, b}, {stolen, b}},
		"on its way":        {{a, b}, {a, block(1536, "fw-b", "fw-b", api.BlockLimbo)}},
	} {
		if h.Unfair() == "" {
			t.Errorf("%s: fair", name)
		}
	}
	used := a
	used.Uses = 2
	if in := (Holders{{a, b}, {a, b}}).InUse(); len(in) != 2 { // held without a use: a hold-down
		t.Errorf("in use: %v", in)
	}
	if in := (Holders{{b}, {used}}).InUse(); len(in) != 1 || !strings.Contains(in[0], "node 2") {
		t.Errorf("in use: %v", in)
	}
}

// What the two routers see of a connection is one path, whichever tap reads
// first; later packets change nothing.
func TestPaths_JoinWhatTheRoutersSee(t *testing.T) {
	real := packet.FlowKey{Src: packet.Addr{10, 0, 1, 10}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 20007, DstPort: 7, Proto: packet.ProtoTCP}
	mapped := real
	mapped.Src, mapped.SrcPort = packet.Addr{203, 0, 113, 10}, 6001
	began := time.Now()
	p := newPaths(nil)
	see := func(visit func(int, *packet.Packet, bool), node int, sent bool, frame []byte) {
		var pkt packet.Packet
		if r := pkt.Parse(frame); r != packet.OK {
			t.Fatal(r)
		}
		visit(node, &pkt, sent)
	}
	see(p.outside, 2, false, packettest.TCP(mapped, packet.SYN, 77, 0, nil))
	see(p.inside, 1, true, packettest.TCP(real, packet.SYN, 77, 0, nil))
	see(p.inside, 4, true, packettest.TCP(real, packet.SYN, 77, 0, nil))
	see(p.outside, 3, true, packettest.TCP(mapped.Reverse(), packet.SYN|packet.ACK, 900, 78, nil))
	see(p.outside, 4, true, packettest.TCP(mapped.Reverse(), packet.ACK, 901, 78, nil))
	of := Opening{Protocol: "tcp", Source: netip.MustParseAddrPort("10.0.1.10:20007"), Began: began, Ended: time.Now()}
	x, ok := p.Of(&of)
	if !ok || x.In != 1 || x.Out != 2 || x.Back != 3 || x.Mapped != 6001 || x.Source != of.Source {
		t.Errorf("%+v, %v", x, ok)
	}
	if y, ok := p.TCP(77); !ok || y != x {
		t.Errorf("by its number: %+v, %v", y, ok)
	}
	later := of
	later.Began, later.Ended = time.Now().Add(time.Second), time.Now().Add(2*time.Second)
	if x, ok := p.Of(&later); ok {
		t.Errorf("an opening that left no trace has %+v", x)
	}
	// A datagram's content is its name.
	real.Proto, mapped.Proto = packet.ProtoUDP, packet.ProtoUDP
	content := []byte{0, 0, 0, 0, 0x4e, 0x27, 0, 1, 9}
	see(p.inside, 2, true, packettest.UDP(real, content))
	see(p.outside, 2, false, packettest.UDP(mapped, content))
	see(p.outside, 4, true, packettest.UDP(mapped.Reverse(), content))
	of.Protocol = "udp"
	of.Ended = time.Now()
	if x, ok := p.Of(&of); !ok || x.In != 2 || x.Out != 2 || x.Back != 4 {
		t.Errorf("udp: %+v, %v", x, ok)
	}
}

func TestCensus_TellsRivalsForATuple(t *testing.T) {
	a, b := &topology.Node{Name: "fw-a"}, &topology.Node{Name: "fw-b"}
	at := netip.MustParseAddrPort
	held := func(n *topology.Node, roles api.Roles, client, mapped string) Holding {
		return Holding{n, api.Conn{Protocol: "tcp", Source: at(client), MappedSource: at(mapped), Destination: at("192.0.2.1:7"), Roles: roles}}
	}
	first, second := newKey("tcp", at("10.0.1.10:5"), at("192.0.2.1:7")), newKey("tcp", at("10.0.2.10:5"), at("192.0.2.1:7"))
	for name, c := range map[string]struct {
		census Census
		rivals int
	}{
		"each its own":           {Census{first: {held(a, "O", "10.0.1.10:5", "203.0.113.10:6")}, second: {held(b, "O", "10.0.2.10:5", "203.0.113.10:7")}}, 0},
		"one of both":            {Census{first: {held(a, "O", "10.0.1.10:5", "203.0.113.10:6")}, second: {held(b, "O", "10.0.2.10:5", "203.0.113.10:6")}}, 1},
		"two owners of one":      {Census{first: {held(a, "O", "10.0.1.10:5", "203.0.113.10:6"), held(b, "O", "10.0.1.10:5", "203.0.113.10:6")}}, 0},
		"a copy is not an owner": {Census{first: {held(a, "O", "10.0.1.10:5", "203.0.113.10:6")}, second: {held(b, "DB", "10.0.2.10:5", "203.0.113.10:6")}}, 0},
	} {
		if got := c.census.Rivals(); len(got) != c.rivals {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRemovals_CountEveryNodeOnce(t *testing.T) {
	at := time.Unix(100, 0)
	r := &Removals{map[string]time.Time{}, map[string]time.Time{}, map[string]int{}, map[string]string{}}
	r.add([]api.Event{
		{Time: at.Add(-time.Second), Cause: "view 1.1/2: fw-c removed (old)"},
		{Time: at.Add(time.Second), Cause: "view 1.1/3: fw-b removed (silent for 1s), fw-d joined"},
		{Time: at.Add(2 * time.Second), Cause: "fw-c removed from something that is no view"},
		{Time: at.Add(3 * time.Second), Cause: "view 1.1/5: fw-b removed (restarted), fw-b joined"},
	}, nil, at)
	r.add([]api.Event{ // a new control node names the old one only
		{Time: at.Add(2 * time.Second), Cause: "view 2.3/4: control node: fw-b is gone, best of 2 left"},
		{Time: at.Add(4 * time.Second), Cause: "view 2.3/5: fw-d joined"},
	}, []string{"fw-b", "fw-a"}, at)
	r.add(nil, []string{"fw-z"}, at) // no view since: it lacks nobody whom it had
	if r.By["fw-b"] != 2 || !r.First["fw-b"].Equal(at.Add(time.Second)) || !r.Last["fw-b"].Equal(at.Add(2*time.Second)) || r.Why["fw-b"] != "silent for 1s" {
		t.Errorf("fw-b: %+v", r)
	}
	if !r.All([]string{"fw-b"}, 2) || r.All([]string{"fw-b", "fw-a"}, 2) {
		t.Errorf("all: %+v", r)
	}
	if o := r.Others([]string{"fw-b"}); len(o) != 1 || o[0] != "fw-a" || !r.Last["fw-a"].Equal(at.Add(2*time.Second)) {
		t.Errorf("others %v: %+v", o, r)
	}
}

func TestWriteFailure_ReplacesItsRowAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	order := []string{"first", "second"}
	row := func(name, command string, lost int) Failure {
		return Failure{Name: name, What: "what " + name, Command: command, HoldMS: 1000, Rounds: []FailureRound{
			{Victims: []string{"fw-a"}, Removed: []string{"fw-a"}, RemovedMS: 1500, TakenBy: map[string]int{"fw-b": 3}, Open: 10, Lost: lost, NewControl: "fw-b"},
			{Victims: []string{"fw-c"}, Removed: []string{"fw-c"}, RemovedMS: 1000, Open: 10, Doomed: 1, New: 5, NewFailed: 2, Others: []string{"fw-d"}},
		}}
	}
	for _, f := range []Failure{row("gone", "old", 0), row("second", "old", 0), row("first", "one", 0), row("second", "a|b", 2)} {
		if err := WriteFailure(dir, f, append(order, f.Name)[:2]); err != nil {
			t.Fatal(err)
		}
	}
	var back []Failure
	text, err := os.ReadFile(filepath.Join(dir, "failures.json"))
	if err != nil || json.Unmarshal(text, &back) != nil || len(back) != 2 || back[0].Name != "first" || back[1].Command != "a|b" || back[1].Rounds[0].Lost != 2 {
		t.Errorf("JSON: %v %s", err, text)
	}
	text, err = os.ReadFile(filepath.Join(dir, "failures.md"))
	want := "| what second | 2 | 2 of 2 victims | 1000 / 1500 / 1500 | 1.00 / 1.50 / 1.50 | 1 others (1); control node: fw-b (1) | 0 / 0 / 0 | 0 / 0 / 0 | 2 of 20; 1 of all were held by victims only | 2 of 5 | 0 / 0 / 0 | 1 | - |\n"
	if err != nil || !strings.Contains(string(text), want) || !strings.Contains(string(text), "`a\\|b`") || strings.Contains(string(text), "what gone") {
		t.Errorf("Markdown: %v %s", err, text)
	}
}

func TestSharedAt_FindsTheFirstEvenRow(t *testing.T) {
	at := time.Unix(1000, 0)
	row := func(n int, by ...string) (list []Owned) {
		for i := range n {
			at = at.Add(10 * time.Millisecond)
			list = append(list, Owned{at, by[i%len(by)]})
		}
		return list
	}
	three, four := []string{"a", "b", "c"}, []string{"a", "b", "c", "d"}
	uneven := append(row(400, three...), row(120, four...)...)
	even := append(slices.Clone(uneven), row(80, four...)...)
	for name, c := range map[string]struct {
		list    []Owned
		members []string
		want    int
		at      time.Time
	}{
		"too few":               {even[:shareOf-1], three, 3, time.Time{}},
		"at once":               {even, three, 3, even[shareOf-1].Began},
		"another view":          {even, three, 4, time.Time{}},
		"the new one has none":  {even[:400], four, 4, time.Time{}},
		"the new one has 15 %":  {even, four, 4, even[400+4*30-1].Began},
		"one that is no member": {row(600, "a", "b", "c", "x"), three, 3, time.Time{}},
		"nobody owns some":      {row(600, "a", "b", "c", "a", "b", "c", "a", "b", "c", ""), three, 3, time.Time{}},
	} {
		if got, why := sharedAt(c.list, c.members, c.want); !got.Equal(c.at) || got.IsZero() == (why == "") {
			t.Errorf("%s: %v (%s), want %v", name, got, why, c.at)
		}
	}
}

// With numbers of the nodes' the two routers see different ones. They are joined
// whichever tap reads first, also when two nodes gave one SYN a number each.
func TestFR5_PathsJoinNumbersThatNodesGave(t *testing.T) {
	space := sequence.New([16]byte{3})
	real := packet.FlowKey{Src: packet.Addr{10, 0, 1, 10}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 20007, DstPort: 7, Proto: packet.ProtoTCP}
	mapped := real
	mapped.Src, mapped.SrcPort = packet.Addr{203, 0, 113, 10}, 6001
	first, second := space.ISN(mapped.Reverse(), 77, 2), space.ISN(mapped.Reverse(), 77, 4)
	type sight struct {
		inside bool
		node   int
		sent   bool
		frame  []byte
	}
	syn := func(k packet.FlowKey, isn, stamp uint32) []byte {
		return packettest.Build(packettest.Spec{Key: k, Flags: packet.SYN, Seq: isn, Stamp: stamp, MSS: 1460})
	}
	// Of strangers whose numbers have the same upper half: another server, another instant.
	elsewhere, later := real, real
	elsewhere.SrcPort, elsewhere.DstPort, later.SrcPort = 1, 8, 2
	in := sight{true, 1, true, syn(real, 77, 4000)}
	stranger := sight{true, 5, true, syn(elsewhere, 78, 4000)}
	other := sight{true, 5, true, syn(later, 79, 4001)}
	out := sight{false, 2, false, syn(mapped, first, 4000)}
	again := sight{false, 4, false, syn(mapped, second, 4000)}
	back := sight{false, 3, true, packettest.TCP(mapped.Reverse(), packet.SYN|packet.ACK, 900, second+1, nil)}
	for name, sights := range map[string][]sight{
		"in order":      {stranger, other, in, out, again, back},
		"outside first": {out, again, back, stranger, other, in},
		"answer first":  {back, out, other, in, again, stranger},
	} {
		p := newPaths(space)
		for _, s := range sights {
			var pkt packet.Packet
			if r := pkt.Parse(s.frame); r != packet.OK {
				t.Fatal(r)
			}
			if s.inside {
				p.inside(s.node, &pkt, s.sent)
			} else {
				p.outside(s.node, &pkt, s.sent)
			}
		}
		for _, isn := range []uint32{77, first, second} {
			if x, ok := p.TCP(isn); !ok || x.In != 1 || x.Out != 2 || x.Back != 3 || x.Mapped != 6001 || x.Source != netip.MustParseAddrPort("10.0.1.10:20007") {
				t.Errorf("%s, by %d: %v, %v", name, isn, x, ok)
			}
		}
		n := 0
		p.Each(func(Path) { n++ })
		if n != 3 {
			t.Errorf("%s: %d paths, want those of the strangers and one more", name, n)
		}
	}
}
