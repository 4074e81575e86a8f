package ownership

import (
	"testing"

	"cohort/flowtable"
	"cohort/packet"
)

// A cluster that has had no full round for 26 days still keeps copies.
func TestFR3_CopiesAreKeptWhenTheLastFullRoundIsLongAgo(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	c.run(5000 * ms)
	c.now += 27 * 24 * 3600 * 1000 * ms
	k := c.keyDirectedBy(packet.ProtoTCP, 2)
	_, v := c.at(1, tcp(k, SYN))
	wantForward(t, v)
	c.run(20 * ms)
	if _, ok := c.nodes[2].copies.Get(k); !ok {
		t.Fatal("no copy at the director at all")
	}
	c.run(3000 * ms)
	if _, ok := c.nodes[2].copies.Get(k); !ok {
		t.Fatal("the director forgot a connection whose owner lives")
	}
}

// The same ports again right after a reset that the fast path forwarded.
func TestTR2_PortsReusedRightAfterAReset(t *testing.T) {
	c := newCluster(t, 1)
	k := c.keyDirectedBy(packet.ProtoTCP, 1)
	_, v := c.at(1, tcp(k, SYN))
	wantForward(t, v)
	c.at(1, tcp(k.Reverse(), SYN|ACK))
	c.at(1, tcp(k, ACK))
	c.run(1500 * ms)
	ref := c.nodes[1].table.Lookup(k)
	f := c.nodes[1].table.Flow(ref.Slot())
	f.Sent(1, RST, 100, 0, 0) // by the fast path: it flags, and punts nothing
	_, v = c.at(1, tcp(k, SYN))
	wantForward(t, v)
	c.at(1, tcp(k.Reverse(), SYN|ACK))
	c.at(1, tcp(k, ACK))
	c.run(3000 * ms)
	ref = c.nodes[1].table.Lookup(k)
	f = c.nodes[1].table.Flow(ref.Slot())
	if s := flowtable.TCPState(f.State); s != flowtable.TCPEstablished {
		t.Errorf("state %v, timeout %d s", s, f.Timeout)
	}
	c.run(15000 * ms)
	if c.nodes[1].table.Lookup(k) == 0 {
		t.Error("the live connection is gone after 15 idle seconds")
	}
}

// Ports reused after both FINs went through the fast path.
func TestTR2_PortsReusedRightAfterFins(t *testing.T) {
	c := newCluster(t, 1)
	k := c.keyDirectedBy(packet.ProtoTCP, 1)
	c.at(1, tcp(k, SYN))
	c.at(1, tcp(k.Reverse(), SYN|ACK))
	c.at(1, tcp(k, ACK))
	c.run(1500 * ms)
	f := c.nodes[1].table.Flow(c.nodes[1].table.Lookup(k).Slot())
	f.Sent(1, FIN|ACK, 100, 0, 0)
	f.Sent(0, FIN|ACK, 100, 0, 0)
	c.run(1010 * ms)
	_, v := c.at(1, tcp(k, SYN))
	wantForward(t, v)
	c.at(1, tcp(k.Reverse(), SYN|ACK))
	c.at(1, tcp(k, ACK))
	c.run(3000 * ms)
	f = c.nodes[1].table.Flow(c.nodes[1].table.Lookup(k).Slot())
	if s := flowtable.TCPState(f.State); s != flowtable.TCPEstablished {
		t.Errorf("state %v, timeout %d s", s, f.Timeout)
	}
}

// Half closed by the client, the server thinks for 40 s.
func TestTR2_HalfClosedConnectionMayThink(t *testing.T) {
	c := newCluster(t, 1)
	k := c.keyDirectedBy(packet.ProtoTCP, 1)
	c.at(1, tcp(k, SYN))
	c.at(1, tcp(k.Reverse(), SYN|ACK))
	c.at(1, tcp(k, ACK))
	c.at(1, tcp(k, FIN|ACK))
	c.run(40000 * ms)
	_, v := c.at(1, tcp(k.Reverse(), ACK))
	wantForward(t, v)
}

// Denied UDP from outside must not starve inside users.
func TestTR2_DeniedFloodStarvesNobody(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	n := c.nodes[1]
	n.core.cfg.MaxHeld = 2048 // as node.go sets
	for i := range 4096 {
		k := packet.FlowKey{Src: packet.Addr{198, 51, byte(i >> 8), byte(i)}, Dst: packet.Addr{10, 0, 0, 9}, SrcPort: 1000, DstPort: 53, Proto: packet.ProtoUDP}
		p := udp(k)
		n.handle++
		p.Handle = n.handle
		n.core.Packet(c.now, &p)
	}
	k := c.keyDirectedBy(packet.ProtoUDP, 2)
	_, v := c.at(1, udp(k))
	wantForward(t, v)
}

// Established packets that enter by the wrong interface.
func TestTR2_WrongInterface(t *testing.T) {
	c := newCluster(t, 1)
	k := c.keyDirectedBy(packet.ProtoTCP, 1)
	c.at(1, tcp(k, SYN))
	c.at(1, tcp(k.Reverse(), SYN|ACK))
	c.at(1, tcp(k, ACK))
	p := tcp(k, ACK)
	p.In = 2 // from outside, with an inside host's address
	_, v := c.at(1, p)
	if v.Op == OpForward {
		t.Fatal("an inside host's segment that came from outside was forwarded")
	}
}

// The ports of a connection in TIME_WAIT are used again through another node:
// the first SYN is lost on the way to the old owner's entry, the next begins
// the new connection there.
func TestTR2_TimeWaitReuseAtAnotherNode(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	c.at(1, tcp(k, SYN))
	c.at(1, tcp(k.Reverse(), SYN|ACK))
	c.at(1, tcp(k, ACK))
	c.at(1, tcp(k, FIN|ACK))
	c.at(1, tcp(k.Reverse(), FIN|ACK))
	c.at(1, tcp(k, ACK))
	c.run(100 * ms)
	c.at(2, tcp(k, SYN))
	c.run(1000 * ms)
	out, v := c.at(2, tcp(k, SYN))
	wantForward(t, v)
	owner := c.oneOwner(k)
	if out != owner {
		t.Fatalf("SYN left through %d, the owner is %d", out, owner)
	}
	_, v = c.at(1, tcp(k.Reverse(), SYN|ACK))
	wantForward(t, v)
	_, v = c.at(3, tcp(k, ACK))
	wantForward(t, v)
}

// A packet that policy refused waits for the director's word whether it is a reply.
// The next one like it waits beside it, and is dropped for the same reason (MG5).
func TestMG5_WhatWaitsBesideARefusedPacketIsRefusedToo(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoUDP, 3).Reverse()
	for h := Handle(1); h <= 3; h++ {
		p := udp(k)
		p.Handle = h
		if v := c.nodes[1].core.Packet(c.now, &p); v.Op != OpHold {
			t.Fatalf("%+v, want the packet held", v)
		}
		c.run(10 * ms)
	}
	c.run(500 * ms)
	for h := Handle(1); h <= 3; h++ {
		wantDrop(t, c.nodes[1].released[h], ReasonPolicyDenied)
	}
}
