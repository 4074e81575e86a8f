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
			for host, k := range hosts {
				w.tr.RestoreHost(host, k)
			}
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
