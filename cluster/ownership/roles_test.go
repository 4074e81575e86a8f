package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// SYN at A, SYN-ACK at B, data at C and D, for every choice of director.
func TestFR1_HandshakeOverFourNodesHasOneOwner(t *testing.T) {
	for director := wire.NodeID(1); director <= 4; director++ {
		c := newCluster(t, 1, 2, 3, 4)
		k := c.keyDirectedBy(packet.ProtoTCP, director)
		steps := []struct {
			at wire.NodeID
			p  Packet
		}{
			{1, tcp(k, SYN)}, {2, tcp(k.Reverse(), SYN|ACK)}, {3, tcp(k, ACK)}, {4, tcp(k.Reverse(), ACK)}, {2, tcp(k, ACK)},
		}
		for i, s := range steps {
			out, v := c.at(s.at, s.p)
			wantForward(t, v)
			if out != 1 {
				t.Fatalf("director %d, step %d left through node %d, want the owner 1", director, i, out)
			}
		}
		c.wantOwner(k, 1)
		f := c.nodes[1].table.Flow(c.nodes[1].table.Lookup(k).Slot())
		if f.State != uint8(flowtable.TCPEstablished) {
			t.Fatalf("state %v, want established", flowtable.TCPState(f.State))
		}
	}
}

// The copy lives at the director, or at the second in order when the director
// is the owner; never at the owner itself.
func TestFR3_CopyIsAtTheFirstNodeThatIsNotTheOwner(t *testing.T) {
	for director := wire.NodeID(1); director <= 3; director++ {
		c := newCluster(t, 1, 2, 3)
		k := c.keyDirectedBy(packet.ProtoTCP, director)
		_, v := c.at(1, tcp(k, SYN))
		wantForward(t, v)
		c.run(10 * ms)
		want := c.order().Backup(k, 1)
		for id, n := range c.nodes {
			if e, ok := n.copies.Get(k); ok != (id == want) {
				t.Fatalf("director %d: node %d has a copy: %v (%+v), want it at %d only", director, id, ok, e, want)
			}
		}
	}
}

func TestFR4_SecondPacketAsksNobody(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	c.at(1, tcp(k, SYN))
	_, v := c.at(2, tcp(k.Reverse(), SYN|ACK))
	wantForward(t, v)
	before := c.nodes[2].core.Stats().Queries
	if before != 1 {
		t.Fatalf("the forwarder asked %d times for the first packet, want 1", before)
	}
	for range 5 {
		_, v := c.at(2, tcp(k.Reverse(), ACK))
		wantForward(t, v)
	}
	if q := c.nodes[2].core.Stats().Queries; q != before {
		t.Fatalf("the forwarder asked %d times more, want never", q-before)
	}
}

// The first two packets of one UDP flow at two nodes at the same instant.
func TestFR7_TwoFirstPacketsOneOwner(t *testing.T) {
	for director := wire.NodeID(1); director <= 4; director++ {
		c := newCluster(t, 1, 2, 3, 4)
		k := c.keyDirectedBy(packet.ProtoUDP, director)
		for id := wire.NodeID(1); id <= 2; id++ {
			p := udp(k)
			p.Handle = 1
			if v := c.nodes[id].core.Packet(c.now, &p); v.Op != OpHold {
				c.nodes[id].released[1] = v // it directs the flow itself
			}
		}
		c.run(20 * ms)
		owner := c.oneOwner(k)
		v1, v2 := c.nodes[1].released[1], c.nodes[2].released[1]
		if owner == 2 {
			v1, v2 = v2, v1
		}
		wantForward(t, v1)
		if v2.Op != OpSend || v2.Node != owner {
			t.Fatalf("the loser did %+v, want to send to the owner %d", v2, owner)
		}
	}
}

