package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

const second = 1000 * ms

// pass is at with a fast path that knows delegations: it marks what was forwarded
// at its owner, and counts what is delegated. sent counts what left, by direction.
func (c *cluster) pass(id wire.NodeID, p Packet, sent *[2]uint64) wire.NodeID {
	c.t.Helper()
	n := c.nodes[id]
	dir := 0
	if p.In != 1 {
		dir = 1
	}
	if ref := n.table.Lookup(p.Key); ref != 0 && ref.IsForward() && (p.Kind != KindTCP || p.Flags&(SYN|FIN|RST|ACK) == ACK) {
		if d, _ := n.table.Delegation(ref.Slot()); d != nil && d.InForce(flowtable.TickOf(c.clock(id)), n.core.view.Tag()) {
			d.Account(flowtable.TickOf(c.clock(id)), int(p.Len), flowtable.TCPSent{SeqEnd: p.Seq + p.SeqLen, Ack: p.Ack, Window: p.Window})
			sent[dir]++
			return id
		}
	}
	out, v := c.at(id, p)
	wantForward(c.t, v)
	sent[dir]++
	if f := c.nodes[out].table.Flow(v.Slot); out != id {
		f.MarkVia(int(v.Dir), uint8(id))
	}
	return out
}

// stays passes a packet that must leave where it enters.
func (c *cluster) stays(id wire.NodeID, p Packet, sent *[2]uint64) {
	c.t.Helper()
	if out := c.pass(id, p, sent); out != id {
		c.t.Fatalf("a packet that entered at %d left at %d: it is not delegated", id, out)
	}
}

// established opens an untranslated connection at node 1.
func (c *cluster) established(k packet.FlowKey) (sent [2]uint64) {
	c.t.Helper()
	c.pass(1, tcp(k, SYN), &sent)
	c.pass(1, tcp(k.Reverse(), SYN|ACK), &sent)
	c.pass(1, tcp(k, ACK), &sent)
	return sent
}

// shake lets the first two packets of a TCP connection pass by node 1.
func (c *cluster) shake(k packet.FlowKey, sent *[2]uint64) {
	c.t.Helper()
	c.pass(1, tcp(k, SYN), sent)
	c.run(5 * ms)
	c.pass(1, tcp(c.flow(1, k).Key[1], SYN|ACK), sent)
}

// talk opens a connection at node 1 and lets both directions pass by the others
// until these have delegations.
func (c *cluster) talk(k packet.FlowKey, others ...wire.NodeID) (reply packet.FlowKey, sent [2]uint64) {
	c.t.Helper()
	make := tcp
	if k.Proto == packet.ProtoUDP {
		make = func(k packet.FlowKey, _ uint8) Packet { return udp(k) }
	}
	c.pass(1, make(k, SYN), &sent)
	c.run(5 * ms)
	reply = c.flow(1, k).Key[1]
	answer := make(reply, SYN|ACK)
	answer.Ack += c.flow(1, k).SeqDelta // what the responder knows
	c.pass(others[0], answer, &sent)
	c.pass(1, make(k, ACK), &sent)
	for range 3 {
		for range 10 {
			for _, id := range others {
				c.pass(id, make(k, ACK), &sent)
				c.pass(id, make(reply, ACK), &sent)
			}
			c.run(100 * ms)
		}
	}
	for _, id := range others {
		for _, key := range []packet.FlowKey{k, reply} {
			if !c.delegated(id, key) {
				c.t.Fatalf("node %d has no delegation of %v", id, key)
			}
		}
	}
	return reply, sent
}

// again lets a connection whose delegations were revoked get them anew.
func (c *cluster) again(k packet.FlowKey, sent [2]uint64) (packet.FlowKey, [2]uint64) {
	c.t.Helper()
	reply := c.flow(1, k).Key[1]
	for range 30 {
		c.pass(2, tcp(k, ACK), &sent)
		c.pass(3, tcp(reply, ACK), &sent)
		c.run(100 * ms)
	}
	if !c.delegated(2, k) || !c.delegated(3, reply) {
		c.t.Fatal("not delegated again")
	}
	return reply, sent
}

func (c *cluster) delegated(id wire.NodeID, k packet.FlowKey) bool {
	n := c.nodes[id]
	ref := n.table.Lookup(k)
	if ref == 0 || !ref.IsForward() {
		return false
	}
	d, _ := n.table.Delegation(ref.Slot())
	return d != nil && d.InForce(flowtable.TickOf(c.clock(id)), n.core.view.Tag())
}

