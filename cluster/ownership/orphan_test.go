package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

// The copy of a dead owner from one side overtakes the living owner of the
// other side: the living one goes on, one generation later.
func TestFR11_OrphanOfALaterGenerationGoesToTheLivingOwner(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.begin(packet.ProtoUDP, 1, 2, 20*ms)
	conn := c.nodes[1].core.connOf(c.flow(1, k))
	conn.Gen, conn.Flags = 2, wire.ConnOrphan
	c.nodes[2].core.Message(c.now, 3, &wire.Update{Conn: conn})
	c.run(20 * ms)
	_, v := c.at(3, udp(k))
	wantForward(t, v)
	c.wantOwner(k, 1)
	c.wantCopy(k, 2, 1, c.flow(1, k).Gen)
	if gen := c.flow(1, k).Gen; gen != 3 {
		t.Fatalf("generation %d, want one more than the orphan's 2", gen)
	}
}

// An overruled owner repeats itself before it has heard that it goes on in a
// later generation: the answers end.
func TestFR11_RepeatedUpdateGetsTheSameGeneration(t *testing.T) {
	c := newCluster(t, 1, 2)
	k := c.begin(packet.ProtoUDP, 1, 1, 20*ms)
	conn := c.nodes[1].core.connOf(c.flow(1, k))
	orphan := conn
	orphan.Gen, orphan.Flags = 2, wire.ConnOrphan
	c.nodes[2].copies.Delete(k)
	c.nodes[2].core.Message(c.now, 1, &wire.Update{Conn: orphan})
	c.nodes[2].core.Message(c.now, 1, &wire.Update{Conn: conn})
	c.nodes[2].core.Message(c.now, 1, &wire.Update{Conn: conn})
	c.run(100 * ms)
	c.wantCopy(k, 2, 1, 3)
	if gen := c.flow(1, k).Gen; gen != 3 {
		t.Fatalf("generation %d after two repetitions, want 3", gen)
	}
}

// Entries carry eight bits of an incarnation. A new life with the same ones is
// not taken for the old owner.
func TestFR11_NewLifeWithTheSameTagIsNotTheOwner(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	c.at(1, tcp(k, SYN))
	c.at(2, tcp(k.Reverse(), SYN|ACK))
	c.at(1, tcp(k, ACK))
	c.run(20 * ms)
	tag := c.nodes[1].inc
	c.kill(1)
	c.boot(1).inc = tag + 1<<8
	c.apply(1, 2, 1, 2, 3)
	c.run(50 * ms)
	_, v := c.at(2, tcp(k.Reverse(), ACK))
	wantForward(t, v)
	if f := c.flow(c.oneOwner(k), k); f.Gen != 2 {
		t.Fatalf("generation %d, want a takeover", f.Gen)
	}
}

// An owner is cut off, and the copy of its connection becomes an orphan, which is
// handed to another node. The connection ends beyond the cut; its Close reaches
// neither. When the owner is back in the same life, its full round says so: nobody
// revives the connection, by a packet that could be any (NT4). In a new life it
// cannot know, and the connection is taken over.
func TestNT4_AnOrphanEndsWithItsLastOwnersRound(t *testing.T) {
	for _, tt := range []struct {
		name    string
		ended   bool // beyond the cut, before the heal
		renewed bool // the owner comes back in a new life
		owner   wire.NodeID
	}{
		{"the connection has ended", true, false, 0},
		{"the connection goes on", false, false, 2},
		{"the owner is another", true, true, 1},
	} {
		c := newCluster(t, 1, 2, 3, 4)
		k := c.keyDirectedBy(packet.ProtoUDP, 4)
		for c.order().Director(k) != 4 || c.order().Backup(k, 4) != 3 {
			k.SrcPort++
		}
		c.apply(1, 2, 1, 2, 3)
		c.run(4000 * ms)
		c.at(2, udp(k))
		c.run(20 * ms)
		c.wantCopy(k, 3, 2, 1)
		c.apply(2, 3, 1, 2)
		c.apply(3, 3, 3) // without node 2: an orphan in time
		c.run(1200 * ms)
		c.apply(3, 4, 3, 4)
		c.run(1200 * ms)
		if _, given := c.nodes[4].copies.Get(k); !given {
			t.Fatalf("%s: node 4, the director, was not given the copy", tt.name)
		}
		if tt.ended {
			n := c.nodes[2]
			n.core.closeFlow(n.table.Lookup(k).Slot())
		}
		if tt.renewed {
			c.kill(2)
			c.boot(2)
		}
		c.run(20 * ms)
		c.apply(4, 5, 1, 2, 3, 4)
		c.run(200 * ms)
		_, v := c.at(1, udp(k.Reverse()))
		if ids := c.owners(k); tt.owner == 0 && (v.Op != OpDrop || len(ids) != 0) {
			t.Fatalf("%s: %+v, nodes %v own it", tt.name, v, ids)
		} else if tt.owner != 0 && (v.Op != OpForward || len(ids) != 1 || ids[0] != tt.owner) {
			t.Fatalf("%s: %+v, nodes %v own it, want %d", tt.name, v, ids, tt.owner)
		}
		// Only what still lives has a copy, and one.
		c.run(9000 * ms)
		copies := 0
		for _, n := range c.nodes {
			if _, copied := n.copies.Get(k); copied {
				copies++
			}
		}
		if want := min(int(tt.owner), 1); copies != want {
			t.Fatalf("%s: %d copies in the end, want %d", tt.name, copies, want)
		}
	}
}

// Each side of a partition may have had an owner, both dead for a third side. That
// one of them comes back without the connection does not end what the other had.
// And who hears from another of its own former connection knows better (NT4).
func TestFR11_AnOrphanOfTwoOwnersOutlivesTheRoundOfOne(t *testing.T) {
	for _, tt := range []struct {
		last []wire.NodeID // that the handed over copies name
		kept bool
	}{
		{[]wire.NodeID{2}, false},
		{[]wire.NodeID{2, 2}, false},
		{[]wire.NodeID{2, 3}, true},
		{[]wire.NodeID{0}, true},
		{[]wire.NodeID{4}, false},
	} {
		c := newCluster(t, 1, 2, 3, 4)
		k := c.keyDirectedBy(packet.ProtoUDP, 4)
		c.apply(2, 2, 1, 4)
		c.run(50 * ms)
		for _, id := range tt.last {
			last := wire.LastOwner{ID: id}
			if id != 0 {
				last.Life = c.nodes[id].inc.Tag()
			}
			conn := wire.Conn{Key: k, Gen: 1, In: 1, Out: 2, Flags: wire.ConnOrphan, Timeout: 60}
			c.nodes[4].core.Message(c.now, 1, &wire.Update{Conn: conn, Last: last})
		}
		c.apply(3, 3, 1, 2, 4) // node 3 stays away
		c.run(4500 * ms)
		if _, kept := c.nodes[4].copies.Get(k); kept != tt.kept {
			t.Errorf("orphan of %v kept: %v, want %v", tt.last, kept, tt.kept)
		}
	}
}
