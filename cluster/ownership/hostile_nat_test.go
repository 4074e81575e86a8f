package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

// The keys of a mapping are no packet's: who sends from 0.0.0.0:0, or to it,
// reaches nobody through one and does not keep it alive, nor with an ICMP error
// that quotes such a packet (RFC 1812, 5.3.7; RFC 4787, REQ-8).
func TestNT9_NobodySpeaksWithTheKeysOfAMapping(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	c.at(3, udp(eim(1)))
	c.run(20 * ms)
	k1 := c.reply(eim(1))
	outside := packet.FlowKey{Dst: k1.Dst, DstPort: k1.DstPort, Proto: packet.ProtoUDP}
	inside := packet.FlowKey{Src: eim(1).Src, SrcPort: eim(1).SrcPort, Proto: packet.ProtoUDP}
	for id := wire.NodeID(1); id <= 4; id++ {
		p := udp(outside)
		p.In = 2
		if at, v := c.at(id, p); v.Op != OpDrop {
			t.Errorf("from 0.0.0.0:0 at node %d: %+v at node %d", id, v, at)
		}
		p.Kind = KindICMPError
		if at, v := c.at(id, p); v.Op != OpDrop {
			t.Errorf("an ICMP error about a packet to 0.0.0.0:0 at node %d: %+v at node %d", id, v, at)
		}
		if at, v := c.at(id, udp(inside)); v.Op != OpDrop {
			t.Errorf("to 0.0.0.0:0 at node %d: %+v at node %d", id, v, at)
		}
	}
	c.run(1_000_000 * ms)
	c.wantNoUse()
}
