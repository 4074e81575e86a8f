package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
	"cohort/policy"
)

// reload takes NAT's address away at some nodes, with a view of its own.
func (c *cluster) reload(v *wire.View, ids ...wire.NodeID) {
	for _, id := range ids {
		n := c.nodes[id]
		n.fake.gone, n.fake.uses = true, map[packet.FlowKey]int{}
		n.core.Reload(c.now, n, func(r uint16) uint16 { return r + 1 }, true)
		n.core.ApplyView(c.now, v, id)
		n.core.EndMappings(c.now)
	}
	c.view = v
}

// A connection whose address is taken from its pool goes on. Its second key
// belongs to other nodes from then on; while its owner has not registered it
// there, nobody says that it does not exist.
func TestNT7_ConnectionOutlivesItsAddress(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	var k, k1 packet.FlowKey
	var owner wire.NodeID
	for n, strange := byte(1), false; !strange; n++ { // until its director to come has never heard of it
		var v Verdict
		k = inside(n, packet.ProtoTCP)
		owner, v = c.at(2, tcp(k, SYN))
		wantForward(t, v)
		c.run(20 * ms)
		k1 = c.reply(k)
		_, v = c.at(owner, tcp(k1, SYN|ACK))
		wantForward(t, v)
		director := c.order().Director(k1)
		_, stub := c.nodes[director].core.stub(k1)
		strange = director != owner && !stub && c.nodes[director].table.Lookup(k1) == 0
	}

	view := c.viewOf(1, 2, 1, 2, 3, 4)
	var others []wire.NodeID
	for id := wire.NodeID(1); id <= 4; id++ {
		if id != owner {
			others = append(others, id)
		}
	}
	registered := c.nodes[owner].core.Stats().Reregister
	c.reload(view, others...)
	asked := false
	answer := make(chan Verdict, 1)
	for _, id := range others {
		if c.nodes[id].table.Lookup(k1) == 0 {
			n := c.nodes[id]
			n.handle++
			p := tcp(k1, ACK)
			p.Handle = n.handle
			if v := n.core.Packet(c.now, &p); v.Op != OpHold {
				t.Fatalf("node %d: %+v, want to wait", id, v)
			}
			c.run(300 * ms) // longer than a question about a connection that nobody knows waits
			if v, over := n.released[p.Handle]; over {
				t.Fatalf("node %d: %v before the owner has registered", id, v.Reason)
			}
			c.reload(view, owner)
			c.run(50 * ms)
			answer <- n.released[p.Handle]
			asked = true
			break
		}
	}
	if !asked {
		t.Fatal("every node knew the connection: nothing was asked")
	}
	if v := <-answer; v.Op != OpSend || v.Node != owner {
		t.Fatalf("%+v (%v), want it sent to the owner, node %d", v, v.Reason, owner)
	}
	if c.nodes[owner].core.Stats().Reregister == registered {
		t.Error("a connection whose copy stays where it is was not registered again: no full round")
	}
	c.run(14_000 * ms) // and the tombs where it was are gone
	c.wantStub(k1, c.order().Backup(k1, owner), owner)
	if n := c.nodes[owner].fake.uses[k1]; n != 1 {
		t.Errorf("the owner counts %d uses of the second key, want 1", n)
	}
	if f := c.flow(owner, k); f.Key[1] != k1 || f.Rule != 1 {
		t.Errorf("rule %d, second key %v: want 1 and %v", f.Rule, f.Key[1], k1)
	}
}

// A mapping ends with its address, the connections through it go on, and a node
// that remembers who owned it does not send its host's packets there for ever.
func TestNT7_MappingEndsWithItsAddress(t *testing.T) {
	c := natCluster(t, 1, 2, 3, 4)
	k := packet.FlowKey{Src: packet.Addr{10, 0, 0, 7}, Dst: packet.Addr{193, 0, 0, 1}, SrcPort: 5000, DstPort: 53, Proto: packet.ProtoUDP}
	owner, v := c.at(1, udp(k))
	wantForward(t, v)
	c.run(50 * ms)
	mapping := packet.FlowKey{Src: k.Src, SrcPort: k.SrcPort, Proto: k.Proto}
	if c.oneOwner(mapping) != owner {
		t.Fatal("the mapping is elsewhere: this test is wrong")
	}
	other := owner%4 + 1
	c.reload(c.viewOf(1, 2, 1, 2, 3, 4), 1, 2, 3, 4)
	c.run(100 * ms)
	c.wantNoOwner(mapping)
	c.oneOwner(k)
	c.nodes[other].core.installForward(mapping, 1, owner, 1) // as if it had asked in between
	second := k
	second.DstPort = 54
	c.at(other, udp(second))
	if c.nodes[other].table.Lookup(mapping) != 0 {
		t.Fatal("the entry that leads to a mapping which is over stays")
	}
}

// nothingNew is a policy that lets nobody begin anything.
type nothingNew struct{}

func (nothingNew) Judge(_, _ uint8, _ packet.FlowKey) policy.Verdict { return policy.Verdict{} }

// New rules judge new connections; those that exist go on as they were judged
// (TR2), and show the rule of the same name.
func TestTR2_ReloadJudgesNewConnectionsOnly(t *testing.T) {
	c := newCluster(t, 1, 2)
	k := c.keyDirectedBy(packet.ProtoTCP, 2)
	_, v := c.at(1, tcp(k, SYN))
	wantForward(t, v)
	c.run(20 * ms)
	for id := range c.nodes {
		n := c.nodes[id]
		n.core.Reload(c.now, nothingNew{}, func(uint16) uint16 { return 7 }, false)
	}
	c.apply(1, 2, 1, 2)
	c.run(100 * ms)
	_, v = c.at(1, tcp(k.Reverse(), SYN|ACK))
	wantForward(t, v)
	if f := c.flow(1, k); f.Rule != 7 {
		t.Errorf("the connection shows rule %d, want 7", f.Rule)
	}
	second := k
	second.SrcPort++
	_, v = c.at(1, tcp(second, SYN))
	wantDrop(t, v, ReasonPolicyDenied)
}
