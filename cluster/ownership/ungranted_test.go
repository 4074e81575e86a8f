package ownership

import (
	"testing"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/policy"
)

// putOff is a connection of node 1, granted by node 4, whose director is node 3 since
// that has joined. Node 2 is dead, and nobody knows yet: so node 1 waits with its round,
// and node 3 with its answer to node 4, at which the initiator's SYN has come again.
func putOff(t *testing.T) (c *cluster, k packet.FlowKey) {
	t.Helper()
	c = newCluster(t, 1, 2, 4)
	c.boot(3)
	before := c.order()
	v := c.viewOf(1, 2, 1, 2, 3, 4)
	c.view = v
	for k = c.keyDirectedBy(packet.ProtoTCP, 3); before.Director(k) != 4 || c.order().Director(k) != 3; {
		k.SrcPort++
	}
	c.at(1, tcp(k, SYN))
	c.run(20 * ms)
	c.kill(2)
	c.applyAt(v, 1, 3, 4)
	c.run(5 * ms)
	_, r := c.at(4, tcp(k, SYN))
	wantForward(t, r)
	c.run(5 * ms)
	return c, k
}

// sure returns the nodes that own k, as they know from its director.
func (c *cluster) sure(k packet.FlowKey) (ids []wire.NodeID) {
	for _, id := range c.owners(k) {
		if c.flow(id, k).Flags&flowtable.FlowProvisional == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// What a provisional owner has to say of its connection is not the word of an owner: the
// director, which waits for all owners to register, must not take it for the answer to
// the claim before it.
func TestFR1_FR14_WhatAProvisionalOwnerLearnsAnswersNoClaim(t *testing.T) {
	c, k := putOff(t)
	for _, p := range []Packet{tcp(k.Reverse(), SYN|ACK), tcp(k, ACK)} {
		_, v := c.at(4, p)
		wantForward(t, v)
	}
	if f := c.flow(4, k); f.State != uint8(flowtable.TCPEstablished) {
		t.Fatalf("%v, want a connection that is established", flowtable.TCPState(f.State))
	}
	for i := range 1800 {
		if c.run(5 * ms); i == 800 { // node 2 is missed
			c.apply(1, 3, 1, 3, 4)
		}
		if ids := c.sure(k); len(ids) != 1 {
			t.Fatalf("after %d ms nodes %v own it for sure, want one", (c.now-1e12)/ms, ids)
		}
	}
	c.wantOwner(k, 1)
	c.wantCopy(k, 3, 1, 1)
}

// The director gets to know it with the grant: whoever takes over has to know how far
// the connection is, and by how much its numbers are shifted. The grant comes at once, or
// when node 2 has registered, after the claim has been repeated.
func TestFR3_FR11_WhatAProvisionalOwnerLearnsIsToldWithTheGrant(t *testing.T) {
	const isn = 5000
	for name, wait := range map[string]int64{"by number": 0, "by key": 10 * ms, "after another claim": 1500 * ms} {
		for learns, more := range map[string]func(k packet.FlowKey) []Packet{
			"established": func(k packet.FlowKey) []Packet { return []Packet{tcp(k.Reverse(), SYN|ACK), tcp(k, ACK)} },
			"renumbered": func(k packet.FlowKey) []Packet {
				p := syn(k, isn)
				p.Signed = true
				return []Packet{p}
			},
		} {
			t.Run(name+"/"+learns, func(t *testing.T) {
				c := newBareCluster(t)
				if learns == "renumbered" {
					c.seqs = testSpace
				}
				c.boot(1)
				c.boot(2)
				c.apply(1, 1, 1, 2)
				c.run(50 * ms)
				c.boot(3)
				v := c.viewOf(1, 2, 1, 2, 3)
				c.applyAt(v, 1, 3)
				if wait == 0 {
					c.applyAt(v, 2)
				}
				c.run(10 * ms)
				k := c.keyDirectedBy(packet.ProtoTCP, 3)
				for _, p := range append([]Packet{syn(k, isn)}, more(k)...) {
					_, v := c.at(1, p)
					wantForward(t, v)
				}
				c.run(wait)
				if f := c.flow(1, k); f.Flags&flowtable.FlowProvisional == 0 {
					t.Fatal("the claim was answered too early")
				}
				if wait != 0 {
					c.applyAt(v, 2)
				}
				c.run(100 * ms)
				f := c.flow(1, k)
				if f.Flags&flowtable.FlowProvisional != 0 {
					t.Fatal("the flow is still provisional")
				}
				c.wantCopy(k, 3, 1, 1)
				if e, _ := c.nodes[3].copies.Get(k); e.State() != f.State || e.Timeout() != f.Timeout || e.SeqDelta() != f.SeqDelta {
					t.Fatalf("the copy is %v, the flow in state %d for %d s, shifted by %d", e, f.State, f.Timeout, f.SeqDelta)
				}
			})
		}
	}
}

// The same with durability sync, of a connection that its director in a newer view has
// given to another: a packet that waits for its copy says nothing to that view's director.
func TestFR1_FR13_WhatWaitsForItsCopyAnswersNoClaim(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	n := c.nodes[1]
	n.core.cfg.Policy = durable{*n, policy.Sync}
	before := c.order()
	c.boot(4)
	c.boot(5)
	v := c.viewOf(1, 2, 1, 2, 3, 4, 5)
	c.view = v
	k := c.keyDirectedBy(packet.ProtoTCP, 4)
	for before.Director(k) != 3 || c.order().Director(k) != 4 {
		k.SrcPort++
	}
	c.sharp(1, tcp(k, SYN))
	c.sharp(1, tcp(k.Reverse(), SYN|ACK))
	ack := tcp(k, ACK)
	ack.Handle = 1000
	if v := n.core.Packet(c.now, &ack); v.Op != OpHold {
		t.Fatalf("%+v, want the ACK held for the copy", v)
	}
	n.core.Message(c.now, 3, &wire.Redirect{Key: k, Owner: 5, Gen: 1})
	c.applyAt(v, 1, 4, 5)
	c.run(50 * ms)
	if e, known := c.nodes[4].copies.Get(k); known {
		t.Fatalf("the director takes node %d for the owner", e.Owner())
	}
	c.run(100 * ms)
	if _, released := n.released[1000]; !released {
		t.Fatal("the ACK waits for ever")
	}
}
