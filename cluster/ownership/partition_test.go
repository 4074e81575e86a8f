package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// wantCopy fails unless node holder, and no other, has a copy of k, of this
// owner and generation.
func (c *cluster) wantCopy(k packet.FlowKey, holder, owner wire.NodeID, gen uint32) {
	c.t.Helper()
	for id, n := range c.nodes {
		if n.dead {
			continue
		}
		e, ok := n.copies.Get(k)
		switch {
		case ok != (id == holder):
			c.t.Fatalf("node %d has a copy: %v (%+v), want it at %d only", id, ok, e, holder)
		case ok && (e.Owner() != uint8(owner) || e.Gen() != gen):
			c.t.Fatalf("copy at %d names owner %d, generation %d, want %d and %d", id, e.Owner(), e.Gen(), owner, gen)
		}
	}
}

// flow returns the flow of k at its owner.
func (c *cluster) flow(id wire.NodeID, k packet.FlowKey) *flowtable.FlowSlot {
	c.t.Helper()
	ref := c.nodes[id].table.Lookup(k)
	if ref == 0 || ref.IsForward() {
		c.t.Fatalf("node %d does not own %v", id, k)
	}
	return c.nodes[id].table.Flow(ref.Slot())
}

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

// The copy that the owner's full round did not confirm is void at once: should
// the owner die before it is swept, nobody revives a connection that is over. Its
// mapped port may be another one's by now (NT4).
func TestNT4_NobodyTakesOverWhatARoundHasNotConfirmed(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.begin(packet.ProtoUDP, 2, 3, 1200*ms)
	c.apply(2, 2, 1, 2)
	c.apply(3, 2, 3)
	n := c.nodes[2]
	n.core.closeFlow(n.table.Lookup(k).Slot())
	c.apply(4, 3, 1, 2, 3)
	c.run(50 * ms)
	c.kill(2)
	c.apply(5, 4, 1, 3)
	_, v := c.at(1, udp(k.Reverse()))
	wantDrop(t, v, ReasonPolicyDenied)
	c.wantNoOwner(k)
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

// A grant crosses a full round of the node that gets it. The round did not
// confirm the connection, but the director must not sweep it.
func TestFR12_GrantThatCrossesAFullRoundStaysProtected(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.begin(packet.ProtoUDP, 2, 3, 20*ms)
	c.kill(2)
	c.apply(1, 2, 1, 3)
	c.run(50 * ms)
	c.now += 5*ms - c.now%(10*ms) // ticks are not due now
	p := udp(k)
	p.Handle = 1
	c.nodes[1].core.Packet(c.now, &p)
	c.delay = func() int64 { return 30 * ms }
	c.run(ms) // node 3 has granted; the grant takes long
	c.delay = func() int64 { return 100_000 }
	c.nodes[1].core.sync.wantFull()
	c.run(50 * ms)
	wantForward(t, c.nodes[1].released[1])
	c.run(2000 * ms)
	c.wantCopy(k, 3, 1, 2)
}

// The same, and the grant takes so long that the director would sweep meanwhile
// and give the connection to another. It waits for as long as the packet does.
// A grant that is lost leaves nothing.
func TestFR1_WhatIsGrantedIsNotSweptBeforeTheGrantArrives(t *testing.T) {
	for _, lost := range []bool{false, true} {
		c := newCluster(t, 1, 2, 3)
		k := c.keyDirectedBy(packet.ProtoUDP, 3)
		c.run(4000 * ms)
		p := udp(k)
		p.Handle = 1
		c.nodes[2].core.Packet(c.now, &p)
		c.delay = func() int64 { return 900 * ms }
		c.run(ms)
		c.delay = func() int64 { return 100_000 }
		c.nodes[2].core.sync.wantFull()
		c.run(880 * ms)
		c.wantCopy(k, 3, 2, 1)
		if lost {
			keep := c.queue[:0]
			for _, q := range c.queue {
				if !answersClaim(q.m) {
					keep = append(keep, q)
				}
			}
			c.queue = keep
			c.run(2500 * ms)
			c.wantCopy(k, 0, 0, 0)
			continue
		}
		c.run(2500 * ms)
		wantForward(t, c.nodes[2].released[1])
		c.wantCopy(k, 3, 2, 1)
	}
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

// A node merges its side into one whose members apply the view late: what it
// registered before they took it for a member is registered again.
func TestFR12_RegistrationBeforeOthersHaveAppliedIsRepeated(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoUDP, 2)
	c.apply(2, 2, 1, 2)
	c.apply(3, 2, 3)
	c.at(3, udp(k))
	merged := c.viewOf(4, 3, 1, 2, 3)
	c.applyAt(merged, 3)
	c.run(1000 * ms)
	c.applyAt(merged, 1, 2)
	c.run(1000 * ms)
	c.wantOwner(k, 3)
	c.wantCopy(k, 2, 3, 1)
}

// A question that waited for owners to re-register is answered soon after the
// last one has, not when the wait would have ended.
func TestFR15_ParkedQueryIsAnsweredWhenEverybodyHasRegistered(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 1)
	c.boot(2).dead = true
	c.apply(1, 2, 1, 2, 3)
	p := tcp(k, ACK)
	p.Handle = 1
	c.nodes[3].core.Packet(c.now, &p)
	c.run(400 * ms)
	if _, ok := c.nodes[3].released[1]; ok {
		t.Fatal("the director invented an answer before node 2 had registered")
	}
	c.nodes[2].dead = false
	c.run(560 * ms) // it heard nobody apply the view: it registers 750 ms after
	v, ok := c.nodes[3].released[1]
	if !ok {
		t.Fatal("no answer 200 ms after everybody had registered")
	}
	wantDrop(t, v, ReasonNoConnection)
}

