package core

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"cohort/ccl/wire"
	"cohort/cluster/membership"
	"cohort/nat"
	"cohort/packet"
)

// Whatever numbers a member writes into its messages about units and hosts, as far as
// they can be decoded, no daemon ends of it, and the others go on: what it may say that
// is not true is another matter (CL4).
func TestNT6_AMembersNonsenseEndsNobodysDaemon(t *testing.T) {
	const pools = 2
	rules, err := nat.Compile(nat.Config{
		Pools: []nat.Pool{
			{Name: "egress", Addresses: []packet.Addr{{203, 0, 113, 10}}, BlockSize: 512, MaxBlocksPerHost: 2},
			{Name: "direct", Kind: nat.PoolAddresses, Addresses: []packet.Addr{{203, 0, 113, 64}, {203, 0, 113, 65}}},
		},
		Rules: []nat.Rule{
			{Name: "own", Type: nat.Dynamic, From: 1, To: 2, Source: netip.MustParsePrefix("10.9.0.0/16"), Pool: "direct"},
			{Name: "out", Type: nat.DynamicPAT, From: 1, To: 2, Pool: "egress"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		g := newGroup(t, 3, rules, 256)
		rng := rand.New(rand.NewPCG(seed, 1))
		view, _ := g.nodes[0].core.View()
		units := rules.Geometry().Units()
		number := func(most int) uint32 { // a sensible one, the next one, or any
			switch rng.IntN(4) {
			case 0:
				return uint32(rng.IntN(most + 2))
			case 1:
				return uint32(max(0, most-1+rng.IntN(3)))
			case 2:
				return uint32(rng.IntN(wire.MaxUnits))
			}
			return uint32(rng.IntN(4))
		}
		ranges := func() (list []wire.UnitRange) { // as the decoder lets them pass: sorted, below MaxUnits
			at := uint32(0)
			for range rng.IntN(4) {
				r := wire.UnitRange{First: at + number(units), Count: 1 + number(units)}
				if r.First+r.Count > wire.MaxUnits {
					break
				}
				list, at = append(list, r), r.First+r.Count
			}
			return list
		}
		part := func() (first, count uint32) {
			first = number(units)
			return first, min(number(units), wire.MaxUnits-first)
		}
		host := packet.Addr{10, 0, 0, byte(rng.IntN(3))}
		for range 400 {
			n := g.nodes[rng.IntN(3)]
			_, self := n.core.View()
			from := view.Members[rng.IntN(3)].ID
			if from == self {
				continue
			}
			var m wire.Message
			switch first, count := part(); rng.IntN(6) {
			case 0:
				m = wire.Units{View: view.Tag(), Lineage: uint64(rng.IntN(3)), Geometry: rules.Geometry().Checksum(), Sum: rng.Uint64(), Took: uint64(rng.IntN(5)), Flags: uint8(rng.IntN(8)), First: first, Count: count, Held: ranges(), Past: ranges()}
			case 1:
				m = wire.GiveUnits{View: view.Tag(), Seq: uint64(rng.IntN(5)), Answer: rng.IntN(2) == 0, Pool: uint16(number(pools)), Left: uint16(number(units)), Units: ranges()}
			case 2:
				m = wire.WantUnits{View: view.Tag(), Pool: uint16(number(pools)), Count: uint16(number(units))}
			case 3:
				r := wire.Rests{View: view.Tag(), Departing: rng.IntN(2) == 0, First: first, Count: count}
				for _, at := range ranges() {
					r.Units = append(r.Units, wire.UnitRest{Unit: at.First, Left: number(1 << 20)})
				}
				m = r
			case 4:
				m = wire.HostUnits{View: view.Tag(), Op: wire.HostOp(rng.IntN(8)), Pool: uint16(number(pools)), Host: host, Count: uint16(number(units))}
			case 5:
				m = wire.Roster{Entries: []wire.RosterEntry{{Name: []string{"fw-0", "fw-1", "fw-7", ""}[rng.IntN(4)], Seen: rng.Uint64(), Over: rng.IntN(2) == 0, Forgotten: uint64(rng.IntN(3))}}}
			}
			if h, ok := m.(wire.HostUnits); ok {
				n.core.hosts.Message(from, h)
			} else {
				n.core.units.Message(g.now, from, m)
			}
			k := packet.FlowKey{Src: host, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 2000, DstPort: 80, Proto: packet.ProtoUDP}
			n.core.translator.Source(g.now, 1, 2, k, k, 0, nil)
			if rng.IntN(8) == 0 {
				g.tick()
			}
		}
		for range 50 {
			g.tick()
		}
		for i, n := range g.nodes {
			n.core.units.Status()
			v, _ := n.core.View()
			state := n.core.Member().Status(g.now).State
			if v == nil || len(v.Members) != 3 || v.Tag() != view.Tag() || state != wire.StateInSync {
				t.Errorf("seed %d: node %d is %s in %+v, want in sync in the view of before", seed, i, membership.StateName(state), v)
			}
		}
	}
}
