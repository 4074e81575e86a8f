package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// Two nodes get the first packet of one UDP flow at once: each reserves a
// port, one owner remains, and the other port is free again.
func TestFR7_TheLoserGivesItsPortBack(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := inside(1, packet.ProtoUDP)
	for id := wire.NodeID(1); id <= 3; id++ {
		p := udp(k)
		p.Handle = 1
		if v := c.nodes[id].core.Packet(c.now, &p); v.Op != OpHold && id != c.order().Director(k) {
			t.Fatalf("node %d: %+v", id, v)
		}
	}
	c.run(50 * ms)
	owner := c.oneOwner(k)
	for id, n := range c.nodes {
		want := 0
		if id == owner || id == n.core.backup(c.reply(k), owner) {
			want = 1
		}
		if len(n.fake.uses) != want || len(n.core.reserved) != 0 {
			t.Fatalf("node %d uses %v and reserves %v; owner %d", id, n.fake.uses, n.core.reserved, owner)
		}
	}
}

// The initiator repeats its SYN through another node while the director is
// silent. Until the director has decided, neither translation shows answers to
// the initiator or takes what it sends after one: only one of them goes on.
func TestFR14_ProvisionalTranslationsWaitForTheGrant(t *testing.T) {
	c := natCluster(t, 1, 2, 3)
	k := c.keyDirectedBy(packet.ProtoTCP, 3)
	c.refus[3] = true
	for _, id := range []wire.NodeID{1, 2} {
		_, v := c.at(id, tcp(k, SYN))
		wantForward(t, v)
	}
	for id := wire.NodeID(1); id <= 2; id++ {
		n := c.nodes[id]
		back := tcp(c.flow(id, k).Key[1], SYN|ACK)
		back.In, back.Handle = 2, 100
		if v := n.core.Packet(c.now, &back); v.Op != OpHold {
			t.Fatalf("answer at node %d: %+v, want it to wait", id, v)
		}
		on := tcp(k, ACK)
		on.Handle = 101
		if v := n.core.Packet(c.now, &on); v.Op != OpHold {
			t.Fatalf("data at node %d: %+v, want it to wait", id, v)
		}
		if f := c.flow(id, k); f.Flags&flowtable.FlowPunt == 0 {
			t.Fatalf("the fast path of node %d takes its packets", id)
		}
	}
	c.refus[3] = false
	c.run(700 * ms)
	owner := c.oneOwner(k)
	for id := wire.NodeID(1); id <= 2; id++ {
		// Who lost drops the answer to its translation. What the initiator sent
		// follows an answer that came through the winner, and goes there.
		want := map[Handle]Verdict{100: {Op: OpDrop, Reason: ReasonDuplicate}, 101: {Op: OpSend, Node: owner}}
		if id == owner {
			want = map[Handle]Verdict{100: {Op: OpForward}, 101: {Op: OpForward}}
		}
		for h, want := range want {
			if v := c.nodes[id].released[h]; v.Op != want.Op || v.Reason != want.Reason || v.Node != want.Node {
				t.Fatalf("node %d, owner is %d, packet %d: %+v, want %+v", id, owner, h, v, want)
			}
		}
	}
	if f := c.flow(owner, k); f.Flags&(flowtable.FlowPunt|flowtable.FlowProvisional) != 0 {
		t.Fatalf("flags %x after the grant", f.Flags)
	}
}

// With a static translation the node that keeps a connection's second key would
// take a repeated SYN for another connection that wants the same tuple.
func TestFR14_ARepeatedSYNIsNoConflictWithItself(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	k := packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 2000, DstPort: 80, Proto: packet.ProtoTCP}
	for _, n := range c.nodes {
		n.fake.fixed = packet.Addr{198, 51, 100, 80}
	}
	_, v := c.at(1, tcp(k, SYN))
	wantForward(t, v)
	c.run(20 * ms)
	reply := c.reply(k)
	for id := wire.NodeID(2); id <= 4; id++ {
		if _, stub := c.nodes[id].core.stub(reply); !stub {
			continue
		}
		at, v := c.at(id, tcp(k, SYN))
		if wantForward(t, v); at != 1 {
			t.Fatalf("node %d forwards what node 1 owns", at)
		}
		other := k
		other.Src = packet.Addr{10, 0, 0, 2}
		_, v = c.at(id, tcp(other, SYN))
		wantDrop(t, v, ReasonNATConflict)
		return
	}
	t.Fatal("no node keeps the second key")
}