// A reply that policy would refuse as a new flow finds the flow's owner.
func TestFR7_ReplyAtAnotherNodeReachesTheOwner(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoUDP, 3)
	_, v := c.at(1, udp(k))
	wantForward(t, v)
	out, v := c.at(2, udp(k.Reverse()))
	wantForward(t, v)
	if out != 1 {
		t.Fatalf("reply left through %d, want 1", out)
	}
	_, v = c.at(2, udp(packet.FlowKey{Src: packet.Addr{192, 0, 2, 9}, Dst: packet.Addr{10, 0, 0, 1}, SrcPort: 5, DstPort: 6, Proto: 17}))
	wantDrop(t, v, ReasonPolicyDenied)
}

// Echo request and reply at different nodes, ICMP error at a third.
func TestFR9_EchoAndErrorsReachTheOwner(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoICMP, 3)
	req := tcp(k, 0)
	req.Kind = KindICMPQuery
	_, v := c.at(1, req)
	wantForward(t, v)
	rep := tcp(k.Reverse(), 0)
	rep.Kind = KindICMPResponse
	out, v := c.at(2, rep)
	wantForward(t, v)
	if out != 1 {
		t.Fatalf("echo reply left through %d, want the owner 1", out)
	}
	icmpErr := rep
	icmpErr.Kind = KindICMPError
	out, v = c.at(3, icmpErr)
	wantForward(t, v)
	if out != 1 || v.Dir != 1 {
		t.Fatalf("error left through %d as direction %d, want node 1 direction 1", out, v.Dir)
	}
}

// A redirect quotes a connection, and what has no identifier has the key of the
// identifier 0: neither is part of that connection, at whichever node it arrives.
func TestFR9_WhatIsNoQueryBelongsToNoConnection(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoICMP, 3)
	k.SrcPort = 0
	for _, k := range []packet.FlowKey{k, c.keyDirectedBy(packet.ProtoUDP, 3)} {
		first := udp(k)
		if k.Proto == packet.ProtoICMP {
			first.Kind = KindICMPQuery
		}
		_, v := c.at(1, first)
		wantForward(t, v)
		back := first
		back.Key, back.In = k.Reverse(), 2
		_, v = c.at(2, back) // makes a forward entry
		wantForward(t, v)
		for id := wire.NodeID(1); id <= 3; id++ {
			for _, p := range []Packet{first, back} {
				p.Kind = KindICMPOther
				at, v := c.at(id, p)
				wantDrop(t, v, ReasonICMPType)
				if at != id {
					t.Errorf("%v went from node %d to %d", p.Key, id, at)
				}
			}
		}
	}
}

// RFC 5508, REQ-1: a query begins a connection where policy lets it, and nothing
// else does; a response that nobody asked for is dropped by name.
func TestRFC5508_REQ1_OnlyAQueryBeginsAConnection(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoICMP, 3)
	p := udp(k)
	p.Kind = KindICMPResponse
	for id := wire.NodeID(1); id <= 3; id++ {
		_, v := c.at(id, p)
		wantDrop(t, v, ReasonNoConnection)
	}
	c.wantNoOwner(k)
	p.Kind = KindICMPQuery
	_, v := c.at(1, p)
	wantForward(t, v)
	if got := c.flow(1, k).Timeout; got != c.nodes[1].core.cfg.Timeouts.ICMP {
		t.Errorf("it times out after %d s, want %d", got, c.nodes[1].core.cfg.Timeouts.ICMP)
	}
	back := p
	back.Key, back.In = k.Reverse(), 2
	back.Key.SrcPort, back.Key.DstPort = k.SrcPort, 0
	_, v = c.at(2, back) // a query of the other side with the same identifier is no part of it
	wantDrop(t, v, ReasonPolicyDenied)
}

