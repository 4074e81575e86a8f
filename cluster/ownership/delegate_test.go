package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

const second = 1000 * ms

// pass is at with a fast path that knows delegations: it marks what was forwarded
// at its owner, and counts what is delegated. sent counts what left, by direction.
func (c *cluster) pass(id wire.NodeID, p Packet, sent *[2]uint64) wire.NodeID {
	c.t.Helper()
	n := c.nodes[id]
	dir := 0
	if p.In != 1 {
		dir = 1
	}
	if ref := n.table.Lookup(p.Key); ref != 0 && ref.IsForward() && (p.Kind != KindTCP || p.Flags&(SYN|FIN|RST|ACK) == ACK) {
		if d, _ := n.table.Delegation(ref.Slot()); d != nil && d.InForce(flowtable.TickOf(c.now), n.core.view.Tag()) {
			d.Account(flowtable.TickOf(c.now), int(p.Len), flowtable.TCPSent{SeqEnd: p.Seq + p.SeqLen, Ack: p.Ack, Window: p.Window})
			sent[dir]++
			return id
		}
	}
	out, v := c.at(id, p)
	wantForward(c.t, v)
	sent[dir]++
	if f := c.nodes[out].table.Flow(v.Slot); out != id {
		f.MarkVia(int(v.Dir), uint8(id))
	}
	return out
}

// talk opens a connection at node 1 and lets both directions pass by the others
// until these have delegations.
func (c *cluster) talk(k packet.FlowKey, others ...wire.NodeID) (reply packet.FlowKey, sent [2]uint64) {
	c.t.Helper()
	make := tcp
	if k.Proto == packet.ProtoUDP {
		make = func(k packet.FlowKey, _ uint8) Packet { return udp(k) }
	}
	c.pass(1, make(k, SYN), &sent)
	c.run(5 * ms)
	reply = c.flow(1, k).Key[1]
	c.pass(others[0], make(reply, SYN|ACK), &sent)
	c.pass(1, make(k, ACK), &sent)
	for range 3 {
		for range 10 {
			for _, id := range others {
				c.pass(id, make(k, ACK), &sent)
				c.pass(id, make(reply, ACK), &sent)
			}
			c.run(100 * ms)
		}
	}
	for _, id := range others {
		for _, key := range []packet.FlowKey{k, reply} {
			if !c.delegated(id, key) {
				c.t.Fatalf("node %d has no delegation of %v", id, key)
			}
		}
	}
	return reply, sent
}

func (c *cluster) delegated(id wire.NodeID, k packet.FlowKey) bool {
	n := c.nodes[id]
	ref := n.table.Lookup(k)
	if ref == 0 || !ref.IsForward() {
		return false
	}
	d, _ := n.table.Delegation(ref.Slot())
	return d != nil && d.InForce(flowtable.TickOf(c.now), n.core.view.Tag())
}

// wantCounted fails unless the owner has counted exactly what has left.
func (c *cluster) wantCounted(k packet.FlowKey, sent [2]uint64) {
	c.t.Helper()
	f := c.flow(c.oneOwner(k), k)
	for d := range sent {
		if packets, bytes := f.Counters(d); packets != sent[d] || bytes != 60*sent[d] {
			c.t.Errorf("direction %d: the owner counts %d packets of %d bytes, %d have left", d, packets, bytes, sent[d])
		}
	}
}

// wantNoneLent fails unless nothing is delegated, or ending, anywhere.
func (c *cluster) wantNoneLent() {
	c.t.Helper()
	for id, n := range c.nodes {
		if s := n.table.Stats(); !n.dead && (n.core.LentNow() != 0 || s.Delegations != 0 || len(n.core.ending.list) != 0) {
			c.t.Errorf("node %d has lent %d, has %d delegations, %d of them ending", id, n.core.LentNow(), s.Delegations, len(n.core.ending.list))
		}
	}
}

// cut loses all that is on its way between two nodes while fn runs: also what the
// link had promised to deliver, as when a channel starts over.
func (c *cluster) cut(a, b wire.NodeID, fn func()) {
	old := c.lose
	c.lose = func(from, to wire.NodeID) bool {
		return from == a && to == b || from == b && to == a || old != nil && old(from, to)
	}
	fn()
	c.lose = old
}

