package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// segment is one of direction k, with these numbers.
func segment(k packet.FlowKey, flags uint8, seq, ack uint32) Packet {
	p := tcp(k, flags)
	p.Seq, p.Ack = seq, ack
	return p
}

// leaves is what a packet says when it has left with a verdict: sequence number and
// acknowledgement.
func (c *cluster) leaves(at wire.NodeID, v Verdict, p Packet) (seq, ack uint32) {
	c.t.Helper()
	wantForward(c.t, v)
	by, back := c.nodes[at].table.Flow(v.Slot).Shift(int(v.Dir))
	return p.Seq + by, p.Ack + back
}

// sends sends a packet into a node, and fails unless it leaves with these numbers.
func (c *cluster) sends(id wire.NodeID, p Packet, seq, ack uint32) {
	c.t.Helper()
	at, v := c.at(id, p)
	if s, a := c.leaves(at, v, p); s != seq || p.Flags&ACK != 0 && a != ack {
		c.t.Errorf("%v, flags %#x, left with %d and %d, want %d and %d", p.Key, p.Flags, s, a, seq, ack)
	}
}

// inMode is a cluster whose nodes give numbers, or let initiators keep theirs, or do not
// know of any.
func inMode(t *testing.T, mode string, ids ...wire.NodeID) *cluster {
	if mode == "none" {
		return newCluster(t, ids...)
	}
	c := newSequenced(t, ids...)
	for _, n := range c.nodes {
		n.core.cfg.KeepNumbers = mode == "kept"
	}
	return c
}

var modes = []string{"given", "kept", "none"}

// TestFR5_TR2_AHalfOpenConnectionIsFoundOut: the responder still has a connection that
// its initiator, and the cluster, do not know any more (RFC 9293, 3.5.1). It answers the
// SYN of the next one with what it expects in the old one; the initiator resets that, and
// opens again.
func TestFR5_TR2_AHalfOpenConnectionIsFoundOut(t *testing.T) {
	const expects, says = 90_000_000, 7000 // the responder's, of the old connection
	for _, mode := range modes {
		c := inMode(t, mode, 1, 2, 3)
		k := c.keyDirectedBy(packet.ProtoTCP, 2)
		_, v := c.at(1, syn(k, 5000))
		wantForward(t, v)
		delta := c.nodes[1].table.Flow(v.Slot).SeqDelta
		c.run(20 * ms)
		c.sends(2, segment(k.Reverse(), ACK, says, expects), says, expects-delta)
		c.sends(3, segment(k, RST, expects-delta, 0), expects, 0)
		c.run(20 * ms)

		again := syn(k, 5000)
		at, v := c.at(1, again)
		isn, _ := c.leaves(at, v, again)
		c.run(20 * ms)
		c.sends(2, synAck(k.Reverse(), isn), 7000, 5001)
		c.sends(3, segment(k, ACK, 5001, 7001), isn+1, 7001)
		c.run(1100 * ms)
		if f := c.flow(c.oneOwner(k), k); f.State != uint8(flowtable.TCPEstablished) {
			t.Errorf("%s: %v", mode, flowtable.TCPState(f.State))
		}
	}
}

// TestFR5_AnInitiatorTriesAgainWithAnotherNumber from the same ports, lower or higher,
// because nobody answered. Should the responder have heard of the first SYN only, the
// initiator resets that and repeats its own. Then the connection is established, and the
// fast path gets it.
func TestFR5_AnInitiatorTriesAgainWithAnotherNumber(t *testing.T) {
	for _, mode := range modes {
		for _, isns := range [][2]uint32{{5000, 3_000_000_000}, {3_000_000_000, 5000}, {5000, 6000}} {
			for _, stale := range []bool{false, true} {
				c := inMode(t, mode, 1, 2, 3)
				k := c.keyDirectedBy(packet.ProtoTCP, 2)
				opens := func(isn uint32) (got uint32) {
					p := syn(k, isn)
					at, v := c.at(1, p)
					got, _ = c.leaves(at, v, p)
					c.run(20 * ms)
					return got
				}
				first, second := opens(isns[0]), opens(isns[1])
				if stale {
					answer := synAck(k.Reverse(), first)
					c.sends(2, answer, answer.Seq, isns[0]+1)
					c.sends(3, segment(k, RST, isns[0]+1, 0), first+1, 0)
					c.run(20 * ms)
					second = opens(isns[1])
				}
				c.sends(2, synAck(k.Reverse(), second), 7000, isns[1]+1)
				c.sends(1, segment(k, ACK, isns[1]+1, 7001), second+1, 7001)
				c.run(1100 * ms)
				f := c.flow(1, k)
				if f.State != uint8(flowtable.TCPEstablished) || f.Flags&flowtable.FlowPunt != 0 {
					t.Errorf("%s, %v, the first was answered %v: %v, flags %#x", mode, isns, stale, flowtable.TCPState(f.State), f.Flags)
				}
			}
		}
	}
}

