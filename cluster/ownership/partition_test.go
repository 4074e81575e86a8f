package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// Both sides of a partition granted the same connection in the same generation;
// the director owns it on its side. It wins, and the loser keeps the copy.
func TestFR1_FR3_EqualGenerationsAfterAPartition(t *testing.T) {
	c := newCluster(t, 1, 2)
	k := c.keyDirectedBy(packet.ProtoUDP, 1)
	c.apply(2, 2, 1)
	c.apply(3, 2, 2)
	c.at(1, udp(k))
	c.at(2, udp(k))
	if got := len(c.owners(k)); got != 2 {
		t.Fatalf("%d owners while the cluster is cut, want one on each side", got)
	}
	c.apply(4, 3, 1, 2)
	c.run(4500 * ms)
	c.wantOwner(k, 1)
	c.wantCopy(k, 2, 1, 1)
}

// The owner closed while the node with the copy was on the other side. Epochs
// follow each other on both sides; only the term tells that there was a cut.
func TestFR15_CloseDuringAPartitionIsMadeUpAfterIt(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.begin(packet.ProtoUDP, 2, 3, 20*ms)
	c.wantCopy(k, 3, 2, 1)
	c.apply(2, 2, 1, 2)
	c.apply(3, 2, 3)
	n := c.nodes[2]
	n.core.closeFlow(n.table.Lookup(k).Slot())
	c.run(20 * ms)
	c.apply(4, 3, 1, 2, 3)
	c.run(4500 * ms)
	c.wantCopy(k, 0, 0, 0)
}

// Two sides of a partition began the same connection. The owner that gives way
// withdraws its copy from where it was on its side, not only from where it would
// be now: nobody may take over what has been given up, for its mapped port comes
// free (NT4).
func TestNT4_WhoGivesWayWithdrawsItsOldCopy(t *testing.T) {
	c := newCluster(t, 1, 2, 3, 4)
	k := c.keyDirectedBy(packet.ProtoUDP, 2)
	c.apply(2, 2, 1, 3)
	old := c.order().Backup(k, 1)
	c.apply(3, 2, 2, 4)
	c.run(50 * ms)
	c.at(1, udp(k))
	c.at(2, udp(k))
	c.run(50 * ms)
	if _, copied := c.nodes[old].copies.Get(k); !copied || old != 3 {
		t.Fatalf("the copy on the first side is not at node 3")
	}
	c.apply(4, 3, 1, 2, 3, 4)
	c.run(200 * ms)
	c.wantOwner(k, 2)
	if e, copied := c.nodes[3].copies.Get(k); copied && e.Owner() == 1 && c.order().Backup(k, 2) != 3 {
		t.Fatalf("node 3 still has a copy of what node 1 has given up: %+v", e)
	}
}

// A director comes back from the other side with an entry whose owner has lost
// the connection meanwhile: who registers it now wins.
func TestFR1_EntryFromBeforeThePartitionDoesNotOverruleTheOwner(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.begin(packet.ProtoUDP, 2, 3, 20*ms)
	conn := c.nodes[2].core.connOf(c.flow(2, k))
	c.apply(2, 2, 1, 2)
	c.apply(3, 2, 3)
	c.nodes[2].table.RemoveFlow(c.nodes[2].table.Lookup(k).Slot())
	if _, r := c.nodes[1].core.install(&conn, 0); r != ReasonNone {
		t.Fatal(r)
	}
	c.apply(4, 3, 1, 2, 3)
	c.run(4500 * ms)
	c.wantOwner(k, 1)
	c.wantCopy(k, 3, 1, 2)
}

// The same with two living owners, and a claim of the newcomer that the
// partition had delayed: the director refuses it and then takes the
// registration behind it. One of the two remains.
func TestFR14_ContradictingAnswersLeaveOneOwner(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.begin(packet.ProtoUDP, 2, 3, 20*ms)
	conn := c.nodes[2].core.connOf(c.flow(2, k))
	if _, r := c.nodes[1].core.install(&conn, 0); r != ReasonNone {
		t.Fatal(r)
	}
	c.nodes[3].core.sync.viewAt = c.nodes[3].core.tick() // a view in which nobody has registered yet
	c.nodes[3].core.Message(c.now, 1, &wire.Claim{Conn: conn})
	c.nodes[3].core.Message(c.now, 1, &wire.Claim{Conn: conn, Reregister: true})
	c.run(20 * ms)
	c.wantOwner(k, 1)
	c.wantCopy(k, 3, 1, 2)
}

// A re-registration of an overruled owner reaches a node that is not the
// director: the better copy stays, and the sender learns who owns it.
func TestFR14_ReregistrationDoesNotOverwriteABetterCopy(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoUDP, 1)
	c.at(1, udp(k)) // its own director: the copy is elsewhere
	c.run(20 * ms)
	holder := c.order().Backup(k, 1)
	conn := c.nodes[1].core.connOf(c.flow(1, k))
	n := c.nodes[1]
	n.table.UpdateFlow(n.table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) { f.Gen = 3 })
	n.core.replicate(c.flow(1, k))
	c.run(20 * ms)
	other := 2 + 3 - holder
	if _, r := c.nodes[other].core.install(&conn, 0); r != ReasonNone {
		t.Fatal(r)
	}
	c.nodes[holder].core.Message(c.now, other, &wire.Claim{Conn: conn, Reregister: true})
	c.run(20 * ms)
	c.wantCopy(k, holder, 1, 3)
	c.wantOwner(k, 1)
}

// A node becomes the owner of what it has an old copy of.
func TestFR3_NewOwnerDropsItsCopy(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoUDP, 3)
	old := flowtable.Backup{Key: flowtable.Pack(k), Gen: 1, Owner: 2, Incarnation: c.nodes[2].inc.Tag(), Timeout: 60}
	if err := c.nodes[1].copies.Put(old); err != nil {
		t.Fatal(err)
	}
	c.nodes[1].core.sync.clean = false // ageing may not drop it as misplaced
	c.at(1, udp(k))
	c.run(20 * ms)
	c.wantCopy(k, 3, 1, 1)
}

// A node joins from another side, by a view that follows the owner's last one
// in every number. It has a copy of what the owner closed meanwhile.
func TestFR15_JoinerForgetsWhatItsOwnerHasClosed(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.begin(packet.ProtoUDP, 2, 3, 20*ms)
	c.apply(2, 2, 2, 3)
	c.run(1000 * ms)
	c.wantCopy(k, 3, 2, 1)
	c.apply(3, 3, 1, 2) // without node 3, which does not learn it
	c.run(1000 * ms)
	n := c.nodes[2]
	n.core.closeFlow(n.table.Lookup(k).Slot())
	c.run(20 * ms)
	c.apply(3, 4, 1, 2, 3)
	c.run(4500 * ms)
	c.wantCopy(k, 0, 0, 0)
}