// The channel to the director started over: what was asked is asked again.
func TestFR15_QuestionLostWithTheChannelIsRepeated(t *testing.T) {
	c := newCluster(t, 1, 2)
	k := c.keyDirectedBy(packet.ProtoUDP, 2)
	p := udp(k)
	p.Handle = 1
	c.nodes[1].core.Packet(c.now, &p)
	c.queue = nil
	c.nodes[1].core.PeerReset()
	c.run(30 * ms)
	wantForward(t, c.nodes[1].released[1])
}

// The director dies before it has answered a claim, and the claimant is the
// next director: it need not ask anybody any more.
func TestFR14_ClaimantThatBecomesTheDirectorIsTheOwner(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	for c.order().Backup(k, 3) != 1 || c.order().Director(k) != 3 {
		k.SrcPort++
	}
	c.nodes[3].dead = true
	_, v := c.at(1, tcp(k, SYN))
	wantForward(t, v)
	c.apply(1, 2, 1, 2)
	c.run(4500 * ms)
	if f := c.flow(1, k); f.Flags&flowtable.FlowProvisional != 0 {
		t.Fatal("the flow is provisional for ever")
	}
	c.wantCopy(k, 2, 1, 1)
}

// The same, but another owner has registered with the new director: it wins
// over what is provisional.
func TestFR14_RegisteredOwnerWinsOverAProvisionalDirector(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	for c.order().Backup(k, 3) != 1 || c.order().Director(k) != 3 {
		k.SrcPort++
	}
	c.at(2, tcp(k, SYN)) // granted
	c.run(20 * ms)
	c.nodes[3].dead = true
	syn := tcp(k, SYN)
	c.nodes[1].core.Packet(c.now, &syn)
	c.apply(1, 2, 1, 2)
	c.run(4500 * ms)
	c.wantOwner(k, 2)
	c.wantCopy(k, 1, 2, 1)
}

