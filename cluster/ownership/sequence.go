package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
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

// shift chooses the number of a new connection.
func (c *Core) shift(p *Packet, conn *wire.Conn) {
	if c.cfg.Sequences != nil && p.Kind == KindTCP && !p.Signed {
		conn.SeqDelta = c.cfg.Sequences.ISN(conn.ReplyKey(), p.Seq, c.self) - p.Seq
	}
}

// sequenced returns the owner of a SYN-ACK's connection by what it acknowledges, and
// remembers it. A wrong one says that it is wrong (Gone), and asks.
func (c *Core) sequenced(p *Packet) (owner wire.NodeID, ok bool) {
	if c.cfg.Sequences == nil || p.Kind != KindTCP || p.From != 0 || p.Flags&(SYN|ACK|RST|FIN) != SYN|ACK {
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

// follow lets a connection go on with the number that its responder has taken. The
// initiator may have repeated its SYN through another node, which gave way to this
// one (FR14), and the responder may have got that copy alone: then it knows the
// other node's number. Which that is, this node can tell.
func (c *Core) follow(p *Packet, slot uint32, f *flowtable.FlowSlot, d int) {
	if c.cfg.Sequences == nil || f.SeqDelta == 0 || d != 1 || p.Flags&(SYN|ACK|RST|FIN) != SYN|ACK {
		return
	}
	if flowtable.TCPState(f.State) != flowtable.TCPSynSent || f.SeenFlags(0)&SYN == 0 {
		return
	}
	own, taken := f.TCPSent(0).SeqEnd-1, p.Ack-1
	if taken == own+f.SeqDelta {
		return
	}
	node, ok := c.cfg.Sequences.Owner(p.Key, taken)
	if !ok || c.cfg.Sequences.ISN(p.Key, own, node) != taken {
		return
	}
	c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.SeqDelta = taken - own })
	c.stats.Followed++
	c.replicate(f)
}
