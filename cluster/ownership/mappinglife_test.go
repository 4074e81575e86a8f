package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

// carries lets time pass while the fast path of its owner carries a connection:
// nothing else refreshes that.
func (c *cluster) carries(k packet.FlowKey, d int64) {
	for end := c.now + d; c.now < end; {
		owner := c.oneOwner(k)
		c.flow(owner, k).Account(0, c.nodes[owner].core.tick(), 100)
		c.run(10_000 * ms)
	}
}

// The owner of a mapping and of its connections dies. The connection is taken over by
// one node and the mapping, by a new connection, by another one; or the mapping by
// nobody, for nothing new begins. It stays as long as the connection (RFC 4787,
// REQ-5), and ends after it (FR15).
func TestFR11_NT9_AMappingLivesAsLongAsAConnectionThatAnotherNodeOwns(t *testing.T) {
	for _, taken := range []bool{true, false} {
		for n := byte(1); n < 3; n++ {
			c := natCluster(t, 1, 2, 3, 4)
			k := eim(n)
			k.SrcPort, k.Proto = k.SrcPort+uint16(n), packet.ProtoTCP
			c.at(4, tcp(k, SYN))
			c.run(20 * ms)
			answer := tcp(c.reply(k), SYN|ACK)
			answer.In = 2
			c.at(c.oneOwner(k), answer)
			c.at(c.oneOwner(k), tcp(k, ACK))
			c.run(20 * ms)
			port := c.reply(k).DstPort
			owner := c.oneOwner(k)
			c.kill(owner)
			var rest []wire.NodeID
			for id := wire.NodeID(1); id <= 4; id++ {
				if id != owner {
					rest = append(rest, id)
				}
			}
			c.apply(1, 2, rest...)
			c.run(50 * ms)
			if taken {
				other := k
				other.Dst[2]++
				c.at(rest[1], tcp(other, SYN))
				c.run(20 * ms)
				if got := c.reply(other).DstPort; got != port {
					t.Fatalf("port %d after the death, want %d", got, port)
				}
			}
			c.at(rest[0], tcp(k, ACK))
			c.carries(k, 700_000*ms)
			last := k
			last.Dst[2] += 2
			c.at(rest[2], tcp(last, SYN))
			c.run(20 * ms)
			if got := c.reply(last).DstPort; got != port {
				t.Fatalf("mapping taken over: %v: port %d although the mapping was in use all the time, want %d", taken, got, port)
			}
			at := c.nodes[c.oneOwner(k)]
			at.core.closeFlow(at.table.Lookup(k).Slot())
			c.run(1_000_000 * ms)
			c.wantNoUse()
			for _, id := range rest {
				if s := c.nodes[id].table.Stats(); s.Flows != 0 {
					t.Fatalf("mapping taken over: %v: node %d keeps %d flows", taken, id, s.Flows)
				}
			}
		}
	}
}
