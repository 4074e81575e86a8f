package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/policy"
)

// open makes the mappings of all nodes let anybody in, so many at most, and returns
// that of the first connection.
func (c *cluster) openMapping(at wire.NodeID, most int) packet.FlowKey {
	for _, n := range c.nodes {
		n.fake.open, n.fake.most = true, most
	}
	_, v := c.at(at, udp(eim(1)))
	wantForward(c.t, v)
	c.run(20 * ms)
	return c.reply(eim(1))
}

// wantStrangers fails unless a node counts so many connections from outside.
func (c *cluster) wantStrangers(id wire.NodeID, mapped packet.FlowKey, want int) {
	c.t.Helper()
	m, _ := c.nodes[id].fake.Mapped(mapped)
	of := c.nodes[id].core.pending.strangers.of
	if got := int(of[m]); got != want || (want == 0) != (len(of) == 0) {
		c.t.Fatalf("node %d counts %v, want %d of %v", id, of, want, m)
	}
}

// Through one mapping the outside begins a bounded number of connections, whichever
// nodes its packets meet; more are refused by name. What exists goes on, the host
// begins as many as it likes, another mapping has room, and an end makes room.
func TestNT9_StrangersThroughAMappingAreBounded(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	mapped := c.openMapping(3, 5)
	owner := c.oneOwner(eim(1))
	for n := byte(1); n <= 8; n++ {
		_, v := c.at(wire.NodeID(n%4+1), stranger(mapped, n))
		if n <= 5 {
			wantForward(t, v)
			continue
		}
		wantDrop(t, v, ReasonNATInbound)
		if at := c.nodes[owner].core.FullMapping(); at.Dst != mapped.Dst || at.DstPort != mapped.DstPort {
			t.Fatalf("%v is said to be full", at)
		}
	}
	c.wantStrangers(owner, mapped, 5)
	for id := wire.NodeID(1); id <= 4; id++ {
		_, v := c.at(id, stranger(mapped, 2)) // exists
		wantForward(t, v)
		_, v = c.at(id, udp(eim(byte(id)+10))) // the host's own
		wantForward(t, v)
	}
	c.wantStrangers(owner, mapped, 5)
	if of := c.nodes[owner].core.pending.strangers.of; len(of) != 1 {
		t.Fatalf("counts %v, and of the host's own connections there is nothing to count", of)
	}
	other := eim(1)
	other.SrcPort++
	_, v := c.at(3, udp(other))
	wantForward(t, v)
	c.run(20 * ms)
	_, v = c.at(1, stranger(c.reply(other), 9))
	wantForward(t, v)

	first := stranger(mapped, 1)
	c.nodes[owner].core.closeFlow(c.nodes[owner].table.Lookup(first.Key).Slot())
	c.run(20 * ms)
	_, v = c.at(2, stranger(mapped, 7))
	wantForward(t, v)
	_, v = c.at(2, stranger(mapped, 8))
	wantDrop(t, v, ReasonNATInbound)
	c.run(700_000 * ms)
	c.wantStrangers(owner, mapped, 0)
	c.wantNoUse()
}

// A flood comes faster than directors answer: what waits for them counts.
func TestNT9_AFloodOfStrangersIsBoundedToo(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	mapped := c.openMapping(3, 5)
	owner := c.oneOwner(eim(1))
	for n := byte(1); n <= 40; n++ {
		p := stranger(mapped, n)
		p.Handle = Handle(1000 + int(n))
		c.nodes[owner].core.Packet(c.now, &p)
	}
	c.run(100 * ms)
	c.wantStrangers(owner, mapped, 5)
	flows := 0
	c.nodes[owner].table.ScanFlows(0, 1<<20, func(_ uint32, f *flowtable.FlowSlot) bool {
		if f.Key[0].Dst == mapped.Dst {
			flows++
		}
		return true
	})
	if flows != 5 {
		t.Fatalf("%d connections from outside, want 5", flows)
	}
}

// 0 is no bound, and a one-to-one translation has none: there the policy decides.
func TestNT9_StrangersWithoutABound(t *testing.T) {
	c := natCluster(t, 1, 2)
	mapped := c.openMapping(1, 0)
	for n := byte(1); n <= 60; n++ {
		_, v := c.at(wire.NodeID(n%2+1), stranger(mapped, n))
		wantForward(t, v)
	}
	c.wantStrangers(c.oneOwner(eim(1)), mapped, 60)
}