// Both directions of TCP and UDP, translated and not: what enters at other nodes
// leaves there, the owner counts it, and when nobody speaks any more all of it ends
// before the connection does.
func TestDESIGN5_EstablishedConnectionsAreDelegated(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
		for _, nat := range []bool{false, true} {
			c := newCluster(t, 1, 2, 3)
			if nat {
				c = natCluster(t, 1, 2, 3)
			}
			k := inside(1, proto)
			reply, sent := c.talk(k, 2, 3)
			for range 50 {
				for _, id := range []wire.NodeID{2, 3} {
					p := tcp(reply, ACK)
					if proto == packet.ProtoUDP {
						p = udp(reply)
					}
					if out := c.pass(id, p, &sent); out != id {
						t.Fatalf("a packet that entered at %d left at %d", id, out)
					}
				}
				c.run(100 * ms)
			}
			if before := c.nodes[1].core.Stats().Lent; before != 4 {
				t.Errorf("%d delegations granted, want 4: they are renewed", before)
			}
			c.run(8 * second)
			c.wantCounted(k, sent)
			c.wantNoneLent()
			if f := c.flow(1, k); f.Flags&flowtable.FlowDelegated != 0 {
				t.Error("the flow still says that parts of it are delegated")
			}
		}
	}
}

// Only what is in the middle of its life: no handshake, no answer yet, no echo, and
// nothing whose idle time is shorter than two leases.
func TestDESIGN5_WhatIsNotDelegated(t *testing.T) {
	for name, setup := range map[string]func(c *cluster){
		"owner-only":    func(c *cluster) { c.nodes[1].core.cfg.OwnerOnly, c.nodes[2].core.cfg.OwnerOnly = true, true },
		"owner refuses": func(c *cluster) { c.nodes[1].core.cfg.OwnerOnly = true },
		"other refuses": func(c *cluster) { c.nodes[2].core.cfg.OwnerOnly = true },
		"owner is full": func(c *cluster) { c.nodes[1].core.cfg.MaxLent = 0 },
		"no route":      func(c *cluster) { c.nodes[2].noRoute = true },
		"punted": func(c *cluster) {
			n := c.nodes[1]
			n.table.ScanFlows(0, 10, func(slot uint32, _ *flowtable.FlowSlot) bool {
				n.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Flags |= flowtable.FlowPunt })
				return true
			})
		},
		"short": func(c *cluster) {
			n := c.nodes[1]
			n.table.ScanFlows(0, 10, func(slot uint32, _ *flowtable.FlowSlot) bool {
				n.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Timeout = 4 })
				return true
			})
		},
		"half closed": func(c *cluster) { c.at(1, tcp(inside(1, packet.ProtoTCP), FIN|ACK)) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 1, 2)
			k := inside(1, packet.ProtoTCP)
			var sent [2]uint64
			c.pass(1, tcp(k, SYN), &sent)
			c.pass(1, tcp(k.Reverse(), SYN|ACK), &sent)
			c.pass(1, tcp(k, ACK), &sent)
			setup(c)
			for range 30 {
				if out := c.pass(2, tcp(k, ACK), &sent); out != 1 {
					t.Fatal("delegated")
				}
				c.run(100 * ms)
			}
			c.wantNoneLent()
			s := [2]Stats{c.nodes[1].core.Stats(), c.nodes[2].core.Stats()}
			if full := name == "owner is full"; full != (s[0].LentFull != 0) {
				t.Errorf("the owner counts %d refusals", s[0].LentFull)
			}
			if full := name == "no route"; full != (s[1].TakenFull != 0) {
				t.Errorf("the forwarder counts %d refusals", s[1].TakenFull)
			}
		})
	}
	c := newCluster(t, 1, 2)
	k := inside(1, packet.ProtoUDP)
	var sent [2]uint64
	for range 30 { // nobody answers
		if out := c.pass(2, udp(k), &sent); c.now > 1e12+2*second && out != c.oneOwner(k) {
			t.Fatal("a UDP flow without an answer was delegated")
		}
		c.run(100 * ms)
	}
}