// TestFR5_AnInitiatorTriesAgainWithAKey: the segments of the second attempt are signed
// (RFC 2385, RFC 5925), and leave as they come.
func TestFR5_AnInitiatorTriesAgainWithAKey(t *testing.T) {
	c := newSequenced(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 2)
	c.at(1, syn(k, 5000))
	c.run(20 * ms)
	p := syn(k, 900_000)
	p.Signed = true
	c.sends(1, p, 900_000, 0)
	c.sends(3, synAck(k.Reverse(), 900_000), 7000, 900_001)
	c.sends(1, segment(k, ACK, 900_001, 7001), 900_001, 7001)
	c.run(1100 * ms)
	if f := c.flow(1, k); f.State != uint8(flowtable.TCPEstablished) || f.Flags&flowtable.FlowPunt != 0 {
		t.Errorf("%v, flags %#x", flowtable.TCPState(f.State), f.Flags)
	}
	if d := deltaOf(c.nodes[2].copies, k); d != 0 {
		t.Errorf("the copy shifts by %d", d)
	}
}

// TestFR5_AnythingInTheMiddleIsShifted: whatever one end says of the other's numbers, or of its
// own, leaves as the other knows it; a keepalive is one less (RFC 9293, 3.8.4), and nothing
// is near.
func TestFR5_AnythingInTheMiddleIsShifted(t *testing.T) {
	c := newSequenced(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 2)
	p := syn(k, 5000)
	at, v := c.at(1, p)
	isn, _ := c.leaves(at, v, p)
	by := isn - 5000
	c.run(20 * ms)
	c.sends(2, synAck(k.Reverse(), isn), 7000, 5001)
	for name, p := range map[string]Packet{
		"the initiator's keepalive":       segment(k, ACK, 5000, 7001),
		"its SYN, repeated":               segment(k, SYN, 5000, 0),
		"its reset":                       segment(k, RST, 5001, 0),
		"the responder's keepalive":       segment(k.Reverse(), ACK, 7000, isn+1),
		"its SYN-ACK, repeated":           segment(k.Reverse(), SYN|ACK, 7000, isn+1),
		"its acknowledgement of long ago": segment(k.Reverse(), ACK, 7001, isn-1<<30),
		"its reset, without ACK":          segment(k.Reverse(), RST, 7001, 0),
		"its reset, with ACK":             segment(k.Reverse(), RST|ACK, 7001, isn+1),
	} {
		n := c.nodes[1]
		f := *n.table.Flow(n.table.Lookup(k).Slot())
		want, ack := p.Seq, p.Ack
		if p.Key == k {
			want += by
		} else if p.Flags&ACK != 0 {
			ack -= by
		}
		t.Run(name, func(t *testing.T) {
			c.t = t
			c.sends(1, p, want, ack)
		})
		*n.table.Flow(n.table.Lookup(k).Slot()) = f // as if nothing had come
	}
}