// orphanedStrangers is a cluster of three, of which a fourth had a mapping and five
// connections from outside when it died.
func orphanedStrangers(t *testing.T) (c *cluster, mapped packet.FlowKey) {
	t.Helper()
	c = natCluster(t, 1, 2, 3, 4)
	mapped = c.openMapping(4, 5)
	for n := byte(1); n <= 5; n++ {
		_, v := c.at(4, stranger(mapped, n))
		wantForward(t, v)
	}
	c.run(20 * ms)
	c.kill(4)
	c.apply(1, 2, 1, 2, 3)
	c.run(50 * ms)
	return c, mapped
}

// The mapping's owner dies: its connections from outside are taken over, and count
// where they are; a flow that another node owns is not refused as a stranger's.
func TestNT9_TakenOverStrangersCountAtTheirOwner(t *testing.T) {
	c, mapped := orphanedStrangers(t)
	for n := byte(1); n <= 5; n++ {
		p := stranger(mapped, n)
		_, v := c.at(wire.NodeID(n%3+1), p)
		wantForward(t, v)
	}
	sum := 0
	for id := wire.NodeID(1); id <= 3; id++ {
		m, _ := c.nodes[id].fake.Mapped(mapped)
		sum += int(c.nodes[id].core.pending.strangers.of[m])
	}
	if sum != 5 {
		t.Fatalf("%d are counted, want 5", sum)
	}
}

// A restarted daemon counts what its table has.
func TestNT9_ARestartCountsStrangersAnew(t *testing.T) {
	c := natCluster(t, 1, 2)
	mapped := c.openMapping(1, 5)
	owner := c.oneOwner(eim(1))
	for n := byte(1); n <= 3; n++ {
		_, v := c.at(owner, stranger(mapped, n))
		wantForward(t, v)
	}
	n := c.nodes[owner]
	n.core = New(n.core.cfg)
	c.wantStrangers(owner, mapped, 3)
}

// A mapping that is full refuses no packet of a connection that another node has
// taken over: its director knows it.
func TestNT9_AFullMappingLetsTakenOverStrangersGoOn(t *testing.T) {
	c, mapped := orphanedStrangers(t)
	m, _ := c.nodes[1].fake.Mapped(mapped)
	unit, _ := c.nodes[1].fake.Unit(mapped)
	first, _, _ := c.nodes[1].fake.Order(unit)
	_, v := c.at(first, udp(eim(2))) // takes the mapping over
	wantForward(t, v)
	other := first%3 + 1
	elsewhere := 0
	for n := byte(1); n <= 5; n++ {
		k := stranger(mapped, n).Key
		answer := packet.FlowKey{Src: eim(1).Src, SrcPort: 4000, Dst: k.Src, DstPort: k.SrcPort, Proto: k.Proto}
		c.at(other, udp(answer))
		if c.oneOwner(answer) == other {
			elsewhere++
		}
	}
	if ref := c.nodes[first].table.Lookup(m); ref == 0 || ref.IsForward() || elsewhere == 0 {
		t.Fatalf("%d connections are elsewhere than the mapping", elsewhere)
	}
	c.run(20 * ms)
	c.nodes[first].fake.most = 1
	_, v = c.at(first, stranger(mapped, 100))
	wantForward(t, v)
	_, v = c.at(first, stranger(mapped, 101))
	wantDrop(t, v, ReasonNATInbound)
	n := c.nodes[first]
	n.table.ScanForwards(0, n.table.ForwardSlots(), func(slot uint32, _ *flowtable.ForwardSlot) bool {
		n.core.removeForward(slot)
		return true
	})
	for n := byte(1); n <= 5; n++ {
		_, v := c.at(first, stranger(mapped, n))
		wantForward(t, v)
	}
}

// What waits for its copy (FR13) was counted as a claim, and counts as a connection
// from then on: not as both.
func TestNT9_StrangersOfDurabilitySyncCountOnce(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	for _, n := range c.nodes {
		n.core.cfg.Policy = durable{*n, policy.Sync}
	}
	mapped := c.openMapping(4, 5)
	c.kill(4)
	c.apply(1, 2, 1, 2, 3)
	c.run(5000 * ms)
	unit, _ := c.nodes[1].fake.Unit(mapped)
	first, _, _ := c.nodes[1].fake.Order(unit)
	owner := first%3 + 1 // which has to claim what the outside begins
	_, v := c.at(owner, udp(eim(1)))
	wantForward(t, v)
	if m, _ := c.nodes[owner].fake.Mapped(mapped); c.oneOwner(m) != owner {
		t.Fatalf("node %d has not taken the mapping over", owner)
	}
	for n := byte(1); n <= 5; n++ {
		_, v := c.at(owner, stranger(mapped, n))
		wantForward(t, v)
		c.run(50 * ms)
	}
	c.wantStrangers(owner, mapped, 5)
	c.run(700_000 * ms)
	c.wantStrangers(owner, mapped, 0)
}