// A loser is told of a winner that joined in a view it has not applied yet: it
// asks again instead of staying an owner.
func TestFR14_RedirectToANodeOfALaterViewIsAskedAgain(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.begin(packet.ProtoUDP, 1, 2, 20*ms)
	conn := c.nodes[1].core.connOf(c.flow(1, k))
	if _, r := c.nodes[3].core.install(&conn, 0); r != ReasonNone {
		t.Fatal(r)
	}
	c.nodes[2].core.store(3, &conn)
	c.nodes[1].core.Message(c.now, 2, &wire.Redirect{Key: k, Owner: 9, Gen: 1})
	c.run(4500 * ms)
	c.wantOwner(k, 3)
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

// A registration that was long on the way comes in the same instant as the
// round that does not confirm it any more.
func TestFR15_SweepTellsOrderWithinATick(t *testing.T) {
	c := newCluster(t, 1, 2)
	k := c.keyDirectedBy(packet.ProtoUDP, 1)
	k2 := k
	for k2.Src[3]++; c.order().Director(k2) != 1; {
		k2.SrcPort++
	}
	conn := wire.Conn{Key: k, Gen: 1, In: 1, Out: 2, Timeout: 60}
	conn2 := conn
	conn2.Key = k2
	d := c.nodes[1].core
	tag := c.view.Tag()
	d.Message(c.now, 2, &wire.Synced{View: tag, Phase: wire.SyncFullBegin})
	d.Message(c.now, 2, &wire.Claim{Conn: conn, Reregister: true})
	d.Message(c.now, 2, &wire.Synced{View: tag, Phase: wire.SyncFullEnd})
	d.Message(c.now, 2, &wire.Synced{View: tag, Phase: wire.SyncFullBegin})
	d.Message(c.now, 2, &wire.Claim{Conn: conn2, Reregister: true})
	d.Message(c.now, 2, &wire.Synced{View: tag, Phase: wire.SyncFullEnd})
	c.run(4500 * ms)
	c.wantCopy(k, 0, 0, 0)
	c.wantCopy(k2, 1, 2, 1)
}

// An owner's full round ends in the same instant in which it claims a connection and
// a question of its own about it, which had waited, is answered: the round was before.
func TestFR1_RepeatedGrantIsLaterThanTheRoundOfItsTick(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoUDP, 1)
	d := c.nodes[1].core
	tag := c.view.Tag()
	d.Message(c.now, 2, &wire.Synced{View: tag, Phase: wire.SyncFullBegin})
	d.Message(c.now, 2, &wire.Synced{View: tag, Phase: wire.SyncFullEnd})
	d.Message(c.now, 2, &wire.Query{Key: k})
	d.Message(c.now, 2, &wire.Claim{Conn: wire.Conn{Key: k, Gen: 1, In: 1, Out: 2, Timeout: 60}})
	d.Message(c.now, 2, &wire.Query{Key: k})
	c.kill(2) // it has nothing to add
	c.run(4500 * ms)
	c.wantCopy(k, 1, 2, 1)
}

// A grant answers a question that was put before the owner's full round, while one
// that was put after it waits: the director sweeps what is not confirmed once more.
func TestFR11_GrantOlderThanTheRoundIsConfirmed(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoUDP, 1)
	n := c.nodes[2].core
	n.PeerReset()
	c.run(40 * ms)
	p := udp(k)
	p.Handle = 1
	if v := n.Packet(c.now, &p); v.Op != OpHold {
		t.Fatalf("%+v, want it held", v)
	}
	c.queue = nil
	n.Message(c.now, 1, &wire.Grant{Conn: wire.Conn{Key: k, Gen: 2, In: 1, Out: 2, Timeout: 60}, Adopted: true})
	for _, q := range c.queue {
		if m, ok := q.m.(*wire.Claim); ok && q.to == 1 && m.Reregister {
			return
		}
	}
	t.Fatalf("not confirmed: %v", c.queue)
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

