package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

// FR11, NT5: two translations of one connection are left behind when the two sides of a cut
// meet again and their owners die. Who waits for the one and for the other at once asks for
// the connection once, and neither question repeats itself.
func TestFR11_NT5_TwoTranslationsOfOneConnectionAskOnce(t *testing.T) {
	for at := wire.NodeID(1); at <= 3; at++ { // the director of both ports, and others
		c := natCluster(t, 1, 2, 3, 4)
		k := inside(1, packet.ProtoUDP)
		for ; c.order().Director(k) == 1; k.SrcPort++ {
		}
		for port := uint16(1100); port <= 1200; port += 100 { // in a unit of node 1
			reply := k.Reverse()
			reply.Dst, reply.DstPort = public, port
			c.nodes[1].core.Message(c.now, 4, &wire.Bind{Key: reply, Conn: k, Gen: 1, Timeout: 120})
		}
		c.kill(4)
		c.apply(1, 2, 1, 2, 3)
		c.run(4000 * ms)
		n := c.nodes[at]
		queries := n.core.stats.Queries
		for i, port := range []uint16{1100, 1200} {
			p := udp(k.Reverse())
			p.In, p.Key.Dst, p.Key.DstPort, p.Handle, p.From = 2, public, port, Handle(100+i), 0
			if at != 1 {
				p.Kind = KindICMPError // which is not led to node 1 by its port
			}
			if v := n.core.Packet(c.now, &p); v.Op != OpHold {
				t.Fatalf("node %d, port %d: %+v", at, port, v)
			}
		}
		c.run(1500 * ms)
		if len(n.released) != 2 || n.core.pending.held != 0 {
			t.Errorf("node %d: %d of 2 packets released, %d held", at, len(n.released), n.core.pending.held)
		}
		if asked := n.core.stats.Queries - queries; asked > 150 { // once every tick
			t.Errorf("node %d asked %d times", at, asked)
		}
	}
}
