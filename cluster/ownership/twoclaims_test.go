package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

// A claim is given up, and its connection claimed again with another port, before the
// director hears of either. It stores one after the other: the owner goes by the last.
// Else whoever takes over translates with a port that the owner has given to somebody else.
func TestNT4_FR14_TheLastOfTwoClaimsIsWhatBothGoBy(t *testing.T) {
	for _, bound := range []bool{false, true} {
		c := natCluster(t, 1, 2, 3, 4)
		k := packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 2000, DstPort: 53, Proto: packet.ProtoUDP}
		for c.order().Director(k) != 2 {
			k.SrcPort++
		}
		n := c.nodes[1]
		n.fake.joins = bound
		usual := c.delay
		c.delay = func() int64 { return 2000 * ms }
		first := udp(k)
		first.Handle = 100
		if v := n.core.Packet(c.now, &first); v.Op != OpHold {
			t.Fatalf("%+v, want it to wait", v)
		}
		given := n.core.pending.get(canonical(k)).conn.Reply
		for n.core.pending.get(canonical(k)) != nil {
			c.run(10 * ms)
		}
		again := udp(k)
		again.Handle = 101
		if v := n.core.Packet(c.now, &again); v.Op != OpHold {
			t.Fatalf("%+v, want it to wait", v)
		}
		last := n.core.pending.get(canonical(k)).conn.Reply
		if last == given {
			t.Fatal("the port of the claim that was given up is chosen again")
		}
		n.core.pending.get(canonical(k)).deadline += 10_000 * ms // the link is slow, and nobody gives up
		c.delay = usual
		c.run(3000 * ms)
		sameKey := func() {
			t.Helper()
			if got := c.reply(k); got != last {
				t.Errorf("bound %v: the owner goes by %v, and claimed %v last", bound, got, last)
			}
			e, _ := c.nodes[2].core.copyOf(canonical(k))
			if got := c.nodes[2].core.connOfCopy(e).Reply; got != c.reply(k) {
				t.Errorf("bound %v: the copy says %v, the owner %v", bound, got, c.reply(k))
			}
			if e, known := c.nodes[2].core.stub(given); known && e.Flags()&wire.ConnTomb == 0 {
				t.Errorf("bound %v: the director leads %v to it", bound, given)
			}
		}
		sameKey()

		// An answer to the first may come later still, as one by key does.
		late := n.core.connOf(n.table.Flow(n.table.Lookup(k).Slot()))
		late.Reply = given
		e := c.nodes[2].core.entry(1, canonical(k), late.Gen)
		e.Timeout = late.Timeout
		if err := c.nodes[2].copies.PutPair(e, given); err != nil {
			t.Fatal(err)
		}
		n.core.Message(c.now, 2, &wire.Grant{Conn: late})
		c.run(50 * ms)
		sameKey()
	}
}