// The owner dies: the next packet at any node takes over once, later askers
// are sent to the winner, for every choice of owner and director.
func TestFR11_OwnerDiesAndOneNodeAdopts(t *testing.T) {
	for owner := wire.NodeID(1); owner <= 4; owner++ {
		for director := wire.NodeID(1); director <= 4; director++ {
			c := newCluster(t, 1, 2, 3, 4)
			k := c.keyDirectedBy(packet.ProtoTCP, director)
			c.at(owner, tcp(k, SYN))
			c.at(owner, tcp(k.Reverse(), SYN|ACK))
			c.at(owner, tcp(k, ACK))
			c.run(20 * ms)
			c.kill(owner)
			var left []wire.NodeID
			for id := wire.NodeID(1); id <= 4; id++ {
				if id != owner {
					left = append(left, id)
				}
			}
			c.apply(1, 2, left...)
			// Both directions at two nodes in the same instant.
			a, b := tcp(k, ACK), tcp(k.Reverse(), ACK)
			a.Handle, b.Handle = 9001, 9001
			c.nodes[left[0]].core.Packet(c.now, &a)
			c.nodes[left[1]].core.Packet(c.now, &b)
			c.run(30 * ms)
			got := c.oneOwner(k)
			f := c.nodes[got].table.Flow(c.nodes[got].table.Lookup(k).Slot())
			if f.State != uint8(flowtable.TCPEstablished) || f.Gen != 2 {
				t.Fatalf("owner %d director %d: adopted with state %v generation %d, want established 2", owner, director, flowtable.TCPState(f.State), f.Gen)
			}
			for _, id := range left {
				out, v := c.at(id, tcp(k, ACK))
				wantForward(t, v)
				if out != got {
					t.Fatalf("packet at %d left through %d, want the new owner %d", id, out, got)
				}
			}
			// Protected again: another death is survived as well.
			c.run(50 * ms)
			c.kill(got)
			var last []wire.NodeID
			for _, id := range left {
				if id != got {
					last = append(last, id)
				}
			}
			c.apply(1, 3, last...)
			_, v := c.at(last[0], tcp(k.Reverse(), ACK))
			wantForward(t, v)
			if g := c.oneOwner(k); c.nodes[g].table.Flow(c.nodes[g].table.Lookup(k).Slot()).Gen != 3 {
				t.Fatal("second takeover did not raise the generation")
			}
		}
	}
}

func TestFR12_DirectorDiesAndEverythingIsProtectedAgain(t *testing.T) {
	c := newCluster(t, 1, 2, 3, 4)
	var keys []packet.FlowKey
	for port := uint16(2000); port < 2300; port++ {
		k := packet.FlowKey{Src: packet.Addr{10, 0, 0, 7}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: port, DstPort: 80, Proto: 6}
		keys = append(keys, k)
		c.at(1, tcp(k, SYN))
		c.at(1, tcp(k.Reverse(), SYN|ACK))
		c.at(1, tcp(k, ACK))
	}
	c.run(20 * ms)
	c.kill(2)
	c.apply(1, 2, 1, 3, 4)
	c.run(100 * ms)
	for _, k := range keys {
		holder := c.order().Backup(k, 1)
		e, ok := c.nodes[holder].copies.Get(k)
		if !ok || e.State() != uint8(flowtable.TCPEstablished) {
			t.Fatalf("%v has no established copy at %d after its director died", k, holder)
		}
	}
	// And the old places forget theirs (FR15).
	c.run(3000 * ms)
	total := 0
	for id := wire.NodeID(1); id <= 4; id++ {
		if !c.nodes[id].dead {
			total += c.nodes[id].copies.Len()
		}
	}
	if total != len(keys) {
		t.Fatalf("%d copies for %d connections", total, len(keys))
	}
}