// wantKnown fails unless every delegation that is in force anywhere is one of which its
// owner knows that it may be (NT4). It returns how many there are.
func (c *cluster) wantKnown() (inForce int) {
	c.t.Helper()
	for id, n := range c.nodes {
		if n.dead || n.core.view == nil {
			continue
		}
		n.table.ScanDelegations(0, n.table.ForwardSlots(), func(_ uint32, f *flowtable.ForwardSlot, d *flowtable.DelegationSlot) bool {
			if !d.InForce(flowtable.TickOf(c.clock(id)), n.core.view.Tag()) {
				return true
			}
			inForce++
			if o := c.nodes[wire.NodeID(f.Owner)]; !o.dead && !o.knows(id, f.Key, d.ID) {
				c.t.Fatalf("node %d forwards %v by delegation %d of node %d, which takes it for over", id, f.Key, d.ID, o.id)
			}
			return true
		})
	}
	return inForce
}

// knows reports whether an owner takes a delegation for one that may be in force.
func (n *testNode) knows(to wire.NodeID, k packet.FlowKey, id uint16) bool {
	c := n.core
	c.now = n.c.clock(n.id)
	now := c.tick()
	if ref, _ := c.owning(k); ref != 0 {
		if i := c.lending.find(ref.Slot(), ref.Dir(), to, id); i != 0 {
			return !c.lending.over(&c.lending.list[i], now)
		}
	}
	for i := range c.lending.to[to].calls { // its flow has gone, but what it leaves with rests
		if x := &c.lending.to[to].calls[i]; x.key == k && x.id == id && flowtable.Since(now, x.until) < 0 {
			return true
		}
	}
	return c.blindTo(now)
}

// wantCounted fails unless the owner has counted exactly what has left.
func (c *cluster) wantCounted(k packet.FlowKey, sent [2]uint64) {
	c.t.Helper()
	f := c.flow(c.oneOwner(k), k)
	for d := range sent {
		if packets, bytes := f.Counters(d); packets != sent[d] || bytes != 60*sent[d] {
			c.t.Errorf("direction %d: the owner counts %d packets of %d bytes, %d have left", d, packets, bytes, sent[d])
		}
	}
}

// wantAlmostCounted is wantCounted while delegates have not reported their last packets.
func (c *cluster) wantAlmostCounted(k packet.FlowKey, sent [2]uint64, late uint64) {
	c.t.Helper()
	f := c.flow(c.oneOwner(k), k)
	for d := range sent {
		if packets, _ := f.Counters(d); packets > sent[d] || packets+late < sent[d] {
			c.t.Errorf("direction %d: the owner counts %d packets, %d have left", d, packets, sent[d])
		}
	}
}

// wantNoneLent fails unless nothing is delegated, or ending, anywhere.
func (c *cluster) wantNoneLent() {
	c.t.Helper()
	for id, n := range c.nodes {
		if s := n.table.Stats(); !n.dead && (n.core.LentNow() != 0 || s.Delegations != 0 || len(n.core.ending.list) != 0) {
			c.t.Errorf("node %d has lent %d, has %d delegations, %d of them ending", id, n.core.LentNow(), s.Delegations, len(n.core.ending.list))
		}
	}
}

// wantSettled fails unless after a while nothing is delegated any more and the
// owner has counted exactly what has left.
func (c *cluster) wantSettled(after int64, k packet.FlowKey, sent [2]uint64) {
	c.t.Helper()
	c.run(after)
	c.wantCounted(k, sent)
	c.wantNoneLent()
}

// cut loses all that is on its way between two nodes while fn runs: also what the
// link had promised to deliver, as when a channel starts over.
func (c *cluster) cut(a, b wire.NodeID, fn func()) {
	old := c.lose
	c.lose = func(from, to wire.NodeID) bool {
		return from == a && to == b || from == b && to == a || old != nil && old(from, to)
	}
	fn()
	c.lose = old
}

// rebirth replaces a node's core by a new one over the same tables.
func (c *cluster) rebirth(id wire.NodeID) {
	n := c.nodes[id]
	cfg := n.core.cfg
	if n.fake != nil {
		n.fake.uses = map[packet.FlowKey]int{}
	}
	n.core = New(cfg)
	n.core.ApplyView(c.now, c.view, id)
}
