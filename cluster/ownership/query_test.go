package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

// RFC 5508, REQ-1: hosts behind one address that ask one server with the same
// identifier, at the same moment and at different nodes, leave with different ones;
// the response to each meets its connection at any node, and so does an error about it.
func TestRFC5508_REQ1_EachHostGetsItsOwnAnswer(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	asked := make(map[packet.FlowKey]packet.FlowKey)
	query := func(host byte) Packet {
		p := udp(packet.FlowKey{Src: packet.Addr{10, 0, 0, host}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 7, Proto: packet.ProtoICMP})
		p.Kind = KindICMPQuery
		return p
	}
	for host := byte(1); host <= 8; host++ {
		_, v := c.at(wire.NodeID(host%4+1), query(host))
		wantForward(t, v)
	}
	c.run(20 * ms)
	for host := byte(1); host <= 8; host++ {
		k := query(host).Key
		reply := c.reply(k)
		if other, twice := asked[reply]; twice {
			t.Fatalf("%v and %v both leave as %v (NT4)", other, k, reply.Reverse())
		}
		asked[reply] = k
	}
	for reply, k := range asked {
		owner := c.oneOwner(k)
		for id := wire.NodeID(1); id <= 4; id++ {
			for _, kind := range []Kind{KindICMPResponse, KindICMPError} {
				p := udp(reply)
				p.Kind, p.In = kind, 2
				at, v := c.at(id, p)
				wantForward(t, v)
				if f := c.flow(at, k); at != owner || v.Dir != 1 || f.Key[0] != k {
					t.Fatalf("%v at node %d leaves at %d for %v, want node %d for %v", reply, id, at, f.Key[0], owner, k)
				}
			}
		}
	}
	c.run(200_000 * ms)
	c.wantNoUse()
}
