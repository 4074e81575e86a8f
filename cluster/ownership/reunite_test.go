package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// idles gives the flow of k at its owner an idle time of two seconds.
func (c *cluster) idles(owner wire.NodeID, k packet.FlowKey) {
	n := c.nodes[owner]
	n.table.UpdateFlow(n.table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) { f.Timeout = 2 })
}

// The packets of a connection meet the side of a cut that does not know it. Its idle
// time ends a moment after the heal, before any of them can have been led to its owner.
func TestFR11_SilenceBehindACutEndsNothing(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	c.at(2, tcp(k, SYN))
	c.at(2, tcp(k.Reverse(), SYN|ACK))
	c.at(2, tcp(k, ACK))
	c.run(1200 * ms)
	_, v := c.at(2, tcp(k, ACK))
	wantForward(t, v)
	c.idles(2, k)
	c.apply(2, 2, 1)
	c.apply(1, 2, 2, 3)
	c.run(1950 * ms)
	c.apply(3, 3, 1, 2, 3)
	c.run(1500 * ms)
	by, v := c.at(1, tcp(k, ACK))
	if wantForward(t, v); by != 2 {
		t.Fatalf("node %d forwarded it, want node 2, its owner", by)
	}
	c.run(1500 * ms) // it is not idle any more, so the end of the grace is not its end
	c.wantOwner(k, 2)
	c.run(3000 * ms)
	c.wantNoOwner(k)
}

// The side whose owner wins has seen nothing for longer than the one that gives way.
func TestFR11_WhoGivesWayMayHaveSeenMore(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.begin(packet.ProtoUDP, 2, 3, 1200*ms)
	c.apply(1, 2, 1, 3)
	c.apply(2, 2, 2)
	_, v := c.at(1, udp(k))
	wantForward(t, v) // generation 2
	c.idles(1, k)
	c.idles(2, k)
	for range 39 {
		c.run(50 * ms)
		_, v := c.at(2, udp(k))
		wantForward(t, v)
	}
	c.apply(3, 3, 1, 2, 3)
	c.run(500 * ms)
	c.wantOwner(k, 1)
	by, v := c.at(2, udp(k))
	if wantForward(t, v); by != 1 {
		t.Fatalf("node %d forwarded it, want node 1, its owner", by)
	}
}

// Nothing waits for a member that has lost its tables: no packet met it in vain.
func TestFR15_ANewLifeLengthensNoIdleTime(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.begin(packet.ProtoUDP, 2, 3, 1200*ms)
	_, v := c.at(2, udp(k))
	wantForward(t, v)
	c.idles(2, k)
	c.kill(1)
	c.apply(1, 2, 2, 3)
	c.run(1900 * ms)
	c.wantOwner(k, 2)
	c.boot(1)
	c.apply(1, 3, 1, 2, 3)
	c.run(1200 * ms) // the rest, and one pass of ageing
	c.wantNoOwner(k)
}

// What is over is not kept for a cut: its ports are wanted.
func TestFR15_ACutLengthensNoTimeWait(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.begin(packet.ProtoTCP, 2, 3, 1200*ms)
	n := c.nodes[2]
	n.table.UpdateFlow(n.table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) { f.State, f.Timeout = uint8(flowtable.TCPTimeWait), 2 })
	c.apply(2, 2, 1)
	c.apply(1, 2, 2, 3)
	c.run(700 * ms)
	c.wantOwner(k, 2)
	c.apply(3, 3, 1, 2, 3)
	c.run(1200 * ms)
	c.wantNoOwner(k)
}
