package ownership

import (
	"cohort/ccl/wire"
	"cohort/cluster/sequence"
	"cohort/flowtable"
	"cohort/packet"
)

// TCP sequence numbers that carry the owner (FR5). The owner of a connection gives its
// initiator another initial sequence number (package sequence), and by the difference
// all that speaks of the initiator's numbers is shifted on the way: by the fast path,
// by delegates, by the slow path. What the table records is what the initiator knows.
//
// The difference is part of the connection: copies have it, and whoever takes over goes
// on with it. The initiator's numbers alone are shifted. That is enough to find the
// owner, and enough against who guesses: a host's numbers as a responder are those
// of its own system, which RFC 6528 has asked for since 2012.

// firstGen is the generation of a connection that nobody has owned before.
const firstGen = 1

// shift chooses the number of a new connection. One whose port lies in a NAT unit keeps
// its own: the port leads to the owner (FR6), in XDP and without a shift.
func (c *Core) shift(p *Packet, conn *wire.Conn) {
	if p.Kind != KindTCP {
		return
	}
	if c.cfg.NAT != nil {
		if _, steered := c.cfg.NAT.Unit(conn.ReplyKey()); steered {
			return
		}
	}
	conn.SeqDelta = c.chosen(p, conn.ReplyKey())
}

// chosen is by how much this node shifts the numbers of a SYN; reply is the responder's
// direction.
func (c *Core) chosen(p *Packet, reply packet.FlowKey) uint32 {
	if c.cfg.Sequences == nil || c.cfg.KeepNumbers || p.Signed {
		return 0
	}
	return c.cfg.Sequences.ISN(reply, p.Seq, c.self) - p.Seq
}

// sequenced returns the owner of a SYN-ACK's connection by what it acknowledges, and
// remembers it. A wrong one says that it is wrong (Gone), and asks.
func (c *Core) sequenced(p *Packet) (owner wire.NodeID, ok bool) {
	if c.cfg.Sequences == nil || c.cfg.KeepNumbers || p.Kind != KindTCP || p.From != 0 || p.Flags&(SYN|ACK|RST|FIN) != SYN|ACK {
		return 0, false
	}
	owner, ok = c.cfg.Sequences.Owner(p.Key, p.Ack-1)
	if !ok || owner == c.self || c.view.Member(owner) == nil {
		return 0, false
	}
	c.installForward(p.Key, p.In, owner, firstGen)
	c.stats.Sequenced++
	return owner, true
}

// A number is proven when the responder has acknowledged it here. Until then a
// connection stays in TCPSynSent whatever its initiator sends, and every packet comes
// to Go: the initiator may have shaken hands by way of another owner, which repeated
// its SYN with another number (FR14), or which is beyond a cut. So the state says, in
// claims and copies too, whether a connection's number is the one that its responder
// knows; and between owners that chose different ones that decides, not generations.

const (
	near     = 1 << 20 // what the responder acknowledges is at most so far from what the initiator sends
	received = 1 << 16 // a responder that is followed is so near: behind the SYN, or about the newest segment

	// What the initiator acknowledges is at most so far from what the responder sends:
	// ahead of a repeated segment, or behind a new one, by all that is under way. That may
	// be a whole window, 1 GiB (RFC 7323); but within that lies half of what anybody
	// forges, and within this, 10 Gb/s over 100 ms, one in sixteen. It need not be less than
	// Apart: the responder's own numbers are never moved.
	underWay = 1 << 27
)

// What proves one number is none of what another node has given the same SYN, or let
// it keep.
const _ = uint(sequence.Apart - near - received)

// proven reports whether the responder of a connection in this state has acknowledged
// the number that its initiator was given. Of one that was reset nobody knows.
func proven(state uint8) bool {
	return state > uint8(flowtable.TCPSynSent) && state < uint8(flowtable.TCPClosed)
}

// unproven reports whether the responder of a flow with shifted numbers has yet to
// acknowledge them.
func (c *Core) unproven(f *flowtable.FlowSlot) bool {
	return c.cfg.Sequences != nil && f.SeqDelta != 0 && f.State == uint8(flowtable.TCPSynSent)
}

