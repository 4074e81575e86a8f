package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

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
					c.stays(id, p, &sent)
				}
				c.run(100 * ms)
			}
			if before := c.nodes[1].core.Stats().Lent; before != 4 {
				t.Errorf("%d delegations granted, want 4: they are renewed", before)
			}
			c.wantSettled(8*second, k, sent)
			if f := c.flow(1, k); f.Flags&flowtable.FlowDelegated != 0 {
				t.Error("the flow still says that parts of it are delegated")
			}
		}
	}
}

// Who looks (MG1) sees who forwards what, for how long yet, and what it has told.
func TestMG1_DESIGN5_LoansAreShown(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoTCP)
	_, sent := c.talk(k, 2, 3)
	n := c.nodes[1]
	slot := n.table.Lookup(k).Slot()
	seen := map[[2]uint8]Loan{}
	n.core.Loans(slot, func(l Loan) { seen[[2]uint8{uint8(l.Node), l.Dir}] = l })
	if len(seen) != 4 || n.core.LentNow() != 4 {
		t.Fatalf("%d loans are shown, want each direction at both nodes: %+v", len(seen), seen)
	}
	lease, counted := n.core.leaseTicks()
	for who, l := range seen {
		if l.Left < int32(lease)/4 || l.Left > int32(counted) || l.CalledBack || l.Packets == 0 || l.Bytes != 60*l.Packets {
			t.Errorf("node and direction %v: %+v", who, l)
		}
	}
	n.core.revoke(slot)
	n.core.Loans(slot, func(l Loan) {
		if !l.CalledBack {
			t.Errorf("%+v was called back", l)
		}
	})
	c.wantSettled(50*ms, k, sent)
	n.core.Loans(slot, func(l Loan) { t.Errorf("%+v has ended", l) })
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
			sent := c.established(k)
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

// A full table of forward entries, too: what needs one for its delegation, and what has
// none, goes by way of the owner.
func TestDESIGN5_FullTableOfForwardsIsCounted(t *testing.T) {
	c := natCluster(t, 1, 2)
	n := c.nodes[2]
	fill := func() {
		for i := 0; ; i++ {
			k := inside(9, packet.ProtoTCP)
			k.SrcPort, k.Dst[2], k.Dst[3] = uint16(i), byte(i>>16), byte(n.core.tick())
			if _, err := n.table.InsertForward(flowtable.ForwardSlot{Key: k, Owner: 1, Incarnation: n.core.incarnation(1), LastSeen: n.core.tick()}); err != nil {
				return
			}
		}
	}
	k := inside(1, packet.ProtoTCP)
	var sent [2]uint64
	c.pass(1, tcp(k, SYN), &sent)
	c.run(5 * ms)
	reply := c.flow(1, k).Key[1]
	c.pass(1, tcp(reply, SYN|ACK), &sent)
	c.pass(1, tcp(k, ACK), &sent)
	for range 30 { // the reply is steered by arithmetic
		fill()
		if out := c.pass(2, tcp(reply, ACK), &sent); out != 1 {
			t.Fatal("delegated without a forward entry")
		}
		c.run(100 * ms)
	}
	s := n.core.Stats()
	if s.TakenFull == 0 || s.Taken != 0 || n.table.Stats().FreeDelegations == 0 {
		t.Errorf("%d refusals for want of room, %d taken, room for %d", s.TakenFull, s.Taken, n.table.Stats().FreeDelegations)
	}
	c.wantSettled(3*second, k, sent)
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
	sent := c.established(k)
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
