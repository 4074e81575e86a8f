package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

// gre is a packet of a connection without ports.
func gre(k packet.FlowKey) Packet {
	p := udp(k)
	p.Kind = KindOther
	return p
}

// NT3: a connection of a protocol without ports is begun by the node that holds the one
// unit that serves, whichever it enters at; the next packets go to it as any others do.
func TestNT3_APortlessProtocolIsBegunByTheHolderOfItsUnit(t *testing.T) {
	for _, enters := range []wire.NodeID{1, 2, 3, 4} {
		c := natCluster(t, 1, 2, 3, 4)
		k := inside(byte(enters), portless)
		k.SrcPort, k.DstPort = 0, 0
		for packets := range 3 {
			at, v := c.at(enters, gre(k))
			if at != 3 {
				t.Fatalf("packet %d through node %d ends at node %d", packets, enters, at)
			}
			wantForward(t, v)
			if ref := c.nodes[enters].core.table.Lookup(k); packets > 0 && ref == 0 {
				t.Errorf("packet %d through node %d: that one has no entry", packets, enters)
			}
			c.run(10 * ms)
		}
		other := enters%4 + 1
		if at, v := c.at(other, gre(c.reply(k))); at != 3 || v.Op != OpForward {
			t.Errorf("the answer through node %d ends at node %d: %+v", other, at, v)
		}
		for id, n := range c.nodes {
			if n.fake.full != 0 {
				t.Errorf("node %d has refused %d", id, n.fake.full)
			}
		}
	}
}

// Where nobody can begin it, it is refused under its name, and goes round nowhere: while
// the unit's holder is away, and where the remote has the only place.
func TestNT3_APortlessProtocolWithoutAPlaceIsRefused(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	c.kill(3)
	c.apply(1, 2, 1, 2, 4)
	c.run(50 * ms)
	k := inside(1, portless)
	k.SrcPort, k.DstPort = 0, 0
	for _, id := range []wire.NodeID{1, 2, 4} {
		_, v := c.at(id, gre(k))
		wantDrop(t, v, ReasonNATProtocol)
		if n := c.nodes[id].fake.full; n != 0 {
			t.Errorf("node %d calls its pool exhausted %d times: more blocks would not help", id, n)
		}
	}
	c = natCluster(t, 1, 2, 3, 4)
	_, v := c.at(1, gre(k))
	wantForward(t, v)
	rival := k
	rival.Src[3]++
	for id := range c.nodes {
		_, v := c.at(id, gre(rival))
		wantDrop(t, v, ReasonNATProtocol)
	}
}
