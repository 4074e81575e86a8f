package ownership

import (
	"slices"
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// While nodes are missing, the reply key of what they may have taken over stays
// in use after its end here; what has begun since is nobody else's business.
// When everybody is back, it comes free (NT4).
func TestNT4_AKeyThatMayLiveElsewhereIsNotReused(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	n := c.nodes[1]
	old := c.beginUndirected()
	k1 := c.flow(1, old).Key[1]
	c.apply(2, 2, 1)
	n.fake.apart = true
	c.run(100 * ms)
	since := inside(2, packet.ProtoUDP)
	c.at(1, udp(since))
	c.run(20 * ms)
	k2 := c.flow(1, since).Key[1]
	c.run(400_000 * ms)
	if s := n.table.Stats(); s.Flows != 0 {
		t.Fatalf("%d flows are left", s.Flows)
	}
	if !n.core.taken(k1) || n.fake.uses[k1] != 1 {
		t.Fatalf("the key of a connection that others may own is free: uses %v", n.fake.uses)
	}
	if n.core.taken(k2) || n.fake.uses[k2] != 0 {
		t.Fatalf("the key of a connection that nobody else knew is kept: uses %v", n.fake.uses)
	}
	// Everybody is back and has registered. But what the others have heard of that
	// may be on its way, in a cut that nobody has noticed yet.
	n.fake.apart = false
	c.apply(4, 3, 1, 2, 3)
	c.run(5000 * ms)
	if !n.core.sync.clean || !n.core.taken(k1) {
		t.Fatalf("all registered: %v; the key is free before the others know that its connection is over", n.core.sync.clean)
	}
	c.run(6000 * ms)
	if n.core.taken(k1) {
		t.Fatal("the key never comes free")
	}
	c.kill(2)
	c.kill(3)
	c.wantNoUse()
}

// A claim is granted, but the claimant never hears of it: its daemon stood still, or
// the link fell dead one way. The granter may go on with the connection, when it
// takes the claimant for dead; so the claimant keeps the key from others (NT4). What
// nobody revives comes free.
func TestNT4_TheKeyOfAnUnheardGrantIsNotReused(t *testing.T) {
	c := natCluster(t, 1, 2)
	k := inside(1, packet.ProtoUDP)
	for c.order().Director(k) != 2 {
		k.SrcPort++
	}
	n := c.nodes[1]
	p := udp(k)
	p.Handle = 1
	if v := n.core.Packet(c.now, &p); v.Op != OpHold {
		t.Fatalf("%+v", v)
	}
	n.dead = true
	c.run(ms)
	n.dead = false
	e, granted := c.nodes[2].copies.Get(k)
	if !granted {
		t.Fatal("node 2 has no copy")
	}
	reply, _ := e.Other()
	c.nodes[2].dead = true // as node 1 sees it
	c.run(1100 * ms)       // longer than it waits for answers
	c.applyAt(c.viewOf(2, 1, 1), 1)
	n.fake.apart = true
	c.run(5000 * ms)
	if ref, _ := n.core.owning(k); ref != 0 || len(n.core.reserved) != 0 {
		t.Fatalf("node 1 owns the connection, or waits still: reserved %v", n.core.reserved)
	}
	if !n.core.taken(reply) || n.fake.uses[reply] != 1 {
		t.Fatalf("a key that node 2 may use is free: uses %v", n.fake.uses)
	}
	n.fake.apart = false
	c.run(20_000 * ms)
	if n.core.taken(reply) || n.fake.uses[reply] != 0 {
		t.Fatalf("the key never comes free: uses %v", n.fake.uses)
	}
}

// A TCP connection that ended in order has waited in TIME_WAIT: no hold-down
// follows (RFC 6888, REQ-8 a). One that fell silent is held down.
func TestNT5_HoldDownFollowsADisorderlyEndOnly(t *testing.T) {
	for _, orderly := range []bool{true, false} {
		c := natCluster(t, 1, 2, 3)
		k := inside(1, packet.ProtoTCP)
		c.at(1, tcp(k, SYN))
		c.run(20 * ms)
		f := c.flow(1, k)
		c.nodes[1].table.UpdateFlow(c.nodes[1].table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) {
			f.State = uint8(flowtable.TCPEstablished)
			if orderly {
				f.State = uint8(flowtable.TCPTimeWait)
			}
			f.Timeout = 2
		})
		k1, knew := f.Key[1], map[wire.NodeID]bool{}
		for id, n := range c.nodes { // the holder of the unit, and who keeps the second key
			if n.fake.uses[k1] != 0 {
				knew[id] = true
			}
		}
		if len(knew) < 2 {
			t.Fatal("nobody else keeps the second key")
		}
		c.run(20_000 * ms)
		for id := range knew {
			if c.nodes[id].fake.uses[k1] != 0 {
				t.Fatalf("the key is still in use at node %d", id)
			}
			if got := c.nodes[id].fake.held; (got == 0) != orderly {
				t.Errorf("orderly end: %v, %d hold-downs at node %d", orderly, got, id)
			}
		}
	}
}