// TestFR5_FR14_TheNextConnectionWithTheSamePortsHasItsOwnNumbers: it begins at a node that
// knows nothing of the one before, whose owner keeps the closed entry for a while, and goes
// on with the connection: by the number that the responder knows, which is the other
// node's, and with an answer that has waited there.
func TestFR5_FR14_TheNextConnectionWithTheSamePortsHasItsOwnNumbers(t *testing.T) {
	for _, gone := range []bool{false, true} {
		c := newSequenced(t, 1, 2, 3)
		k := c.keyDirectedBy(packet.ProtoTCP, 3)
		p := syn(k, 5000)
		at, v := c.at(1, p)
		isn, _ := c.leaves(at, v, p)
		c.run(20 * ms)
		c.sends(1, synAck(k.Reverse(), isn), 7000, 5001)
		c.sends(1, segment(k, ACK, 5001, 7001), isn+1, 7001)
		c.sends(1, segment(k.Reverse(), RST, 7001, 0), 7001, 0)
		if f := c.flow(1, k); f.State != uint8(flowtable.TCPClosed) {
			t.Fatal(flowtable.TCPState(f.State))
		}

		p = syn(k, 80_000_000)
		v = c.nodes[2].core.Packet(c.now, &p)
		next, _ := c.leaves(2, v, p)
		if gone { // just now its time is over
			n := c.nodes[1]
			n.core.closeFlow(n.table.Lookup(k).Slot())
		}
		c.run(2 * ms) // the owner of the first one has heard of the second
		if f := c.flow(1, k); f.Flags&flowtable.FlowPunt == 0 {
			t.Errorf("ended %v: numbers that are not proven are left to the fast path", gone)
		}
		c.sends(2, synAck(k.Reverse(), next), 7000, 80_000_001)
		c.sends(3, segment(k, ACK, 80_000_001, 7001), next+1, 7001)
		c.run(1100 * ms)
		owner := c.oneOwner(k)
		f := c.flow(owner, k)
		if f.State != uint8(flowtable.TCPEstablished) || f.Flags&flowtable.FlowPunt != 0 {
			t.Errorf("ended %v: %v at node %d, flags %#x", gone, flowtable.TCPState(f.State), owner, f.Flags)
		}
		if holder := c.order().Backup(k, owner); deltaOf(c.nodes[holder].copies, k) != next-80_000_000 {
			t.Errorf("ended %v: the copy shifts by %d, the connection by %d", gone, deltaOf(c.nodes[holder].copies, k), next-80_000_000)
		}
	}
}

// TestFR5_RollingChange: the nodes are restarted one after the other with the other
// setting, and keep their tables. What began with either goes on with the numbers it has,
// at its owner, at whoever takes it over, and at who has the other setting; and while there
// are both, new connections of both kinds are established from wherever their packets
// enter.
func TestFR5_RollingChange(t *testing.T) {
	for _, from := range []bool{false, true} { // numbers are kept before
		c := newSequenced(t, 1, 2, 3)
		keep := func(id wire.NodeID, keep bool) { c.nodes[id].core.cfg.KeepNumbers = keep }
		type open struct {
			k   packet.FlowKey
			isn uint32 // as the responder knows it
		}
		var all []open
		opens := func(id wire.NodeID) {
			k := inside(byte(len(all)), packet.ProtoTCP)
			p := syn(k, 5000)
			at, v := c.at(id, p)
			isn, _ := c.leaves(at, v, p)
			if (isn == 5000) != c.nodes[id].core.cfg.KeepNumbers {
				t.Errorf("node %d, which keeps numbers %v, gave %d", id, c.nodes[id].core.cfg.KeepNumbers, isn)
			}
			c.sends(id%3+1, synAck(k.Reverse(), isn), 7000, 5001) // as soon as it can be
			c.sends((id+1)%3+1, segment(k, ACK, 5001, 7001), isn+1, 7001)
			all = append(all, open{k, isn})
		}
		goOn := func(entries ...wire.NodeID) {
			for _, o := range all {
				for _, id := range entries {
					c.sends(id, segment(o.k, ACK, 5001, 7001), o.isn+1, 7001)
					c.sends(id, segment(o.k.Reverse(), ACK, 7001, o.isn+1), 7001, 5001)
				}
			}
		}
		for id := wire.NodeID(1); id <= 3; id++ {
			keep(id, from)
		}
		for restarted := wire.NodeID(0); restarted <= 3; restarted++ {
			if restarted > 0 {
				keep(restarted, !from)
			}
			for id := wire.NodeID(1); id <= 3; id++ {
				for range 8 {
					opens(id)
				}
			}
			c.run(50 * ms)
			goOn(1, 2, 3)
		}
		keep(3, from) // both again, and a death
		c.kill(2)
		c.apply(1, 2, 1, 3)
		c.run(200 * ms)
		goOn(1, 3)
	}
}