// A SYN retransmitted through another node before the director knew.
func TestFR14_FirstClaimWinsAndTheLoserForwards(t *testing.T) {
	for director := wire.NodeID(1); director <= 4; director++ {
		c := newCluster(t, 1, 2, 3, 4)
		k := c.keyDirectedBy(packet.ProtoTCP, director)
		a, b := tcp(k, SYN), tcp(k, SYN)
		a.Handle, b.Handle = 7, 7
		c.nodes[1].core.Packet(c.now, &a)
		c.nodes[3].core.Packet(c.now, &b)
		c.run(20 * ms)
		owner := c.oneOwner(k)
		for id := wire.NodeID(1); id <= 4; id++ {
			out, v := c.at(id, tcp(k.Reverse(), SYN|ACK))
			wantForward(t, v)
			if out != owner {
				t.Fatalf("director %d: SYN-ACK at %d left through %d, want %d", director, id, out, owner)
			}
		}
	}
}

func TestFR15_CloseAndIdleLeaveNothing(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	for port := uint16(3000); port < 3200; port++ {
		k := packet.FlowKey{Src: packet.Addr{10, 0, 0, 7}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: port, DstPort: 80, Proto: 6}
		c.at(1, tcp(k, SYN))
		c.at(2, tcp(k.Reverse(), SYN|ACK))
		c.at(3, tcp(k, ACK))
		if port%2 == 0 {
			c.at(1, tcp(k, FIN|ACK))
			c.at(2, tcp(k.Reverse(), FIN|ACK))
			c.at(3, tcp(k, ACK))
		} else {
			c.at(3, tcp(k, RST))
		}
		u := k
		u.Proto = 17
		c.at(2, udp(u))
	}
	c.run(400_000 * ms)
	for id, n := range c.nodes {
		if s := n.table.Stats(); s.Flows+s.Forwards+n.copies.Len() != 0 {
			t.Fatalf("node %d keeps %d flows, %d forward entries, %d copies after everything ended", id, s.Flows, s.Forwards, n.copies.Len())
		}
	}
}

func TestEL6_NotInTheViewMeansNothingForwarded(t *testing.T) {
	c := newCluster(t, 1, 2)
	k := c.keyDirectedBy(packet.ProtoTCP, 1)
	c.nodes[2].core.Fence(c.now)
	_, v := c.at(2, tcp(k, SYN))
	wantDrop(t, v, ReasonFenced)
	// What it says is not believed either.
	c.apply(1, 2, 1)
	c.nodes[1].core.Message(c.now, 2, &wire.Claim{Conn: wire.Conn{Key: k, Gen: 9}})
	if c.nodes[1].copies.Len() != 0 {
		t.Fatal("a claim from outside the view was stored")
	}
}

func TestTR2_RefusedTraffic(t *testing.T) {
	c := newCluster(t, 1, 2)
	out := packet.FlowKey{Src: packet.Addr{192, 0, 2, 1}, Dst: packet.Addr{10, 0, 0, 1}, SrcPort: 999, DstPort: 22, Proto: 6}
	_, v := c.at(1, tcp(out, SYN))
	wantDrop(t, v, ReasonPolicyDenied)
	out.DstPort = 8080
	_, v = c.at(1, tcp(out, SYN))
	wantForward(t, v)
	_, v = c.at(1, tcp(packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{203, 0, 113, 1}, SrcPort: 1, DstPort: 2, Proto: 6}, SYN))
	wantDrop(t, v, ReasonNoRoute)
	spoof := tcp(packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 1, DstPort: 2, Proto: 6}, SYN)
	spoof.In = 2
	_, v = c.at(1, spoof)
	wantDrop(t, v, ReasonReversePath)
	_, v = c.at(2, tcp(packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 7, DstPort: 80, Proto: 6}, ACK))
	wantDrop(t, v, ReasonNoConnection)
}

