package ownership

import (
	"maps"
	"math/rand/v2"
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/policy"
)

// wantBooked fails unless a node's uses and strangers are those of what it has.
func (c *cluster) wantBooked(id wire.NodeID) {
	c.t.Helper()
	n := c.nodes[id]
	uses, of := map[packet.FlowKey]int{}, map[packet.FlowKey]uint32{}
	count := func(key, reply packet.FlowKey, flags uint8) {
		if m, ok := strangersOf(key, reply, flags); ok {
			of[m]++
		}
	}
	n.table.ScanFlows(0, 1<<20, func(_ uint32, f *flowtable.FlowSlot) bool {
		if f.Key[1] != f.Key[0].Reverse() {
			uses[f.Key[1]]++
		}
		count(f.Key[0], f.Key[1], f.Replication)
		return true
	})
	n.stubs.Scan(0, 1<<20, func(e flowtable.Entry) bool {
		uses[e.Key().Unpack()]++
		return true
	})
	n.core.eachJoined(func(reply packet.FlowKey) {
		if e, known := n.stubs.Get(reply); known && e.Key() == flowtable.Pack(reply) {
			c.t.Fatalf("node %d keeps a stub of %v beside a joined copy", id, reply)
		}
		uses[reply]++
		c.joined++
	})
	for k := range n.core.reserved {
		uses[k]++
	}
	for w := n.core.pending.list.First(); w != nil; w = w.at.Next() {
		if w.kind == waitClaim {
			count(w.conn.Key, w.conn.ReplyKey(), w.conn.Flags)
		}
	}
	if !maps.Equal(uses, n.fake.uses) {
		c.t.Fatalf("node %d counts the uses %v, has %v", id, n.fake.uses, uses)
	}
	if got := n.core.pending.strangers.of; !maps.Equal(of, got) {
		c.t.Fatalf("node %d counts the strangers %v, has %v", id, got, of)
	}
}

// Whatever comes, also of views, cuts and links that are backed up: every flow, stub,
// tomb and claim uses its key once, and everything from outside counts once.
func TestNT4_UsesAndStrangersAreThoseOfWhatThereIs(t *testing.T) {
	joined := 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 5))
		c := newBareCluster(t)
		c.nat = true
		if seed%2 == 1 {
			c.seqs = testSpace
		}
		all := []wire.NodeID{1, 2, 3, 4}
		for _, id := range all {
			n := c.boot(id)
			n.fake.open, n.fake.most, n.fake.joins = true, 6, seed%4 > 1
			if seed%3 != 0 {
				n.core.cfg.Policy = durable{*n, policy.Sync}
			}
			if seed%5 == 0 {
				n.fake.fixed = packet.Addr{198, 51, 100, 80}
			}
		}
		h := c.hail(rng, all)
		for range 250 {
			p, ok := h.fromInside(), true
			switch rng.IntN(8) {
			case 5, 6:
				if ok = len(h.mapped) != 0; ok {
					p = stranger(h.mapped[rng.IntN(len(h.mapped))], byte(rng.IntN(12)))
				}
			case 7:
				p, ok = h.answer()
			}
			if !ok {
				continue
			}
			h.throw(h.anyNode(), p, nil)
			switch r := rng.IntN(60); {
			case r < 3:
				c.refus[h.anyNode()] = true
			case r < 8:
				clear(c.refus)
			case r == 8:
				h.newView()
			case r == 9:
				c.run(int64(rng.IntN(8000)) * ms)
			case r == 10:
				for _, n := range c.nodes {
					n.fake.apart = !n.fake.apart
				}
			}
			c.run(int64(rng.IntN(4)) * ms / 4)
			for _, id := range all {
				c.wantBooked(id)
			}
		}
		joined += c.joined
	}
	if joined == 0 {
		t.Error("no copy was ever joined with its stub")
	}
}