// A full table of delegations costs nothing but them.
func TestDESIGN5_FullTableOfDelegationsIsCounted(t *testing.T) {
	c := newCluster(t, 1, 2)
	n := c.nodes[2]
	var forwards []uint32
	for i := range n.table.Stats().FreeDelegations {
		k := inside(9, packet.ProtoTCP)
		k.SrcPort, k.Dst[2] = uint16(i), byte(i>>16)
		slot, err := n.table.InsertForward(flowtable.ForwardSlot{Key: k, Owner: 1, Incarnation: n.core.incarnation(1), LastSeen: n.core.tick()})
		if err != nil {
			break // the flow under test needs a forward entry, too
		}
		forwards = append(forwards, slot)
		if err := n.table.Delegate(slot, flowtable.DelegationSlot{Lease: flowtable.TickOf(c.now) + flowtable.Ticks(100), View: c.view.Tag(), LastSeen: n.core.tick()}); err != nil {
			t.Fatal(err)
		}
	}
	n.table.RemoveForward(forwards[0]) // and its slot rests
	k := inside(1, packet.ProtoTCP)
	var sent [2]uint64
	c.pass(1, tcp(k, SYN), &sent)
	c.pass(1, tcp(k.Reverse(), SYN|ACK), &sent)
	c.pass(1, tcp(k, ACK), &sent)
	for i := range 20 {
		if i > 0 { // it has been reclaimed by then: use it up
			kk := inside(8, packet.ProtoTCP)
			if slot, err := n.table.InsertForward(flowtable.ForwardSlot{Key: kk, Owner: 1, Incarnation: n.core.incarnation(1), LastSeen: n.core.tick()}); err == nil {
				_ = n.table.Delegate(slot, flowtable.DelegationSlot{Lease: flowtable.TickOf(c.now) + flowtable.Ticks(100), View: c.view.Tag(), LastSeen: n.core.tick()})
			}
		}
		if out := c.pass(2, tcp(k, ACK), &sent); out != 1 {
			t.Fatal("delegated without room")
		}
		c.run(100 * ms)
	}
	if n.core.Stats().TakenFull == 0 || n.core.Stats().Taken != 0 {
		t.Errorf("%+v", n.core.Stats())
	}
}

// Whatever is lost on the link, and however often: in the end the owner has counted
// every packet, once.
func TestDESIGN5_LostReportsLoseNothing(t *testing.T) {
	for seed := range 20 {
		c := natCluster(t, 1, 2, 3)
		k := inside(1, packet.ProtoTCP)
		reply, sent := c.talk(k, 2, 3)
		drop := 0
		c.lose = func(from, to wire.NodeID) bool { drop++; return drop*7%10 < seed%9 }
		for range 120 {
			c.pass(2, tcp(reply, ACK), &sent)
			c.pass(3, tcp(k, ACK), &sent)
			c.run(50 * ms)
		}
		c.lose = nil
		c.run(12 * second)
		c.wantCounted(k, sent)
		c.wantNoneLent()
	}
}

// A connection that lives by its delegates alone lives; when they fall silent it
// ends, and they have ended before.
func TestFR15_DELEGATED_IdleTimeCountsWhatDelegatesSee(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoUDP)
	reply, sent := c.talk(k, 2, 3)
	timeout := int64(c.nodes[1].core.cfg.Timeouts.UDPStream) * second
	for end := c.now + 2*timeout; c.now < end; c.run(200 * ms) {
		if out := c.pass(2, udp(reply), &sent); out != 2 {
			t.Fatalf("left at %d: the delegation was not renewed", out)
		}
	}
	c.wantCounted2(k, sent, 40)
	quiet := c.now
	c.run(timeout - second)
	if len(c.owners(k)) != 1 {
		t.Fatalf("over %d s after its last packet", (c.now-quiet)/second)
	}
	c.wantNoneLent()
	c.run(4 * second)
	if ids := c.owners(k); len(ids) != 0 {
		t.Fatalf("still owned by %v", ids)
	}
	for id, n := range c.nodes {
		if s := n.table.Stats(); s.Flows+s.Forwards+s.Delegations+n.copies.Len() != 0 {
			t.Errorf("node %d keeps %+v", id, s)
		}
	}
}

// wantCounted2 is wantCounted while delegates have not reported their last packets.
func (c *cluster) wantCounted2(k packet.FlowKey, sent [2]uint64, late uint64) {
	c.t.Helper()
	f := c.flow(c.oneOwner(k), k)
	for d := range sent {
		if packets, _ := f.Counters(d); packets > sent[d] || packets+late < sent[d] {
			c.t.Errorf("direction %d: the owner counts %d packets, %d have left", d, packets, sent[d])
		}
	}
}