// After an end in order the key stays in use where its port is chosen: at the owner, and at
// the holder of the unit if that is another node, as after a drain. Who kept the second key
// only as a backup forgets it at once (NT4).
func TestNT4_AfterAnOrderlyEndWhoChoosesThePortKeepsIt(t *testing.T) {
	for _, drained := range []bool{false, true} {
		c := natCluster(t, 1, 2, 3)
		k := inside(1, packet.ProtoTCP)
		c.at(1, tcp(k, SYN))
		c.run(20 * ms)
		k1 := c.flow(1, k).Key[1]
		if drained {
			c.nodes[1].table.UpdateFlow(c.nodes[1].table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) {
				f.State, f.Timeout = uint8(flowtable.TCPEstablished), 7440
			})
			c.startDrain(2, []wire.NodeID{1}, 1, 2, 3)
			c.run(5000 * ms)
			c.startDrain(3, nil, 1, 2, 3)
			c.run(10000 * ms)
		}
		owner := c.oneOwner(k)
		if (owner == 1) == drained {
			t.Fatalf("drained: %v, owned by %d", drained, owner)
		}
		knew := 0
		for _, n := range c.nodes {
			knew += n.fake.uses[k1]
		}
		table := c.nodes[owner].table
		table.UpdateFlow(table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) {
			f.State, f.Timeout = uint8(flowtable.TCPTimeWait), 2
		})
		for i := 0; table.Lookup(k) != 0; i++ {
			if c.run(50 * ms); i > 200 {
				t.Fatal("it does not end")
			}
		}
		c.run(200 * ms)
		for id, n := range c.nodes {
			chooses := id == 1 || id == owner
			if got := n.fake.uses[k1]; chooses && got != 1 || !chooses && !drained && got != 0 {
				t.Errorf("drained: %v, owned by %d: %d uses at node %d", drained, owner, got, id)
			}
		}
		if !drained && knew != 2 {
			t.Errorf("%d nodes knew the key, want the owner and a backup", knew)
		}
		c.run(10_000 * ms)
		if left := c.nodes[1].fake.uses[k1] + c.nodes[owner].fake.uses[k1]; left != 0 {
			t.Errorf("drained: %v: the key never comes free", drained)
		}
	}
}

// A SYN with the ports of a connection that is in TIME_WAIT, or was reset, ends that before
// its time, and anybody outside can send one: then a hold-down follows, wherever the second
// key is kept.
func TestNT5_HoldDownFollowsATimeWaitThatIsCutShort(t *testing.T) {
	for _, outside := range []bool{false, true} {
		for _, state := range []flowtable.TCPState{flowtable.TCPTimeWait, flowtable.TCPClosed} {
			c := natCluster(t, 1, 2, 3)
			k := inside(1, packet.ProtoTCP)
			c.at(1, tcp(k, SYN))
			c.run(20 * ms)
			k1, knew := c.flow(1, k).Key[1], map[wire.NodeID]bool{}
			c.nodes[1].table.UpdateFlow(c.nodes[1].table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) {
				f.State, f.Timeout = uint8(state), 240
			})
			for id, n := range c.nodes {
				if n.fake.uses[k1] != 0 {
					knew[id] = true
				}
			}
			if len(knew) < 2 {
				t.Fatal("nobody else keeps the second key")
			}
			p := tcp(k, SYN)
			if outside {
				p = tcp(k1, SYN)
				p.In = 2
			}
			c.at(1, p)
			c.run(20_000 * ms)
			for id := range knew {
				if c.nodes[id].fake.held == 0 {
					t.Errorf("%v, SYN from outside %v: no hold-down at node %d", state, outside, id)
				}
			}
		}
	}
}

// Two hairpins the opposite way have second keys that are each other's reverse.
// What is said of one does not touch the other, and no use is left over.
func TestRFC4787_REQ9_ReverseKeysAreTwoStubs(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	n := c.nodes[1]
	k := packet.FlowKey{Src: public, SrcPort: 2000, Dst: public, DstPort: 3000, Proto: packet.ProtoUDP}
	bind := wire.Bind{Key: k, Conn: inside(1, packet.ProtoUDP), Gen: 1, Timeout: 30}
	n.core.Message(c.now, 2, &bind)
	if n.core.bound(k.Reverse()) || n.core.taken(k.Reverse()) {
		t.Error("the reverse key counts as bound")
	}
	n.core.Message(c.now, 2, &wire.Close{Key: k.Reverse(), Gen: 9})
	if !n.core.bound(k) {
		t.Fatal("the end of the reverse key's connection ended this one")
	}
	bind.Key, bind.Conn = k.Reverse(), inside(2, packet.ProtoUDP)
	n.core.Message(c.now, 3, &bind)
	if n.fake.uses[k] != 0 || n.fake.uses[k.Reverse()] != 1 {
		t.Fatalf("uses %v after the reverse key took the place", n.fake.uses)
	}
}