// prove looks at a segment of an unproven flow. What does not prove its numbers leaves
// and is not tracked, save what tracking needs to judge the handshake.
func (c *Core) prove(p *Packet, slot uint32, f *flowtable.FlowSlot, d int) (tracked bool, r Reason) {
	switch {
	case p.Flags&RST != 0 || p.Flags&(SYN|ACK) == SYN:
		if d == 0 && p.Flags&SYN != 0 && p.Signed {
			c.renumber(slot, 0) // it tries again, and has a key now
		}
		return true, ReasonNone
	case p.Flags&ACK == 0:
		return true, ReasonNone // no TCP sends these
	case d == 0:
		c.outlast(slot, f)
		if f.SeenFlags(0)&(SYN|ACK) == SYN {
			return false, ReasonNone // its ISN is worth more
		}
		if f.SeenFlags(1)&ACK == 0 || !isNear(p.Seq, f.TCPSent(1).Ack) || !isUnderWay(f.TCPSent(1).SeqEnd, p.Ack) {
			f.Said(0, ACK, p.Seq+p.SeqLen, p.Ack, p.Window)
			return false, ReasonNone
		}
	case f.SeenFlags(0) == 0 && p.Flags&SYN == 0:
		c.outlast(slot, f)
		f.Said(1, ACK, p.Seq+p.SeqLen, p.Ack-f.SeqDelta, p.Window) // nothing to compare it with yet
		return false, ReasonNone
	case f.SeenFlags(0) == 0:
		isn := p.Ack - 1 - f.SeqDelta
		switch node, ok := c.cfg.Sequences.Owner(p.Key, p.Ack-1); {
		case ok && c.cfg.Sequences.ISN(p.Key, isn, node) == p.Ack-1:
			return true, ReasonNone
		case ok && c.lives[node] != 0:
			// The number of another, that has been a member here, or as it were data in the
			// SYN (RFC 7413): nothing tells them apart. To let the first pass ends the connection,
			// to drop the second costs it a second; the next SYN decides, and says by how
			// much the numbers differ.
			return false, ReasonDuplicate
		}
		return false, ReasonNone
	case !c.answers(p, f) && !c.follow(p, slot, f):
		// Of a connection that its initiator does not know any more, as a rule: it resets
		// what it gets here, by this number (RFC 9293, 3.5.1).
		// Of flags, what was forged would stay: a FIN that it seems to have sent.
		f.Said(1, p.Flags&(SYN|ACK), p.Seq+p.SeqLen, p.Ack-f.SeqDelta, p.Window)
		return false, ReasonNone
	}
	if p.Flags&SYN == 0 {
		c.setState(slot, f, flowtable.TCPEstablished)
	}
	return true, ReasonNone
}

// renumber changes by how much a connection's numbers are shifted, here and in its copy.
func (c *Core) renumber(slot uint32, by uint32) {
	c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.SeqDelta = by })
	c.replicate(c.table.Flow(slot))
}

// outlast gives an unproven flow the time of an established one: somebody speaks as if it
// were, and the other may be silent, or go elsewhere, for longer than a handshake may take.
func (c *Core) outlast(slot uint32, f *flowtable.FlowSlot) {
	if lasts := c.cfg.Timeouts.Of(packet.ProtoTCP, flowtable.TCPEstablished); f.Timeout < lasts {
		c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Timeout = lasts })
		c.replicate(f)
	}
}

// answers reports whether a responder acknowledges, as the initiator knows it, what that has
// sent: its newest SYN, if that is all, or the newest of its segments. A second SYN with
// another number is shifted by as much as the first: whatever the responder has heard of
// either, both ends understand each other.
func (c *Core) answers(p *Packet, f *flowtable.FlowSlot) bool {
	ack := p.Ack - f.SeqDelta
	return isNear(ack, f.TCPSent(0).SeqEnd) && meets(p, f) || f.SeenFlags(0)&(SYN|ACK) == SYN && isNear(ack, f.ISN())
}

// meets reports whether a responder's packet is of the connection that the initiator's
// newest segment was of: the responder's own numbers are never moved, and that has
// acknowledged what is not far. A forged segment has to guess them. Of a SYN nobody can tell.
func meets(p *Packet, f *flowtable.FlowSlot) bool {
	return f.SeenFlags(0)&ACK == 0 || isUnderWay(p.Seq, f.TCPSent(0).Ack)
}

func isNear(a, b uint32) bool { return a-b+near < 2*near }

// isUnderWay reports whether the responder may send this when the initiator has
// acknowledged that.
func isUnderWay(seq, ack uint32) bool { return seq-ack+underWay <= 2*underWay }