// The last packet before the time-out may be one that its delegate has not reported:
// the owner asks before it ends the connection.
func TestFR15_DELEGATED_NobodyTimesOutWhileADelegateForwards(t *testing.T) {
	c := newCluster(t, 1, 2)
	k := inside(1, packet.ProtoUDP)
	reply, sent := c.talk(k, 2)
	timeout := int64(c.nodes[1].core.cfg.Timeouts.UDPStream) * second
	f := c.flow(1, k)
	for d := range 2 { // as if nothing had been reported for that long
		f.SetSeenAt(d, flowtable.TickOf(c.now-timeout))
	}
	c.pass(2, udp(reply), &sent)
	c.cut(2, 1, func() { c.run(1500 * ms) })
	if len(c.owners(k)) != 1 {
		t.Fatal("ended while a delegation was in force")
	}
	c.run(second)
	if len(c.owners(k)) != 1 || c.flow(1, k).Expired(flowtable.TickOf(c.now)) {
		t.Fatal("the report did not keep it")
	}
}

// A FIN ends the delegations within a pass of ageing, a reset at once.
func TestDESIGN5_TheEndOfAConnectionRevokes(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoTCP)
	reply, sent := c.talk(k, 2, 3)
	c.pass(3, tcp(reply, FIN|ACK), &sent)
	c.run(50 * ms)
	if c.delegated(2, k) || c.delegated(3, reply) {
		t.Fatal("still delegated")
	}
	c.wantCounted(k, sent)
	c.wantNoneLent()

	// What the receiver of the reset has acknowledged last only its delegate knows.
	k = inside(2, packet.ProtoTCP)
	reply, sent = c.talk(k, 2, 3)
	for i, rst := range []struct {
		seq  uint32
		v    Op
		over bool
	}{{203000, OpDrop, false}, {130000, OpForward, false}, {3000, OpForward, true}} { // the window is 128000
		if i > 0 {
			reply, sent = c.again(k, sent)
		}
		ack := tcp(k, ACK)
		ack.Ack = 3000
		if out := c.pass(2, ack, &sent); out != 2 {
			t.Fatal("not delegated")
		}
		p := tcp(reply, RST)
		p.Seq = rst.seq
		_, v := c.at(3, p)
		if v.Op != rst.v {
			t.Fatalf("reset at %d: %+v (%v)", rst.seq, v, v.Reason)
		}
		if over := c.flow(1, k).State == uint8(flowtable.TCPClosed); over != rst.over {
			t.Fatalf("reset at %d: state %v", rst.seq, flowtable.TCPState(c.flow(1, k).State))
		}
		c.run(5 * ms)
		c.wantNoneLent()
	}
}

// again lets a connection whose delegations were revoked get them anew.
func (c *cluster) again(k packet.FlowKey, sent [2]uint64) (packet.FlowKey, [2]uint64) {
	c.t.Helper()
	reply := c.flow(1, k).Key[1]
	for range 30 {
		c.pass(2, tcp(k, ACK), &sent)
		c.pass(3, tcp(reply, ACK), &sent)
		c.run(100 * ms)
	}
	if !c.delegated(2, k) || !c.delegated(3, reply) {
		c.t.Fatal("not delegated again")
	}
	return reply, sent
}

// NT4: the owner does not let go of a translation while somebody may still use it by
// a delegation, whom no message reaches. Here the same ports begin a connection anew.
func TestNT4_DELEGATED_PortsAreNotReusedUnderALease(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		c := natCluster(t, 1, 2)
		k := inside(1, packet.ProtoTCP)
		reply, sent := c.talk(k, 2)
		c.pass(2, tcp(k, ACK), &sent)
		c.cut(1, 2, func() {
			if restarted { // hitless: the table stays, what was lent is forgotten
				c.rebirth(1)
			}
			closed := c.nodes[1]
			if ref, f := closed.core.owning(k); !closed.core.lentInForce(ref.Slot(), f) {
				t.Fatalf("restarted %v: the owner thinks that nothing is lent", restarted)
			}
			closed.table.UpdateFlow(closed.table.Lookup(k).Slot(), func(f *flowtable.FlowSlot) { f.State = uint8(flowtable.TCPTimeWait) })
			held, began := false, false
			for range 40 {
				_, v := c.at(1, tcp(k, SYN))
				switch {
				case v.Op == OpForward:
					if began = true; c.delegated(2, k) || c.delegated(2, reply) {
						t.Fatal("another connection began while a delegation of the last one was in force")
					}
				case v.Reason != ReasonOwnerTimeout:
					t.Fatalf("%v", v.Reason)
				default:
					held = true
				}
				if began {
					break
				}
			}
			if !held || !began {
				t.Fatalf("restarted %v: held %v, began %v", restarted, held, began)
			}
		})
	}
}

