package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

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
