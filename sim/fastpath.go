package sim

import (
	"cohort/ccl/wire"
	"cohort/cluster/ownership"
	"cohort/flowtable"
)

// maxHops is CCL_MAX_HOPS of the BPF programs.
const maxHops = 3

// receive is what the XDP programs do with a packet, in small: lease, view,
// lookup, then forward, send to the owner, or punt.
func (n *node) receive(p pkt) {
	w := n.w
	if n.tag == 0 || w.clock.now > n.lease {
		return // fenced, or the lease has run out (HL5)
	}
	if p.from != 0 && (p.tag != n.tag && p.tag != n.prevTag || n.members[p.from] == 0) {
		p.conn.early = p.conn.early || n.ahead(&p)
		return
	}
	if p.Kind == ownership.KindICMPError || p.cut != nil {
		n.punt(p)
		return
	}
	ref := n.table.Lookup(p.Key)
	switch {
	case ref == 0:
		if to := n.steered(&p); to != 0 {
			n.toNode(to, p)
			return
		}
		n.punt(p)
	case ref.IsForward():
		f := n.table.Forward(ref.Slot())
		if p.from == 0 && n.delegateHit(p, ref.Slot()) {
			return
		}
		if p.from != 0 && !n.relays(&p, f) || n.members[f.Owner] == 0 || n.members[f.Owner].Tag() != f.Incarnation {
			n.punt(p)
			return
		}
		f.Account(n.tick(), int(p.Len))
		n.toNode(wire.NodeID(f.Owner), p)
	default:
		n.ownerHit(p, ref)
	}
}

func (n *node) ownerHit(p pkt, ref flowtable.Ref) {
	f := n.table.Flow(ref.Slot())
	if f.Flags&flowtable.FlowPunt != 0 {
		n.punt(p)
		return
	}
	if p.Kind == ownership.KindTCP {
		if p.Flags&(ownership.SYN|ownership.RST) != 0 {
			n.punt(p)
			return
		}
		seqEnd := p.Seq + p.SeqLen
		p.shift(f.Shift(ref.Dir()))
		f.Sent(ref.Dir(), p.Flags, seqEnd, p.Ack, p.Window)
	}
	f.Account(ref.Dir(), n.tick(), int(p.Len))
	if p.from != 0 {
		f.MarkVia(ref.Dir(), uint8(p.entry)) // of every packet: there are few
	}
	n.w.owned(n, &p)
	n.w.leave(p, f.Key[1-ref.Dir()].Reverse())
}

// delegateHit forwards the middle of a connection by a delegation of its owner.
func (n *node) delegateHit(p pkt, forward uint32) bool {
	d, _ := n.table.Delegation(forward)
	if d == nil || !d.InForce(n.tick(), n.tag) || d.Iface != p.In {
		return false
	}
	if p.Kind == ownership.KindTCP && p.Flags&(ownership.SYN|ownership.RST|ownership.FIN|ownership.ACK) != ownership.ACK {
		return false
	}
	seqEnd := p.Seq + p.SeqLen
	p.shift(d.Shift())
	d.Account(n.tick(), int(p.Len), flowtable.TCPSent{SeqEnd: seqEnd, Ack: p.Ack, Window: p.Window})
	n.w.check.delegated(n, &p, d.To.Key(p.Key))
	n.w.leave(p, d.To.Key(p.Key))
	return true
}

// steered returns the other node that a packet from the wire goes to by the
// arithmetic of its NAT unit, 0 = none (FR6).
func (n *node) steered(p *pkt) wire.NodeID {
	if p.from != 0 || n.w.setups == nil {
		return 0
	}
	if u, ok := n.rules().Geometry().Unit(p.Key.Dst, p.Key.DstPort); ok && u < len(n.steer) && n.steer[u] != n.self && n.members[n.steer[u]] != 0 {
		return n.steer[u]
	}
	return 0
}

// relays reports whether a frame from another node goes on to the owner that a
// forward entry names: it was steered here by arithmetic.
func (n *node) relays(p *pkt, f *flowtable.ForwardSlot) bool {
	if n.w.setups == nil || wire.NodeID(f.Owner) == p.from {
		return false
	}
	u, ok := n.rules().Geometry().Unit(p.Key.Dst, p.Key.DstPort)
	return ok && u < len(n.steer) && n.steer[u] == n.self
}

// punt hands a packet to the node's core, as AF_XDP does.
func (n *node) punt(p pkt) {
	if !n.running() {
		return
	}
	n.handle++
	h := n.handle
	n.held[h] = p
	q := p.Packet
	q.Handle, q.From = h, p.from
	if v := n.decide(&p, &q); v.Op != ownership.OpHold {
		n.Release(h, v)
	}
	n.core.Flush(n.w.clock.now)
}

// Release implements core.IO.
func (n *node) Release(h ownership.Handle, v ownership.Verdict) {
	p, ok := n.held[h]
	if !ok {
		n.w.fail("node %d released packet %d twice", n.index, h)
		return
	}
	delete(n.held, h)
	switch v.Op {
	case ownership.OpForward:
		n.w.owned(n, &p)
		p.shift(n.table.Flow(v.Slot).Shift(int(v.Dir)))
		n.w.leave(p, n.table.Flow(v.Slot).Key[1-v.Dir].Reverse())
	case ownership.OpSend:
		n.w.check.unlabelled(n, &p)
		n.toNode(v.Node, p)
	case ownership.OpLabel:
		p.labelled, p.label = true, v.Gen
		n.toNode(v.Node, p)
	case ownership.OpDrop:
		n.w.drops[v.Reason]++
		p.conn.strayed = p.conn.strayed || n.w.gaveWay(&p)
		if !p.reply && p.step == 0 && (p.cut == nil || p.cut.number == 0) { // the first of a datagram is judged
			p.conn.refused |= reasons(v.Reason)
			n.w.check.refused(p.conn, v.Reason)
		}
	}
}

// ahead reports whether a frame is of a view that its sender has applied and n has not
// yet: n takes none of those.
func (n *node) ahead(p *pkt) bool {
	for _, m := range n.w.nodes {
		if m.self == p.from && m.view != nil && n.view != nil && m.view.Tag() == p.tag &&
			m.view.Term == n.view.Term && m.view.Epoch == n.view.Epoch+1 {
			return true
		}
	}
	return false
}

// gaveWay reports whether a SYN-ACK is for a translation that was given up: the SYN had
// been repeated through a second node, and another owns the connection (FR14).
func (w *World) gaveWay(p *pkt) bool {
	if !p.reply || p.step != 0 || p.Kind != ownership.KindTCP {
		return false
	}
	for _, m := range w.nodes {
		if ref := m.table.Lookup(p.conn.key); ref != 0 && !ref.IsForward() && m.table.Flow(ref.Slot()).Key[1] != p.Key {
			return true
		}
	}
	return false
}

func (n *node) toNode(to wire.NodeID, p pkt) {
	p.hops++
	if p.hops > maxHops || n.view.Member(to) == nil {
		return
	}
	if p.from == 0 {
		p.entry = n.self
	}
	p.from, p.tag = n.self, n.tag
	n.w.net.frame(n.index, nodeOf(n.view.Member(to).VTEP), p)
}
