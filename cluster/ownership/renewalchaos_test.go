package ownership

import (
	"math/rand/v2"
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// weather loses messages about delegations, brings them late, out of order, and twice.
// The channel does none of this but lose them, and never brings a grant twice.
func (c *cluster) weather(rng *rand.Rand) func(delivery) bool {
	later := func(q delivery) {
		q.at = c.now + rng.Int64N(1500*ms)
		i := len(c.queue)
		for i > 0 && c.queue[i-1].at > q.at {
			i--
		}
		c.queue = append(c.queue, delivery{})
		copy(c.queue[i+1:], c.queue[i:])
		c.queue[i] = q
	}
	return func(q delivery) bool {
		switch rng.IntN(12) {
		case 0, 1:
			return true
		case 2:
			later(q)
			return true
		case 3:
			if !isGrant(q.m) {
				later(q)
			}
		}
		return false
	}
}

// meet is pass, whatever becomes of the packet.
func (c *cluster) meet(id wire.NodeID, p Packet) {
	n := c.nodes[id]
	if c.delegated(id, p.Key) {
		d, _ := n.table.Delegation(n.table.Lookup(p.Key).Slot())
		d.Account(flowtable.TickOf(c.clock(id)), int(p.Len), flowtable.TCPSent{})
	} else if out, v := c.at(id, p); v.Op == OpForward && out != id {
		c.nodes[out].table.Flow(v.Slot).MarkVia(int(v.Dir), uint8(id))
	}
}

// restart is rebirth with what was on its way lost: the channel starts over.
func (c *cluster) restart(id wire.NodeID) {
	keep := c.queue[:0]
	for _, q := range c.queue {
		switch q.m.(type) {
		case *wire.Delegate, *wire.Report, *wire.Lease:
			if q.from == id || q.to == id {
				continue
			}
		}
		keep = append(keep, q)
	}
	c.queue = keep
	c.rebirth(id)
}

// NT4, whatever the link does with messages about delegations, whoever is restarted, and
// on clocks that differ by an eighth: what is in force is always something of which its
// owner knows. When the link is whole again all of it goes on, and is counted.
func TestNT4_DESIGN5_RenewalsInAnyWeather(t *testing.T) {
	inForce, lapses := 0, uint64(0)
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 5))
		c := natCluster(t, 1, 2, 3)
		c.fast = map[wire.NodeID]int64{wire.NodeID(1 + rng.IntN(3)): rng.Int64N(124)}
		keys, seen := []packet.FlowKey{}, map[wire.NodeID]uint64{}
		for i := range byte(4) {
			k := inside(1+i, packet.ProtoTCP)
			keys = append(keys, k)
			c.talk(k, 2)
		}
		c.snatch = c.weather(rng)
		for range 200 {
			for _, k := range keys {
				if ids := c.owners(k); len(ids) != 1 { // it was given up: its packets go on all the same
					for id, n := range c.nodes {
						if c.delegated(id, k) {
							d, _ := n.table.Delegation(n.table.Lookup(k).Slot())
							d.Account(flowtable.TickOf(c.clock(id)), 60, flowtable.TCPSent{})
						}
					}
					continue
				}
				c.meet(wire.NodeID(2+rng.IntN(2)), tcp(k, ACK))
			}
			k := keys[rng.IntN(len(keys))]
			switch rng.IntN(40) {
			case 0, 1, 2:
				if ids := c.owners(k); len(ids) == 1 {
					c.revokeAt(ids[0], k)
				}
			case 3:
				c.restart(wire.NodeID(1 + rng.IntN(3)))
			case 4:
				if ids := c.owners(k); len(ids) == 1 && k == keys[0] {
					n := c.nodes[ids[0]]
					n.core.now = c.clock(n.id)
					n.core.remove(n.table.Lookup(k).Slot(), true)
				}
			}
			for range 4 {
				inForce += c.wantKnown()
				c.run(int64(1+rng.IntN(40)) * ms)
			}
			for id, n := range c.nodes {
				now := n.core.Stats().Unrenewed
				if was := seen[id]; now > was { // less: it was restarted
					lapses += now - was
				}
				seen[id] = now
			}
		}
		c.snatch = nil
		for range 50 {
			for _, k := range keys[1:] {
				c.meet(2, tcp(k, ACK))
			}
			c.wantKnown()
			c.run(100 * ms)
		}
		for _, k := range keys[1:] {
			if !c.delegated(2, k) {
				t.Errorf("seed %d: %v is not delegated in the end", seed, k)
			}
		}
		c.run(12 * second)
		for id, n := range c.nodes { // a restarted node's table adopts what has ended; this one's core has not
			if n.core.LentNow() != 0 || len(n.core.ending.list) != 0 || c.wantKnown() != 0 {
				t.Errorf("seed %d: node %d has lent %d, %d are ending", seed, id, n.core.LentNow(), len(n.core.ending.list))
			}
		}
	}
	t.Logf("%d looks at delegations in force, %d renewals of no use", inForce, lapses)
	if inForce < 10000 || lapses == 0 {
		t.Errorf("in force at %d looks, %d renewals of no use: nothing was tested", inForce, lapses)
	}
}
