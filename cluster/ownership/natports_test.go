package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

// A node that has no port for a new connection still carries those that exist: a
// packet of another node's UDP flow is not refused as if it began one. What does
// begin one is refused by name, every packet of it.
func TestNT3_WithoutAPortExistingConnectionsGoOn(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoUDP, packet.ProtoTCP} {
		c := natCluster(t, 1, 2, 3, 4)
		k := inside(1, proto)
		open, data := udp(k), udp(k)
		if proto == packet.ProtoTCP {
			open, data = tcp(k, SYN), tcp(k, ACK)
		}
		_, v := c.at(1, open)
		wantForward(t, v)
		c.run(20 * ms)
		for id := wire.NodeID(2); id <= 4; id++ {
			c.nodes[id].fake.short = true
			at, v := c.at(id, data)
			if wantForward(t, v); at != 1 {
				t.Fatalf("node %d forwards what node 1 owns", at)
			}
		}
		first, again := udp(inside(2, proto)), udp(inside(2, proto))
		if proto == packet.ProtoTCP {
			first, again = tcp(first.Key, SYN), tcp(first.Key, SYN)
		}
		again.Handle = 1000
		for range 4 {
			p := again
			if v := c.nodes[2].core.Packet(c.now, &p); v.Op != OpHold {
				c.nodes[2].Release(p.Handle, v)
			}
			again.Handle++
			c.run(30 * ms)
		}
		_, v = c.at(2, first)
		wantDrop(t, v, ReasonNATPorts)
		for h := Handle(1000); h < 1004; h++ {
			wantDrop(t, c.nodes[2].released[h], ReasonNATPorts)
		}
		if got := c.nodes[2].fake.full; got != 5 {
			t.Errorf("%d packets counted as refused, want 5", got)
		}
	}
}

// A packet waits while there is no port, and leaves when there is one.
func TestNT3_AFirstPacketWaitsForAPort(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoTCP)
	n := c.nodes[1]
	n.fake.wait = true
	p := tcp(k, SYN)
	p.Handle = 9
	if v := n.core.Packet(c.now, &p); v.Op != OpHold {
		t.Fatalf("%+v, want it to wait", v)
	}
	q := tcp(inside(3, packet.ProtoTCP), SYN)
	q.Handle = 8
	n.core.Packet(c.now, &q)
	c.run(15 * ms)
	n.core.PortsChanged(c.now) // what came is for neither: they wait on
	n.fake.wait = false
	n.core.PortsChanged(c.now)
	c.run(5 * ms)
	wantForward(t, n.released[9])
	if n.fake.full != 0 {
		t.Errorf("%d packets counted as refused, but it only waited", n.fake.full)
	}

	n.fake.wait = true
	p = tcp(inside(2, packet.ProtoTCP), SYN)
	p.Handle = 10
	n.core.Packet(c.now, &p)
	c.run(1500 * ms)
	wantDrop(t, n.released[10], ReasonNATPorts)
	if n.fake.full != 1 {
		t.Errorf("%d packets counted as refused, want 1", n.fake.full)
	}
}

// A flood of connections that find no port waits, and leaves room for claims:
// what is not translated by the exhausted pool still begins.
func TestNT3_AnExhaustedPoolStarvesNobody(t *testing.T) {
	for _, wait := range []bool{true, false} {
		exhaust(t, wait)
	}
}

func exhaust(t *testing.T, wait bool) {
	c := natCluster(t, 1, 2, 3)
	n := c.nodes[1]
	n.core.cfg.MaxHeld = 2048 // as node.go sets
	n.fake.wait, n.fake.short = wait, !wait
	enough := 512 // wait for the word that they are part of no connection
	if wait {
		enough = 1024
	}
	for i := range 4096 {
		k := inside(byte(i), packet.ProtoUDP)
		k.SrcPort = uint16(i)
		p := udp(k)
		n.handle++
		p.Handle = n.handle
		n.core.Packet(c.now, &p)
	}
	if n.core.pending.held < enough {
		t.Fatalf("%d packets wait: no flood", n.core.pending.held)
	}
	k := inside(1, packet.ProtoUDP)
	k.Dst = packet.Addr{10, 8, 0, 1}
	_, v := c.at(1, udp(k))
	wantForward(t, v)
}

// A node without a port for a UDP packet asks all the same whether its connection
// exists elsewhere: one that does needs none (NT5). One that does not is refused
// when no port comes.
func TestNT5_NoPortIsNeededForAConnectionThatExists(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	k := inside(1, packet.ProtoUDP)
	owner, v := c.at(1, udp(k))
	wantForward(t, v)
	c.run(20 * ms)
	for _, n := range c.nodes {
		n.fake.wait = true
	}
	for id := wire.NodeID(1); id <= 4; id++ {
		if at, v := c.at(id, udp(k)); v.Op != OpForward || at != owner {
			t.Errorf("at node %d: %+v (%v) at node %d, want it forwarded by its owner, node %d", id, v, v.Reason, at, owner)
		}
	}
	// One that nobody has waits on, after the director has said so.
	n := c.nodes[owner%4+1]
	n.handle++
	p := udp(inside(2, packet.ProtoUDP))
	p.Handle = n.handle
	if v := n.core.Packet(c.now, &p); v.Op != OpHold {
		t.Fatalf("%+v, want to wait for a port", v)
	}
	n.core.Message(c.now, owner, &wire.Owner{Key: p.Key})
	if v, over := n.released[p.Handle]; over {
		t.Fatalf("%v, want to wait on for a port", v.Reason)
	}
	n.fake.wait = false
	n.core.PortsChanged(c.now)
	c.run(20 * ms)
	wantForward(t, n.released[p.Handle])
}
