package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
	"cohort/policy"
)

// later is a fragment without ports of its own, of a datagram of k.
func later(k packet.FlowKey) Packet {
	p := udp(k)
	p.Kind, p.Fragment = KindFragment, true
	return p
}

// A later fragment begins nothing, wherever it arrives: who sends the rest of a datagram
// whose first fragment was refused, or never sent, gets no entry in any table.
func TestFR10_ALaterFragmentBeginsNothing(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoUDP, 3)
	for id := range c.nodes {
		_, v := c.at(id, later(k))
		wantDrop(t, v, ReasonNoConnection)
	}
	c.wantNoOwner(k)
}

// One of a connection that another node owns goes there with its ports, at once where
// that is known and after the answer where it has to be asked for.
func TestFR10_AFragmentTravelsWithItsPorts(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoUDP, 3)
	_, v := c.at(1, udp(k))
	wantForward(t, v)
	want := Verdict{Op: OpLabel, Node: 1, Gen: Label(k)}
	if src, dst := Unlabel(want.Gen); src != k.SrcPort || dst != k.DstPort {
		t.Fatalf("%v became %d and %d", k, src, dst)
	}
	for _, ask := range []bool{true, false} {
		p := later(k)
		p.Handle = 9
		delete(c.nodes[2].released, 9)
		v := c.nodes[2].core.Packet(c.now, &p)
		if held := v.Op == OpHold; held != ask {
			t.Fatalf("held: %v, want %v", held, ask)
		}
		if ask {
			c.run(20 * ms)
			v = c.nodes[2].released[9]
		}
		if v != want {
			t.Errorf("asked %v: %+v, want %+v", ask, v, want)
		}
	}
}

// FR10, FR13: a later fragment says nothing of its connection. The answer that comes after
// it still waits until the copy is there.
func TestFR13_ALaterFragmentConfirmsNothing(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
		c := newCluster(t, 1, 2, 3)
		n := c.nodes[1]
		n.core.cfg.Policy = durable{*n, policy.Sync}
		k := c.keyDirectedBy(proto, 1)
		packets := talk(k, k.Reverse())
		confirms := len(packets) - 3 // of UDP the answer
		if proto == packet.ProtoTCP {
			confirms = 2 // the ACK of the handshake
		}
		for i, p := range packets[:confirms+1] {
			p.Handle = Handle(i + 1)
			if v := n.core.Packet(c.now, &p); (v.Op == OpHold) != (i == 0 || i == confirms) {
				t.Fatalf("%s, packet %d: %+v", packet.ProtoName(proto), i, v)
			}
			c.run(ms)
			if rest := later(p.Key); i < confirms {
				rest.Handle = 99
				wantForward(t, n.core.Packet(c.now, &rest))
			}
		}
	}
}

// FR10, FR13: the whole of a datagram waits behind its first fragment at the owner, as long
// as a datagram can be on an Ethernet: all of it came within the wait for one answer.
func TestFR10_AWholeDatagramWaitsBehindItsFirst(t *testing.T) {
	const parts = 45 // 65,515 bytes of 1,480
	c := newCluster(t, 1, 2, 3)
	n := c.nodes[1]
	n.core.cfg.Policy = durable{*n, policy.Sync}
	k := c.keyDirectedBy(packet.ProtoUDP, 1)
	_, v := c.at(1, udp(k))
	wantForward(t, v)
	first := udp(k.Reverse()) // confirms the connection: it waits for the copy
	first.In, first.Fragment, first.From = 2, true, 3
	for i := range parts {
		p := first
		if p.Handle = Handle(100 + i); i > 0 {
			p.Kind = KindFragment
		}
		if v := n.core.Packet(c.now, &p); v.Op != OpHold {
			t.Fatalf("fragment %d: %+v (%v), want it to wait", i, v, v.Reason)
		}
	}
	c.run(20 * ms)
	for i := range parts {
		wantForward(t, n.released[Handle(100+i)])
	}
	if n.core.pending.held != 0 {
		t.Errorf("%d packets are held", n.core.pending.held)
	}
	for i := range 1000 { // ... and not any number of them
		p := first
		p.Kind, p.Handle, p.Key.SrcPort = KindFragment, Handle(1000+i), 9
		if v := n.core.Packet(c.now, &p); (v.Op == OpHold) != (i < 64) {
			t.Fatalf("fragment %d of a connection that nobody knows: %+v", i, v)
		}
	}
}

// The first fragment of a datagram, which begins a connection, may arrive behind others of
// it: these ask whether somebody owns the connection, and the answer ends nothing.
func TestFR10_AFirstFragmentBeginsBehindALaterOne(t *testing.T) {
	for director := wire.NodeID(2); director <= 3; director++ {
		c := newCluster(t, 1, 2, 3)
		n := c.nodes[2]
		k := c.keyDirectedBy(packet.ProtoUDP, director)
		for i, p := range []Packet{later(k), udp(k), later(k)} {
			p.Fragment, p.Handle = true, Handle(100+i)
			if v := n.core.Packet(c.now, &p); v.Op != OpHold {
				t.Fatalf("fragment %d: %+v", i, v)
			}
		}
		c.run(400 * ms)
		for i := range 3 {
			wantForward(t, n.released[Handle(100+i)])
		}
		c.wantOwner(k, 2)
	}
	// What policy refuses stays refused, and so does what follows it.
	c := newCluster(t, 1, 2, 3)
	n := c.nodes[2]
	k := c.keyDirectedBy(packet.ProtoUDP, 3).Reverse()
	for i, p := range []Packet{later(k), udp(k), later(k)} {
		p.In, p.Fragment, p.Handle = 2, true, Handle(100+i)
		n.core.Packet(c.now, &p)
	}
	c.run(2000 * ms)
	for i, why := range []Reason{ReasonNoConnection, ReasonPolicyDenied, ReasonNoConnection} {
		wantDrop(t, n.released[Handle(100+i)], why)
	}
	if len(n.ends) != 3 {
		t.Errorf("released: %v", n.ends)
	}
	c.wantNoOwner(k)
	if n.core.pending.held != 0 || len(n.core.pending.byKey) != 0 {
		t.Errorf("%d packets are held", n.core.pending.held)
	}
}