// beginUndirected lets node 1 own a connection that another node directs.
func (c *cluster) beginUndirected() packet.FlowKey {
	c.t.Helper()
	k := inside(1, packet.ProtoUDP)
	for c.order().Director(k) == 1 {
		k.SrcPort++
	}
	_, v := c.at(1, udp(k))
	wantForward(c.t, v)
	c.run(20 * ms)
	return k
}

// beginFixed lets node 1 own a connection with a static translation; first is its
// first packet.
func (c *cluster) beginFixed(proto uint8) (k packet.FlowKey, first Packet) {
	c.t.Helper()
	for _, n := range c.nodes {
		n.fake.fixed = packet.Addr{198, 51, 100, 80}
	}
	k = packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 2000, DstPort: 80, Proto: proto}
	first = udp(k)
	if proto == packet.ProtoTCP {
		first = tcp(k, SYN)
	}
	_, v := c.at(1, first)
	wantForward(c.t, v)
	c.run(20 * ms)
	return k, first
}

// A static translation has no other key to choose: the next connection between the
// same ports may have that of the last, however long this is kept from others.
func TestNT4_AStaticTranslationIsNoConflictWithItsOwnTomb(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
		for id := wire.NodeID(1); id <= 3; id++ {
			c := natCluster(t, 1, 2, 3)
			for _, n := range c.nodes {
				n.fake.apart = true
			}
			k, first := c.beginFixed(proto)
			n := c.nodes[1]
			slot := n.table.Lookup(k).Slot()
			if proto == packet.ProtoTCP {
				n.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.State = uint8(flowtable.TCPTimeWait) })
			}
			n.core.closeFlow(slot)
			c.run(20 * ms)
			_, v := c.at(id, first)
			if v.Op != OpForward {
				t.Errorf("%s again at node %d: %+v (%v)", packet.ProtoName(proto), id, v, v.Reason)
			}
			other := first
			other.Key.Src = packet.Addr{10, 0, 0, 2}
			_, v = c.at(c.oneOwner(k), other)
			wantDrop(t, v, ReasonNATConflict)
		}
	}
}

// A claim that the link has not taken is granted by nobody: its port is free at once,
// or a backed up link would use the pool up.
func TestNT3_AClaimThatNeverLeftKeepsNoPort(t *testing.T) {
	c := natCluster(t, 1, 2)
	k := inside(1, packet.ProtoUDP)
	for c.order().Director(k) != 2 {
		k.SrcPort++
	}
	c.refus[2] = true
	_, v := c.at(1, udp(k))
	wantDrop(t, v, ReasonLinkBacklog)
	n := c.nodes[1]
	if len(n.fake.uses) != 0 || len(n.core.reserved) != 0 || n.stubs.Len() != 0 {
		t.Fatalf("uses %v, %d tombs", n.fake.uses, n.stubs.Len())
	}
}

// A round says of which keys the hold-down has not begun, before it ends; and it does
// not end while the link is backed up: who thaws a unit must have heard it (NT5).
func TestNT5_ARoundSaysWhatIsAboutToRest(t *testing.T) {
	c := natCluster(t, 1, 2)
	n := c.nodes[1]
	k := inside(1, packet.ProtoUDP)
	c.at(1, udp(k))
	c.run(20 * ms)
	k1 := c.flow(1, k).Key[1]
	c.apply(2, 2, 1)
	n.fake.apart = true // else the tomb does not last
	c.run(400_000 * ms)
	var heard []packet.FlowKey
	n.core.Entombed(func(reply packet.FlowKey) { heard = append(heard, reply) })
	if !slices.Equal(heard, []packet.FlowKey{k1}) {
		t.Fatalf("%v await their hold-down, want %v", heard, k1)
	}
	heard = nil
	backed, ends := true, 0
	n.core.cfg.Entombed = func(reply packet.FlowKey) { heard = append(heard, reply) }
	n.core.cfg.RoundEnds = func() bool {
		if !slices.Contains(heard, k1) {
			t.Errorf("the round ends, and has told %v", heard)
		}
		ends++
		return !backed
	}
	c.apply(4, 3, 1, 2)
	c.run(100 * ms)
	if ends < 2 || !c.nodes[2].core.sync.waiting.has(1) {
		t.Fatalf("asked %d times; the other waits for %v", ends, c.nodes[2].core.sync.waiting)
	}
	backed, ends = false, 0
	c.run(100 * ms)
	if ends != 1 || c.nodes[2].core.sync.waiting.has(1) {
		t.Fatalf("asked %d times, and the other waits for %v", ends, c.nodes[2].core.sync.waiting)
	}
}