// TestFR5_FR14_ASynThatNodesOfBothSettingsHaveSent: whichever copy the responder has got,
// both ends understand each other by the owner that remains.
func TestFR5_FR14_ASynThatNodesOfBothSettingsHaveSent(t *testing.T) {
	for _, keeps := range []wire.NodeID{1, 2} {
		for _, got := range []wire.NodeID{1, 2} {
			for entry := wire.NodeID(1); entry <= 3; entry++ {
				c := newSequenced(t, 1, 2, 3)
				c.nodes[keeps].core.cfg.KeepNumbers = true
				k := c.keyDirectedBy(packet.ProtoTCP, 3)
				numbers := map[wire.NodeID]uint32{}
				for _, id := range []wire.NodeID{1, 2} {
					p := syn(k, 5000)
					at, v := c.at(id, p)
					numbers[at], _ = c.leaves(at, v, p)
				}
				if len(numbers) != 2 || numbers[keeps] != 5000 || numbers[3-keeps] == 5000 {
					t.Fatalf("numbers %v", numbers)
				}
				c.run(5 * ms) // one of the two has won
				isn := numbers[got]
				c.sends(entry, synAck(k.Reverse(), isn), 7000, 5001)
				c.sends(entry, segment(k, ACK, 5001, 7001), isn+1, 7001)
				c.run(1100 * ms)
				f := c.flow(c.oneOwner(k), k)
				if f.State != uint8(flowtable.TCPEstablished) || f.Flags&flowtable.FlowPunt != 0 {
					t.Errorf("node %d keeps, the responder got that of %d: %v, flags %#x", keeps, got, flowtable.TCPState(f.State), f.Flags)
				}
			}
		}
	}
}

// TestFR5_DESIGN5_DelegatesHearOfOtherNumbers: what an owner has lent ends when it is
// granted the connection with others, of another side of a partition.
func TestFR5_DESIGN5_DelegatesHearOfOtherNumbers(t *testing.T) {
	c := newSequenced(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 2)
	c.talk(k, 2, 3)
	conn := c.nodes[1].core.connOf(c.flow(1, k))
	conn.SeqDelta, conn.Gen = conn.SeqDelta+1<<20, conn.Gen+1
	c.nodes[2].core.keepGranted(1, &conn)
	c.nodes[2].core.grant(1, conn, true)
	c.run(2 * ms)
	if d := c.flow(1, k).SeqDelta; d != conn.SeqDelta {
		t.Fatalf("shifts by %d, want %d", d, conn.SeqDelta)
	}
	for id := wire.NodeID(2); id <= 3; id++ {
		if c.delegated(id, k) || c.delegated(id, k.Reverse()) {
			t.Errorf("node %d goes on with the old ones", id)
		}
	}
}

// TestFR5_SimultaneousOpen (RFC 9293, 3.5, figure 8) through one node: both SYNs cross, and
// each end answers the other's.
func TestFR5_SimultaneousOpen(t *testing.T) {
	for _, mode := range modes {
		c := inMode(t, mode, 1, 2, 3)
		k := c.keyDirectedBy(packet.ProtoTCP, 2)
		p := syn(k, 5000)
		at, v := c.at(1, p)
		isn, _ := c.leaves(at, v, p)
		c.run(20 * ms)
		c.sends(1, segment(k.Reverse(), SYN, 7000, 0), 7000, 0)
		c.sends(1, segment(k, SYN|ACK, 5000, 7001), isn, 7001)
		c.sends(3, segment(k.Reverse(), SYN|ACK, 7000, isn+1), 7000, 5001)
		c.sends(1, segment(k, ACK, 5001, 7001), isn+1, 7001)
		c.sends(2, segment(k.Reverse(), ACK, 7001, isn+1), 7001, 5001)
		c.run(1100 * ms)
		if f := c.flow(1, k); f.State != uint8(flowtable.TCPEstablished) || f.Flags&flowtable.FlowPunt != 0 {
			t.Errorf("%s: %v, flags %#x", mode, flowtable.TCPState(f.State), f.Flags)
		}
	}
}
