package ownership

import (
	"math/rand/v2"
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/policy"
)

// Whoever would take a connection over knows by how much its numbers are shifted.
func TestFR5_CopiesKnowTheDelta(t *testing.T) {
	checked := 0
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 6))
		c := newBareCluster(t)
		c.seqs = testSpace
		c.nat = seed%2 == 1
		c.delay = func() int64 { return int64(rng.IntN(3_000_000)) }
		all := []wire.NodeID{1, 2, 3, 4}
		for _, id := range all {
			n := c.boot(id)
			if seed%3 == 0 {
				n.core.cfg.Policy = durable{*n, policy.Sync}
			}
		}
		c.apply(1, 1, all...)
		c.run(50 * ms)
		epoch := uint32(1)
		answers := map[packet.FlowKey][]uint32{}
		for range 150 {
			k := inside(byte(rng.IntN(5)), packet.ProtoTCP)
			var p Packet
			switch rng.IntN(3) {
			case 0:
				p = syn(k, uint32(rng.IntN(2))*1e6+5000)
			case 1:
				list := []packet.FlowKey{}
				for _, id := range all {
					c.nodes[id].table.ScanFlows(0, 1<<20, func(_ uint32, f *flowtable.FlowSlot) bool { list = append(list, f.Key[1]); return true })
				}
				if len(list) == 0 {
					continue
				}
				r := list[rng.IntN(len(list))]
				a := answers[r]
				if len(a) == 0 {
					continue
				}
				p = synAck(r, a[rng.IntN(len(a))])
				p.In = 2
			default:
				p = tcp(k, []uint8{ACK, ACK, ACK, FIN | ACK, RST}[rng.IntN(5)])
			}
			for at, hops := all[rng.IntN(4)], 0; hops < 4; hops++ {
				n := c.nodes[at]
				n.handle++
				p.Handle = n.handle
				v := n.core.Packet(c.now, &p)
				if v.Op == OpForward {
					if f := n.table.Flow(v.Slot); p.Flags == SYN {
						answers[f.Key[1]] = append(answers[f.Key[1]], p.Seq+f.SeqDelta)
					}
				}
				if v.Op != OpSend {
					break
				}
				p.From, at = at, v.Node
			}
			if rng.IntN(40) == 0 {
				epoch++
				var in []wire.NodeID
				for _, id := range all {
					if rng.IntN(4) != 0 {
						in = append(in, id)
					} else {
						c.nodes[id].core.Reset(c.now)
						c.nodes[id].inc++
					}
				}
				if len(in) == 0 {
					in = all
				}
				v := c.viewOf(epoch, epoch, in...)
				if rng.IntN(3) == 0 {
					v.Draining = 1 << in[0]
				}
				c.applyAt(v, in...)
			}
			c.run(int64(rng.IntN(8)) * ms / 4)
			if rng.IntN(50) == 0 {
				c.run(6000 * ms)
			}
		}
		c.run(2500 * ms)
		for _, id := range all {
			n := c.nodes[id]
			if n.core.view == nil || n.core.view.Draining != 0 || len(n.core.view.Members) < 2 {
				continue
			}
			n.table.ScanFlows(0, 1<<20, func(_ uint32, f *flowtable.FlowSlot) bool {
				k, _ := f.Key[0].Canonical()
				holder := n.core.backup(k, id)
				e, known := c.nodes[holder].copies.Get(k)
				if !known || wire.NodeID(e.Owner()) != id {
					t.Errorf("seed %d: %v of %d: copy at %d: %v", seed, k, id, holder, known)
					return true
				}
				checked++
				if d := deltaOf(c.nodes[holder].copies, k); d != f.SeqDelta || e.Gen() != f.Gen {
					t.Errorf("seed %d: %v of %d: delta %d gen %d, copy at %d says %d %d", seed, k, id, f.SeqDelta, f.Gen, holder, d, e.Gen())
				}
				return true
			})
		}
		if t.Failed() {
			return
		}
	}
	if checked == 0 {
		t.Fatal("nothing is tested")
	}
}