// follow lets a connection go on with the number that its responder has taken: one
// that another node gave the initiator, or let it keep (KeepNumbers). Which that is,
// this node can tell when it has seen the SYN, or any segment of the initiator: whoever
// took over a handshake may get no SYN any more, and the copy may name a number that
// the last owner has given up since. Where the initiator began does not matter then: two
// nodes' numbers of one SYN are as far apart whatever it was. The node may be any: it may
// have died before this one began.
func (c *Core) follow(p *Packet, slot uint32, f *flowtable.FlowSlot) bool {
	by, ok, s := f.SeqDelta, false, c.cfg.Sequences
	switch f.SeenFlags(0) & (SYN | ACK) {
	case SYN:
		most := uint32(received)
		if p.Flags&SYN != 0 {
			most = 1
		}
		by, ok = c.acknowledged(p, f.ISN(), most)
	case ACK, SYN | ACK: // the SYN is of the next connection, or forged
		end := f.TCPSent(0).SeqEnd
		if by, ok = s.Other(p.Key, f.SeqDelta, p.Ack-end); !ok || !meets(p, f) {
			return false
		}
		if isn := p.Ack - 1 - by; p.Flags&SYN != 0 { // it says where the initiator began
			ok = s.ISN(p.Key, isn, s.Mover(p.Key, f.SeqDelta))-isn == f.SeqDelta
		} else {
			ok = p.Ack-by-end+received < 2*received
		}
	}
	if !ok || by == f.SeqDelta {
		return false
	}
	c.stats.Followed++
	c.renumber(slot, by)
	return true
}

// acknowledged is by how much a node has moved an initial number, or has not, if a
// responder acknowledges that and less than most bytes more.
func (c *Core) acknowledged(p *Packet, isn, most uint32) (by uint32, ok bool) {
	by = p.Ack - 1 - isn // and what it has got
	if by < most {
		return 0, true
	}
	node := c.cfg.Sequences.Mover(p.Key, by)
	if node == 0 {
		return 0, false
	}
	made := c.cfg.Sequences.ISN(p.Key, isn, node)
	return made - isn, p.Ack-1-made < most
}

// strays reports whether a SYN-ACK acknowledges another number than the initiator's
// own, which this node has let it keep: follow tells whose. As long as all nodes let
// initiators keep theirs there is nothing to follow.
func (c *Core) strays(p *Packet, f *flowtable.FlowSlot, d int) bool {
	return c.cfg.Sequences != nil && d == 1 && f.SeqDelta == 0 && f.State == uint8(flowtable.TCPSynSent) &&
		p.Flags&(SYN|ACK|RST|FIN) == SYN|ACK && f.SeenFlags(0)&(SYN|ACK) == SYN && p.Ack-1 != f.ISN() && p.Ack != f.TCPSent(0).SeqEnd
}

// ripened ends the time in which the packets of an unproven flow come to Go.
func (c *Core) ripened(slot uint32, f *flowtable.FlowSlot) {
	if f.Flags&ungranted == flowtable.FlowPunt && !syncing(f) && !isMapping(f) {
		c.toFastPath(slot)
	}
}

// surer compares two owners' words of a connection that leaves as the same: whether
// that of a is proven and that of b has other numbers, which are not.
func (c *Core) surer(a, b *wire.Conn) bool {
	return c.cfg.Sequences != nil && a.SeqDelta != b.SeqDelta && a.ReplyKey() == b.ReplyKey() &&
		proven(a.State) && b.State == uint8(flowtable.TCPSynSent)
}

// proofFor is a claim for what this node, its director, owns with other numbers; true:
// it has been answered. Proven numbers go on, whoever does.
func (c *Core) proofFor(from wire.NodeID, conn *wire.Conn, slot uint32, f *flowtable.FlowSlot) bool {
	mine := c.connOf(f)
	switch {
	case f.Key[0] != conn.Key || from == c.self:
	case c.surer(conn, &mine), c.unproven(f) && mine.SeqDelta == conn.SeqDelta && proven(conn.State):
		if mine.SeqDelta != conn.SeqDelta {
			c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.SeqDelta = conn.SeqDelta })
			c.stats.Followed++
		}
		c.setState(slot, f, flowtable.TCPState(conn.State))
		c.replicate(f)
	case c.surer(&mine, conn) && conn.Gen >= f.Gen:
		c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Gen, f.Stub = conn.Gen+1, 0 })
		mine = c.connOf(f)
		c.redirect(from, conn.Key, c.self, mine.Gen)
		c.bind(&mine)
		c.claim(slot, &mine, true)
		return true
	}
	return false
}

// testify tells the director of numbers that are proven, before this node gives the
// connection up: what others know of it may be older than the proof.
func (c *Core) testify(f *flowtable.FlowSlot) {
	k, _ := f.Key[0].Canonical()
	if director := c.director(k); c.cfg.Sequences != nil && f.SeqDelta != 0 && proven(f.State) && director != c.self {
		conn := c.connOf(f)
		c.stats.Claims++
		c.msg.claim = wire.Claim{Conn: conn, Reregister: true}
		c.send(director, &c.msg.claim)
	}
}