// The owner dies in the same view in which its key gets a new director: the
// former one hands the copy over.
func TestFR11_CopyOfADeadOwnerFollowsTheDirector(t *testing.T) {
	c := newCluster(t, 1, 2, 3, 4)
	k := c.keyDirectedBy(packet.ProtoTCP, 4)
	c.kill(4)
	c.apply(1, 2, 1, 2, 3)
	c.run(50 * ms)
	owner := c.order().Director(k)%3 + 1 // not the director
	c.at(owner, tcp(k, SYN))
	c.at(owner, tcp(k.Reverse(), SYN|ACK))
	c.at(owner, tcp(k, ACK))
	c.run(20 * ms)
	c.kill(owner)
	c.boot(4)
	left := []wire.NodeID{}
	for id := wire.NodeID(1); id <= 4; id++ {
		if id != owner {
			left = append(left, id)
		}
	}
	c.apply(1, 3, left...)
	_, v := c.at(left[0], tcp(k, ACK))
	wantForward(t, v)
	if f := c.flow(c.oneOwner(k), k); f.Gen != 2 || f.State != uint8(flowtable.TCPEstablished) {
		t.Fatalf("adopted in state %v, generation %d, want established and 2", flowtable.TCPState(f.State), f.Gen)
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

// A grant of the former director arrives when its receiver has become the
// director and knows another owner. The later generation wins.
func TestFR14_LateGrantAtTheNewDirector(t *testing.T) {
	for _, gen := range []uint32{1, 2, 3} {
		c := newCluster(t, 1, 2, 3)
		k := c.begin(packet.ProtoUDP, 2, 1, 20*ms)
		n := c.nodes[2]
		n.table.UpdateFlow(n.table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) { f.Gen = 2 })
		n.core.replicate(c.flow(2, k))
		c.run(20 * ms)
		conn := n.core.connOf(c.flow(2, k))
		conn.Gen = gen
		c.nodes[1].core.Message(c.now, 3, &wire.Grant{Conn: conn, Adopted: true})
		c.run(20 * ms)
		want := wire.NodeID(2)
		if gen > 2 {
			want = 1
		}
		if owner := c.oneOwner(k); owner != want {
			t.Fatalf("grant of generation %d: owner %d, want %d", gen, owner, want)
		}
		c.wantCopy(k, c.order().Backup(k, want), want, max(gen, 2))
	}
}

// The new director dies right after it was given a dead owner's copy: the giver
// still has it.
func TestFR11_HandedOverCopySurvivesTheNewDirector(t *testing.T) {
	c := newCluster(t, 1, 2, 3, 4)
	k := c.keyDirectedBy(packet.ProtoTCP, 4)
	c.kill(4)
	c.apply(1, 2, 1, 2, 3)
	c.run(50 * ms)
	holder := c.order().Director(k)
	owner := holder%3 + 1
	c.at(owner, tcp(k, SYN))
	c.run(20 * ms)
	c.kill(owner)
	c.boot(4)
	third := 6 - holder - owner
	c.apply(1, 3, holder, third, 4)
	c.run(1200 * ms)
	c.kill(4)
	c.apply(1, 4, min(holder, third), max(holder, third))
	_, v := c.at(third, tcp(k.Reverse(), SYN|ACK))
	wantForward(t, v)
}

// A node that was given a copy away and becomes the director again does not hand
// it to the first who asks: it was adopted meanwhile, and the owner registers.
func TestFR1_LeftoverCopyWaitsForTheOwnersToRegister(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoUDP, 3)
	for c.order().Backup(k, 3) != 1 || c.order().Director(k) != 3 {
		k.SrcPort++
	}
	c.at(2, udp(k))
	c.run(20 * ms)
	n := c.nodes[2]
	old := n.core.connOf(c.flow(2, k))
	n.table.UpdateFlow(n.table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) { f.Gen = 2 })
	c.nodes[1].core.store(nobody, &old)
	c.kill(3)
	v := c.viewOf(1, 2, 1, 2)
	c.applyAt(v, 1)
	p := udp(k)
	p.Handle = 1
	c.nodes[1].core.Packet(c.now, &p)
	c.run(5 * ms)
	c.applyAt(v, 2)
	c.run(100 * ms)
	c.wantOwner(k, 2)
	if got := c.nodes[1].released[1]; got.Op != OpSend || got.Node != 2 {
		t.Fatalf("verdict %+v, want the packet sent to the owner", got)
	}
	c.wantCopy(k, 1, 2, 2)
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
