package translate

import (
	"slices"
	"testing"

	"cohort/nat"
	"cohort/packet"
)

// A reload that cuts pools anew takes blocks from their hosts, unless a block is what
// it was. Each end is a line, under the block's former number (RFC 6888, REQ-12).
func TestNT7_BlocksThatARecutTakesFromHostsAreLogged(t *testing.T) {
	first, second := packet.Addr{203, 0, 113, 10}, packet.Addr{203, 0, 113, 11}
	compile := func(pools ...nat.Pool) *nat.Rules {
		t.Helper()
		r, err := nat.Compile(nat.Config{
			Pools: pools, Rules: []nat.Rule{{Name: "out", Type: nat.DynamicPAT, From: inside, To: outside, Pool: pools[0].Name}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	cut := func(size uint16, limit int, addrs ...packet.Addr) *nat.Rules {
		return compile(nat.Pool{Name: "egress", Addresses: addrs, BlockSize: size, MaxBlocksPerHost: limit})
	}
	before := cut(512, 4, first, second)
	type line struct {
		unit     nat.Unit
		host     packet.Addr
		assigned bool
	}
	// Hosts .1 and .2 have a block of the first address, .3 one of the second.
	hosts := map[packet.Addr]packet.FlowKey{}
	for i, k := range []packet.FlowKey{{Dst: first, DstPort: 1024}, {Dst: first, DstPort: 5000}, {Dst: second, DstPort: 1024}} {
		k.Proto = packet.ProtoTCP
		hosts[packet.Addr{10, 0, 0, byte(i + 1)}] = k
	}
	for name, tt := range map[string]struct {
		after *nat.Rules
		lost  []byte // last byte of the hosts' addresses
	}{
		"nothing changes":              {cut(512, 4, first, second), nil},
		"an address is added":          {cut(512, 4, first, second, packet.Addr{203, 0, 113, 12}), nil},
		"another address comes first":  {cut(512, 4, second, first), nil},
		"an address goes":              {cut(512, 4, second), []byte{1, 2}},
		"blocks are larger":            {cut(1024, 4, first, second), []byte{1, 2, 3}},
		"no limit and so no ownership": {cut(512, 0, first, second), []byte{1, 2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nat.Config{Pools: []nat.Pool{{Name: "egress", Addresses: []packet.Addr{first, second}, BlockSize: 512, MaxBlocksPerHost: 4}}})
			for unit := range before.Geometry().Units() {
				w.ports.SetHeld(unit, true)
			}
			var had []Own
			for host, k := range hosts {
				unit, _ := before.Geometry().UnitOf(k)
				had = append(had, Own{unit, host})
			}
			w.tr.RestoreHosts(0, had)
			kept := &owners{of: map[int]packet.Addr{}}
			w.tr.SetHostJournal(kept)
			var lines []line
			w.tr.log = func(unit int, host packet.Addr, assigned bool) {
				lines = append(lines, line{before.Geometry().Describe(unit), host, assigned})
			}
			w.tr.Recut(tt.after, 0, 0)
			var lost []byte
			for _, l := range lines {
				k := hosts[l.host]
				if l.assigned || l.unit.Addr != k.Dst || k.DstPort < l.unit.First || k.DstPort > l.unit.Last {
					t.Errorf("logged %+v", l)
				}
				lost = append(lost, l.host[3])
			}
			slices.Sort(lost)
			if !slices.Equal(lost, tt.lost) {
				t.Errorf("logged the end of the blocks of hosts %v, want %v", lost, tt.lost)
			}
			if want := tt.after.Geometry().Checksum(); tt.after.Geometry().Equal(before.Geometry()) {
				if kept.of[-1] != (packet.Addr{}) || kept.cut != 0 {
					t.Errorf("the journal began anew for nothing: %+v", kept)
				}
			} else if kept.cut != want {
				t.Errorf("the journal has numbers of cut %x, want %x", kept.cut, want)
			}
			for unit, host := range kept.of {
				if got, _ := w.ports.HostOf(unit); got != host {
					t.Errorf("the journal has block %d for %v, it is %v's", unit, host, got)
				}
			}
			if kept.cut != 0 && len(kept.of) != len(hosts)-len(lost) {
				t.Errorf("the journal has %v, and %d of %d blocks are lost", kept.of, len(lost), len(hosts))
			}
			// What is not logged is there.
			have := map[packet.Addr]bool{}
			w.ports.HostUnits(func(_ int, host packet.Addr, _ int) { have[host] = true })
			for host := range hosts {
				if have[host] == slices.Contains(tt.lost, host[3]) {
					t.Errorf("host %v has its block: %v", host, have[host])
				}
			}
		})
	}
}

// owners is a HostJournal.
type owners struct {
	cut uint32
	of  map[int]packet.Addr
}

func (o *owners) Own(unit int, host packet.Addr) {
	if o.of[unit] = host; host == (packet.Addr{}) {
		delete(o.of, unit)
	}
}

func (o *owners) Owns(cut uint32, all []Own) {
	o.cut = cut
	clear(o.of)
	for _, a := range all {
		o.of[a.Unit] = a.Host
	}
}

// Whatever gives a block to a host or takes it back, the journal says the same, so that a
// process that takes over knows it: also of a block without a connection, whose end is in
// the log as its beginning was.
func TestNT6_HL5_TheJournalKnowsWhatBlocksAreWhose(t *testing.T) {
	cfg := nat.Config{
		Pools: pool(nat.Pool{BlockSize: 64, MaxBlocksPerHost: 2}),
		Rules: []nat.Rule{{Name: "out", Type: nat.DynamicPAT, From: inside, To: outside, Pool: "egress"}},
	}
	w := newWorld(t, cfg)
	w.may = 2
	kept := &owners{of: map[int]packet.Addr{}}
	w.tr.SetHostJournal(kept)
	for u := range 10 {
		w.ports.SetHeld(u, true)
	}
	k := out(1, packet.ProtoUDP)
	for range 2 {
		w.tr.Source(1, inside, outside, k, k, 0, free) // the first time it waits for a block
	}
	if len(kept.of) != 1 {
		t.Fatalf("the journal has %v", kept.of)
	}
	next := newWorld(t, cfg)
	again := &owners{of: map[int]packet.Addr{}}
	var list []Own
	for unit, host := range kept.of {
		next.ports.SetHeld(unit, true)
		list, again.of[unit] = append(list, Own{unit, host}), host
	}
	next.tr.SetHostJournal(again)
	next.tr.RestoreHosts(second, append(list, Own{9, k.Src}, Own{-1, k.Src}, Own{1 << 20, k.Src})) // not held, no units
	if _, yes := next.ports.HostOf(list[0].Unit); !yes {
		t.Fatal("the block is nobody's")
	}
	if _, yes := next.ports.HostOf(9); yes {
		t.Error("a block is a host's that is not held")
	}
	next.tr.Tick(second + keepFor/2)
	if len(next.lines) != 0 {
		t.Error("it goes back although the packet that wanted it may be on its way")
	}
	next.tr.Tick(second + keepFor + freeEvery)
	if len(next.lines) != 1 || next.lines[0] || next.release != 1 || len(again.of) != 0 {
		t.Errorf("log %v, %d went back, the journal has %v", next.lines, next.release, again.of)
	}
}