// A reset must be in the receiver's window (RFC 5961).
func TestTR2_BlindResetIsDropped(t *testing.T) {
	c := newCluster(t, 1, 2)
	k := c.keyDirectedBy(packet.ProtoTCP, 1)
	c.at(1, tcp(k, SYN))
	c.at(1, tcp(k.Reverse(), SYN|ACK))
	c.at(1, tcp(k, ACK))
	blind := tcp(k, RST)
	blind.Seq = 0x70000000
	_, v := c.at(1, blind)
	wantDrop(t, v, ReasonRSTWindow)
	if f := c.nodes[1].table.Flow(c.nodes[1].table.Lookup(k).Slot()); f.State != uint8(flowtable.TCPEstablished) {
		t.Fatalf("state %v after a blind reset", flowtable.TCPState(f.State))
	}
}

// A backed-up link loses registrations; the full round that follows repairs
// them and the copies of what ended meanwhile are swept.
func TestBacklogIsRepairedByAFullRound(t *testing.T) {
	c := newCluster(t, 1, 2)
	k1, k2 := c.keyDirectedBy(packet.ProtoTCP, 2), packet.FlowKey{}
	c.at(1, tcp(k1, SYN))
	c.run(20 * ms)
	c.refus[2] = true
	k2 = k1
	k2.Src[3] = 9
	for c.order().Director(k2) != 2 {
		k2.SrcPort++
	}
	c.at(1, tcp(k2, SYN))
	ref := c.nodes[1].table.Lookup(k1)
	c.nodes[1].core.closeFlow(ref.Slot())
	c.run(50 * ms)
	if _, ok := c.nodes[2].copies.Get(k1); !ok {
		t.Fatal("the close crossed a link that was backed up")
	}
	c.refus[2] = false
	c.run(3000 * ms)
	if _, ok := c.nodes[2].copies.Get(k2); !ok {
		t.Fatal("the connection made during the backlog was never registered")
	}
	if _, ok := c.nodes[2].copies.Get(k1); ok {
		t.Fatal("the copy of a connection that ended during the backlog was never swept")
	}
}

// The answer overtakes the first packet: a question about a connection that nobody
// knows waits at its director, which then begins the connection itself, in one step.
// Who asks is told at once, not when the wait is over (FR7).
func TestFR7_AQuestionIsAnsweredByTheDirectorsOwnFirstPacket(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
		c := newCluster(t, 1, 2, 3)
		k := c.keyDirectedBy(proto, 1)
		first, answer := udp(k), udp(k.Reverse())
		if proto == packet.ProtoTCP {
			first, answer = tcp(k, SYN), tcp(k.Reverse(), SYN|ACK)
		}
		answer.Handle = 1
		if v := c.nodes[2].core.Packet(c.now, &answer); v.Op != OpHold {
			t.Fatalf("%+v, want the answer to wait", v)
		}
		c.run(ms)
		if got := c.nodes[1].core.Stats().Parked; got != 1 {
			t.Fatalf("%d questions parked at the director, want 1", got)
		}
		at, v := c.at(1, first)
		if wantForward(t, v); at != 1 {
			t.Fatalf("the first packet left at node %d", at)
		}
		c.run(ms)
		if v, told := c.nodes[2].released[1]; !told || v.Op != OpSend || v.Node != 1 {
			t.Fatalf("%s: %v %+v, want the answer sent to the owner", packet.ProtoName(proto), told, v)
		}
	}
}

// A round waits for what has to be told before it (Config.Round): nobody hears that
// this node has begun or ended it.
func TestFR12_ARoundWaitsForWhatHasToBeToldBeforeIt(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.run(3000 * ms)
	may, asked := false, 0
	core := c.nodes[1].core
	core.cfg.Round = func() bool { asked++; return may }
	c.apply(2, 1, 1, 2)
	tag := c.view.Tag()
	c.run(500 * ms)
	if asked < 2 {
		t.Fatalf("asked %d times", asked)
	}
	if c.nodes[2].core.sync.ended[1] == tag {
		t.Fatal("the round has ended, and was not to begin")
	}
	may = true
	c.run(100 * ms)
	if c.nodes[2].core.sync.ended[1] != tag {
		t.Fatal("the round does not go on")
	}
}
