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
	if e, ok := c.nodes[2].copies.Get(k); !ok || e.State() != uint8(flowtable.TCPSynSent) {
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
		if e, ok := n.copies.Get(k); ok && !n.dead && e.Owner() == uint8(by.id) {
			copied = flowtable.TCPState(e.State())
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
		k := c.begin(packet.ProtoTCP, 1, 2, 5*ms)
		_, v := c.at(1, tcp(k.Reverse(), ACK)) // of an older connection (RFC 5961, 4)
		wantForward(t, v)
		if state, _, _ := adopted(t, c, k); state != flowtable.TCPSynSent {
			t.Fatalf("%v, want syn-sent: the responder has agreed to nothing", state)
		}
	})
}

// The stub of a connection that is established lives as long as its copy, when the owner
// has died: somebody may take over from the copy, with the second key (NT4).
func TestNT4_TheKeyOfADeadOwnersConnectionIsKeptAsLongAsItsCopy(t *testing.T) {
	for i := range 16 { // whose copies and stubs are at one node, and at two
		proto := []uint8{packet.ProtoTCP, packet.ProtoUDP}[i%2]
		c := natCluster(t, 1, 2, 3, 4)
		k := inside(byte(i), proto)
		for d := c.order().Director(k); d == 1; d = c.order().Director(k) {
			k.SrcPort++
		}
		p := udp
		if proto == packet.ProtoTCP {
			p = func(k packet.FlowKey) Packet { return tcp(k, ACK) }
			c.at(1, tcp(k, SYN))
			c.run(20 * ms)
			c.at(1, tcp(c.flow(1, k).Key[1], SYN|ACK))
		} else {
			c.at(1, udp(k))
			c.run(20 * ms)
			c.at(1, udp(c.flow(1, k).Key[1]))
		}
		c.at(1, p(k))
		k1 := c.flow(1, k).Key[1]
		c.run(1500 * ms)
		c.kill(1)
		c.apply(1, 2, 2, 3, 4)
		for range 24 {
			c.run(10_000 * ms)
			copied, bound := false, false
			for id := wire.NodeID(2); id <= 4; id++ {
				_, known := c.nodes[id].copies.Get(k)
				copied, bound = copied || known, bound || c.nodes[id].core.bound(k1)
			}
			if !copied || !bound {
				t.Fatalf("%v, after %d s: a copy is there: %v, its second key is in use: %v", k, (c.now-1e12)/1e9, copied, bound)
			}
		}
		_, v := c.at(3, p(k))
		wantForward(t, v)
		if f := c.flow(c.oneOwner(k), k); f.Key[1] != k1 {
			t.Fatalf("goes on as %v, was %v", f.Key[1], k1)
		}
	}
}

// A dead owner's copy of a handshake, which may be over, outlives the silence of a TCP
// that backs off, and goes in the end (FR15).
func TestFR11_FR15_AHandshakeWithoutItsOwnerHasTheTransitoryTime(t *testing.T) {
	c, k, left := halfTold(t)
	c.run(200_000 * ms)
	_, v := c.at(left[1], tcp(k, ACK))
	wantForward(t, v)
	if state, _, _ := adopted(t, c, k); state != flowtable.TCPEstablished {
		t.Fatalf("%v, want established", state)
	}
	c, k, left = halfTold(t)
	c.run(250_000 * ms)
	for _, id := range left {
		if _, known := c.nodes[id].copies.Get(k); known {
			t.Fatalf("node %d keeps a handshake that nobody has gone on with for 250 s", id)
		}
	}
}
