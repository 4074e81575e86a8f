package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// endedBeyondACut opens a TCP connection at node 1 that node 3 directs, cuts the
// two apart, ends the connection and heals: node 3 could not be told. It returns
// the key and the translation that the connection had.
func endedBeyondACut(t *testing.T, c *cluster) (k, was packet.FlowKey) {
	t.Helper()
	k = inside(1, packet.ProtoTCP)
	for c.order().Director(k) != 3 {
		k.SrcPort++
	}
	_, v := c.at(1, tcp(k, SYN))
	wantForward(t, v)
	c.run(20 * ms)
	was = c.reply(k)
	c.at(1, tcp(was, SYN|ACK))
	c.at(1, tcp(k, ACK))
	c.run(1500 * ms)
	if e, ok := c.nodes[3].copies.Get(k); !ok || e.State() != uint8(flowtable.TCPEstablished) {
		t.Fatalf("copy at the director: %+v, %v, want an established connection's", e, ok)
	}
	c.apply(2, 2, 1, 2)
	c.apply(3, 2, 3)
	c.run(2000 * ms)
	n := c.nodes[1]
	slot := n.table.Lookup(k).Slot()
	n.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.State = uint8(flowtable.TCPTimeWait) })
	n.core.closeFlow(slot)
	c.run(20 * ms)
	return k, was
}

// The same ports begin another connection after the heal. It goes on with the
// port that its SYN left with: the port of the last is free, and may be
// somebody's.
func TestNT4_ASynDoesNotReviveWhatEndedBeyondACut(t *testing.T) {
	for _, at := range []wire.NodeID{1, 2, 3} {
		c := natCluster(t, 1, 2, 3)
		k, was := endedBeyondACut(t, c)
		c.apply(4, 3, 1, 2, 3)
		c.run(5000 * ms)
		_, v := c.at(at, tcp(k, SYN))
		wantForward(t, v)
		c.run(50 * ms)
		f := c.flow(c.oneOwner(k), k)
		if f.Key[1] == was || f.State != uint8(flowtable.TCPSynSent) {
			t.Errorf("at node %d: the new connection goes on as %v in state %d, which is the last one's", at, f.Key[1], f.State)
		}
		if holder := c.nodes[c.oneOwner(k)].core.backup(k, c.oneOwner(k)); holder != 0 {
			c.wantCopy(k, holder, c.oneOwner(k), f.Gen)
		}
	}
}

// Or they begin it while the cut lasts. Its owner registers it after the heal,
// with the copy of the last one at the director, even of a later generation.
func TestNT4_ALivingOwnerKeepsItsTranslationFromWhatEndedBeyondACut(t *testing.T) {
	for _, later := range []uint32{0, 1} {
		c := natCluster(t, 1, 2, 3)
		k, was := endedBeyondACut(t, c)
		_, v := c.at(1, tcp(k, SYN))
		wantForward(t, v)
		c.run(50 * ms)
		now := c.flow(1, k).Key[1]
		if now == was {
			t.Fatal("the second connection has the first one's translation: nothing is tested")
		}
		if _, ok := c.nodes[3].copies.Get(k); !ok {
			t.Fatal("node 3 has forgotten the first connection: nothing is tested")
		}
		rewrite(t, c.nodes[3].copies, k, func(b *flowtable.Backup) { b.Gen += later }) // somebody there had taken it over, and died
		c.apply(4, 3, 1, 2, 3)
		c.run(5000 * ms)
		f := c.flow(c.oneOwner(k), k)
		if f.Key[1] != now || f.Gen < 1+later {
			t.Errorf("%d generations later: the connection was %v and is %v in generation %d", later, now, f.Key[1], f.Gen)
		}
		c.wantCopy(k, c.nodes[1].core.backup(k, 1), 1, f.Gen)
	}
}

// A repeated SYN of a connection whose owner died in its handshake is no new
// connection: it leaves as the first one did.
func TestFR11_ARepeatedSynTakesTheHandshakeOver(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoTCP)
	for c.order().Director(k) != 3 {
		k.SrcPort++
	}
	_, v := c.at(1, tcp(k, SYN))
	wantForward(t, v)
	c.run(20 * ms)
	was := c.reply(k)
	c.kill(1)
	c.apply(1, 2, 2, 3)
	c.run(100 * ms)
	c.at(2, tcp(k, SYN))
	c.run(50 * ms)
	if now := c.reply(k); now != was {
		t.Errorf("the handshake was %v and is %v", was, now)
	}
}