// rebirth replaces a node's core by a new one over the same tables.
func (c *cluster) rebirth(id wire.NodeID) {
	n := c.nodes[id]
	cfg := n.core.cfg
	if n.fake != nil {
		n.fake.uses = map[packet.FlowKey]int{}
	}
	n.core = New(cfg)
	n.core.ApplyView(c.now, c.view, id)
}

// A delegate whose daemon is restarted goes on under the same number; nothing is
// counted twice.
func TestDESIGN5_ADelegateMayRestart(t *testing.T) {
	c := natCluster(t, 1, 2)
	k := inside(1, packet.ProtoTCP)
	reply, sent := c.talk(k, 2)
	c.rebirth(2)
	for range 40 {
		if out := c.pass(2, tcp(reply, ACK), &sent); out != 2 {
			t.Fatal("the delegation is gone")
		}
		c.run(100 * ms)
	}
	c.run(8 * second)
	c.wantCounted(k, sent)
	c.wantNoneLent()
}

// A change of view ends every delegation; the counters arrive all the same, and it
// begins anew.
func TestDESIGN5_AViewEndsDelegations(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoTCP)
	reply, sent := c.talk(k, 2, 3)
	c.pass(2, tcp(k, ACK), &sent)
	c.apply(1, 2, 1, 2, 3)
	if c.delegated(2, k) || c.delegated(3, reply) {
		t.Fatal("in force in another view")
	}
	c.run(2 * second)
	c.wantCounted(k, sent)
	c.wantNoneLent()
	c.again(k, sent)
}

// The owner dies: its delegates forward until the lease ends or the view changes, no
// longer, and the connection goes on with its translation.
func TestFR11_DELEGATED_TheOwnerDies(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoTCP)
	reply, sent := c.talk(k, 2, 3)
	c.kill(1)
	left := c.now
	for c.delegated(2, k) {
		c.pass(2, tcp(k, ACK), &sent)
		c.run(100 * ms)
	}
	if after := c.now - left; after < 1000*ms || after > 2600*ms {
		t.Fatalf("forwarded for %d ms after the owner's death", after/ms)
	}
	c.apply(1, 2, 2, 3)
	out, v := c.at(3, tcp(k, ACK))
	wantForward(t, v)
	if got := c.flow(out, k).Key[1]; got != reply {
		t.Fatalf("goes on as %v, was %v", got, reply)
	}
	c.run(5 * second)
	c.wantNoneLent()
}

// A lease begins when it was asked for: an answer that comes late is worth less,
// and one that comes too late nothing.
func TestDESIGN5_AnswersThatComeLate(t *testing.T) {
	c := newCluster(t, 1, 2)
	k := inside(1, packet.ProtoTCP)
	var sent [2]uint64
	c.pass(1, tcp(k, SYN), &sent)
	c.pass(1, tcp(k.Reverse(), SYN|ACK), &sent)
	c.pass(1, tcp(k, ACK), &sent)
	c.pass(2, tcp(k, ACK), &sent)
	c.run(5 * ms)
	c.delay = func() int64 { return 1400 * ms } // there and back: longer than a lease
	for range 100 {
		c.pass(2, tcp(k, ACK), &sent)
		if c.delegated(2, k) {
			t.Fatal("in force")
		}
		c.run(100 * ms)
	}
	if c.nodes[1].core.Stats().Lent == 0 {
		t.Fatal("nothing was granted: nothing was tested")
	}
	c.delay = func() int64 { return 100_000 }
	c.run(10 * second)
	c.wantCounted(k, sent)
	c.wantNoneLent()
}

// Who drains lends nothing, and what it gives away is its heir's to lend.
func TestEL10_DELEGATED_DrainRevokes(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoTCP)
	_, sent := c.talk(k, 2, 3)
	v := c.viewOf(1, 2, 1, 2, 3)
	v.Draining = 1 << 1
	c.applyAt(v, 1, 2, 3)
	c.run(6 * second)
	if c.oneOwner(k) == 1 {
		t.Fatal("not moved")
	}
	c.wantNoneLent()
	_ = sent
}
