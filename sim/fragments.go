package sim

import (
	"cohort/cluster/fragments"
	"cohort/cluster/ownership"
	"cohort/packet"
)

// cutPart makes a pkt one fragment of what a host has sent. Routers see addresses alone:
// the fragments of one datagram take ways of their own, and overtake each other.
type cutPart struct {
	id     uint16
	number int // 0 is the first
	of     int
}

// partLen is what each fragment has of the datagram, in bytes.
const partLen = 80

// inParts reports whether a host sends p in fragments: every other conversation does,
// but for what begins or ends one of TCP, and errors.
func (w *World) inParts(p *pkt) bool {
	return w.cfg.Fragments && p.cut == nil && !p.fault && p.conn.id%2 == 0 && p.Flags&(ownership.SYN|ownership.FIN|ownership.RST) == 0
}

// enterParts sprays a datagram in fragments, within a millisecond, in any order.
func (w *World) enterParts(p pkt) {
	w.ids++
	of := 2 + w.rng.IntN(4)
	for i := range of {
		f := p
		f.cut = &cutPart{id: w.ids, number: i, of: of}
		if i > 0 {
			f.Kind, f.Flags, f.Seq, f.Ack, f.SeqLen = ownership.KindFragment, 0, 0, 0, 0
			f.Key.SrcPort, f.Key.DstPort = 0, 0
		}
		w.clock.after(w.rng.Int64N(ms), func() { w.enter(f) })
	}
	w.result.Datagrams++
}

// part is what a node's slow path reads from a fragment.
func (p *pkt) part() fragments.Part {
	c := p.cut
	return fragments.Part{
		Key:    fragments.Key{Src: p.Key.Src, Dst: p.Key.Dst, ID: c.id, Proto: p.Key.Proto, In: p.In},
		Offset: c.number * partLen, Len: partLen, More: c.number < c.of-1,
	}
}

// decide hands a packet to the core as node/fragment.go does.
func (n *node) decide(p *pkt, q *ownership.Packet) ownership.Verdict {
	now := n.w.clock.now
	switch {
	case p.cut == nil:
		return n.core.Packet(now, q)
	case p.labelled:
		if q.Kind == ownership.KindFragment {
			q.Key.SrcPort, q.Key.DstPort = ownership.Unlabel(p.label)
		}
		return n.core.Labelled(now, q)
	}
	return n.core.Fragment(now, p.part(), q)
}

// gathered is what a receiver has of a datagram.
type gathered struct {
	as  packet.FlowKey
	got uint64
	pkt pkt // the first fragment
}

// gather puts a datagram together, as its receiver does: by addresses, identification
// and protocol. Its fragments must all have got the same translation, and none of
// another conversation is among them.
func (c *conn) gather(p pkt, as packet.FlowKey) (whole pkt, ok bool) {
	g := c.parts[p.cut.id]
	if g == nil {
		g = &gathered{as: as}
		if c.parts == nil {
			c.parts = map[uint16]*gathered{}
		}
		c.parts[p.cut.id] = g
	}
	if as != g.as && c.excused == "" { // else it has changed owners, as two sides of a cut met
		c.w.fail("FR10: fragments of one datagram of connection %d left as %v and as %v", c.id, g.as, as)
	}
	if g.got>>p.cut.number&1 != 0 {
		c.w.fail("FR10: fragment %d of a datagram of connection %d has left twice", p.cut.number, c.id)
	}
	g.got |= 1 << p.cut.number
	if p.cut.number == 0 {
		g.pkt = p
	}
	if g.got != 1<<p.cut.of-1 {
		return pkt{}, false
	}
	delete(c.parts, p.cut.id)
	c.w.result.Gathered++
	whole = g.pkt
	whole.cut = nil
	return whole, true
}

// unlabelled is a packet that is sent to another node as it came. A fragment only goes so
// from where it enters to its fragment owner.
func (k *checker) unlabelled(n *node, p *pkt) {
	if p.cut != nil && (p.from != 0 || n.core.Owner().Order().Director(p.part().Key.Place()) == n.self) {
		k.w.fail("FR10: the fragment owner of a datagram of connection %d has sent fragment %d on without its ports", p.conn.id, p.cut.number)
	}
}

// fencedKeeps is what must not be: a node that is in no view has fragments of the last.
func (k *checker) fencedKeeps(n *node) {
	if n.powered && n.view == nil && n.core.Fragments().Len() != 0 {
		k.w.fail("FR10: node %d is fenced and has records of %d datagrams", n.index+1, n.core.Fragments().Len())
	}
}
