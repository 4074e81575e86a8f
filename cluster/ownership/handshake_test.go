package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// halfTold is a connection whose handshake is over, as the endpoints and the fast path
// of its owner know. The copy does not: ageing has not told it yet. The owner dies.
func halfTold(t *testing.T) (c *cluster, k packet.FlowKey, left []wire.NodeID) {
	t.Helper()
	c = newCluster(t, 1, 2, 3, 4)
	k = c.keyDirectedBy(packet.ProtoTCP, 2)
	c.at(1, tcp(k, SYN))
	c.run(5 * ms)
	c.at(1, tcp(k.Reverse(), SYN|ACK))
	if e, ok := c.nodes[2].copies.Get(k); !ok || e.State != uint8(flowtable.TCPSynSent) {
		t.Fatal("the copy is not of a connection that begins")
	}
	c.kill(1)
	left = []wire.NodeID{2, 3, 4}
	c.apply(1, 2, left...)
	c.run(50 * ms)
	return c, k, left
}

// adopted returns the state and the idle time at the owner, and what its copy says.
func adopted(t *testing.T, c *cluster, k packet.FlowKey) (state flowtable.TCPState, timeout uint16, copied flowtable.TCPState) {
	t.Helper()
	by := c.nodes[c.oneOwner(k)]
	f := by.table.Flow(by.table.Lookup(k).Slot())
	for _, n := range c.nodes {
		if e, ok := n.copies.Get(k); ok && !n.dead && e.Owner == uint8(by.id) {
			copied = flowtable.TCPState(e.State)
		}
	}
	return flowtable.TCPState(f.State), f.Timeout, copied
}

// A connection that is taken over by its responder's packet, from a copy of its
// handshake, is established: it must not end with the time of a handshake while the
// initiator's packets get lost.
func TestFR11_WhatTheResponderGoesOnWithIsEstablished(t *testing.T) {
	want := flowtable.DefaultTimeouts().TCPEstablished
	t.Run("punted", func(t *testing.T) {
		c, k, _ := halfTold(t)
		_, v := c.at(3, tcp(k.Reverse(), ACK))
		wantForward(t, v)
		c.run(20 * ms)
		if state, timeout, copied := adopted(t, c, k); state != flowtable.TCPEstablished || timeout != want || copied != flowtable.TCPEstablished {
			t.Fatalf("%v for %d s, its copy %v; want it established", state, timeout, copied)
		}
	})
	t.Run("fast path", func(t *testing.T) {
		c, k, _ := halfTold(t)
		e := tcp(k.Reverse(), 0)
		e.Kind = KindICMPError // whoever takes it over by this learns nothing
		_, v := c.at(3, e)
		wantForward(t, v)
		if state, _, _ := adopted(t, c, k); state != flowtable.TCPSynSent {
			t.Fatalf("%v, want what the copy said", state)
		}
		by := c.nodes[c.oneOwner(k)]
		by.table.Flow(by.table.Lookup(k).Slot()).Sent(1, ACK, 200, 100, 1000)
		c.run(1100 * ms)
		if state, timeout, copied := adopted(t, c, k); state != flowtable.TCPEstablished || timeout != want || copied != flowtable.TCPEstablished {
			t.Fatalf("%v for %d s, its copy %v; want it established", state, timeout, copied)
		}
	})
	t.Run("agrees again", func(t *testing.T) {
		c, k, _ := halfTold(t)
		_, v := c.at(3, tcp(k.Reverse(), SYN|ACK))
		wantForward(t, v)
		if state, timeout, _ := adopted(t, c, k); state != flowtable.TCPSynReceived || timeout == want {
			t.Fatalf("%v for %d s; want the handshake to go on", state, timeout)
		}
	})
	t.Run("begun here", func(t *testing.T) {
		c := newCluster(t, 1, 2, 3, 4)
		k := c.keyDirectedBy(packet.ProtoTCP, 2)
		c.at(1, tcp(k, SYN))
		c.run(5 * ms)
		_, v := c.at(1, tcp(k.Reverse(), ACK)) // of an older connection (RFC 5961, 4)
		wantForward(t, v)
		if state, _, _ := adopted(t, c, k); state != flowtable.TCPSynSent {
			t.Fatalf("%v, want syn-sent: the responder has agreed to nothing", state)
		}
	})
}
