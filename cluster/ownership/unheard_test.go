package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// loseGrants takes the grants away that are on their way.
func (c *cluster) loseGrants() (lost int) {
	keep := c.queue[:0]
	for _, q := range c.queue {
		if answersClaim(q.m) {
			lost++
			continue
		}
		keep = append(keep, q)
	}
	c.queue = keep
	return lost
}

// answersClaim: it says that the claimant owns it.
func answersClaim(m wire.Message) bool {
	switch m.(type) {
	case *wire.Grant, *wire.Granted:
		return true
	}
	return false
}

// Node 3 directs and owns a connection. A cut leaves it alone; on the other side the
// holder of the copy grants the connection to the third node, which never hears of
// that. After the heal the holder of the copy directs nothing here any more: were node
// 3 told that the third node owns it, the connection would be nobody's.
func TestFR11_WhatWasGrantedAndNeverHeardOfIsNotGivenUp(t *testing.T) {
	for _, again := range []bool{false, true} { // what the holder says after the heal is lost, too
		c := newCluster(t, 1, 2, 3)
		k := c.begin(packet.ProtoUDP, 3, 3, 1200*ms)
		holder := c.order().Backup(k, 3)
		third := 1 + 2 - holder
		c.wantCopy(k, holder, 3, 1)
		c.apply(2, 2, 3)
		c.apply(1, 2, 1, 2)
		c.run(50 * ms)
		p := udp(k)
		p.Handle = 1
		c.nodes[third].core.Packet(c.now, &p)
		c.run(150_000)
		if lost := c.loseGrants(); lost != 1 {
			t.Fatalf("%d grants on their way, want one", lost)
		}
		c.apply(3, 3, third)
		c.run(20 * ms)
		c.apply(4, 4, 1, 2, 3)
		for range 500 {
			c.run(ms / 20)
			if again {
				c.loseGrants()
			}
			if len(c.owners(k)) == 0 {
				t.Fatal("nobody owns it any more")
			}
		}
		if again {
			if c.oneOwner(k) != 3 {
				t.Fatalf("owners %v, want 3, until it hears of another", c.owners(k))
			}
			c.nodes[3].core.PeerReset() // a channel that loses messages starts over
			c.run(1000 * ms)
		}
		for id := wire.NodeID(1); id <= 3; id++ {
			if by, v := c.at(id, udp(k)); v.Op != OpForward || by != c.oneOwner(k) {
				t.Fatalf("again %v: a packet at node %d: %+v (%v) by node %d, owners %v", again, id, v, v.Reason, by, c.owners(k))
			}
		}
		c.run(4500 * ms)
		owner := c.oneOwner(k)
		if gen := c.flow(owner, k).Gen; owner != third || gen != 2 {
			t.Fatalf("node %d owns it in generation %d, want node %d, whose generation is the higher one, 2", owner, gen, third)
		}
		c.wantCopy(k, 3, third, 2)
	}
}

// The same, but the third node heard of it: it goes on with it, and whoever asks is
// led there.
func TestFR1_WhatWasGrantedAndHeardOfBeyondACutHasOneOwner(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.begin(packet.ProtoUDP, 3, 3, 1200*ms)
	holder := c.order().Backup(k, 3)
	third := 1 + 2 - holder
	c.apply(2, 2, 3)
	c.apply(1, 2, 1, 2)
	c.run(50 * ms)
	_, v := c.at(third, udp(k))
	wantForward(t, v)
	c.apply(4, 3, 1, 2, 3)
	c.run(4500 * ms)
	c.wantOwner(k, third)
	c.wantCopy(k, 3, third, 2)
}

// The director of a connection, which owns it in an older generation, registers where
// the copy names another owner. That one is asked to go on only if it may not have
// heard that it is the owner, and if it is the same connection: what ended at an owner
// that had confirmed it, or is another connection, is not begun again.
func TestNT4_OnlyWhatWasNeverHeardOfIsGrantedAgain(t *testing.T) {
	for name, change := range map[string]func(b *flowtable.Backup, conn *wire.Conn){
		"unheard":   func(*flowtable.Backup, *wire.Conn) {},
		"confirmed": func(b *flowtable.Backup, _ *wire.Conn) { b.Flags &^= wire.ConnGranted },
		"another":   func(_ *flowtable.Backup, conn *wire.Conn) { conn.SeqDelta = 7 },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 1, 2, 3)
			k := c.begin(packet.ProtoTCP, 3, 3, 20*ms)
			holder := c.order().Backup(k, 3)
			n := c.nodes[holder]
			e, known := n.copies.Get(k)
			if !known {
				t.Fatal("no copy")
			}
			conn := n.core.connOfCopy(e)
			third := 1 + 2 - holder
			rewrite(t, n.copies, k, func(b *flowtable.Backup) {
				b.Owner, b.Incarnation, b.Gen, b.Flags = uint8(third), c.nodes[third].inc.Tag(), 2, b.Flags|wire.ConnGranted
				change(b, &conn)
			})
			n.core.Message(c.now, 3, &wire.Update{Conn: conn})
			if lost := c.loseGrants(); lost == 1 != (name == "unheard") {
				t.Errorf("%d grants", lost)
			}
		})
	}
}
