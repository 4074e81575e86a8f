package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
	"cohort/policy"
)

// Packet decides about one punted packet. OpHold means that the packet's
// handle comes back through Output.Release.
func (c *Core) Packet(now int64, p *Packet) Verdict {
	c.now = now
	if c.view == nil {
		return drop(ReasonFenced)
	}
	if nobody := (packet.Addr{}); p.Key.Src == nobody || p.Key.Dst == nobody {
		return drop(ReasonMartian) // these are the keys of mappings
	}
	if p.Kind == KindICMPOther {
		return drop(ReasonICMPType) // its key may be that of a connection
	}
	var v Verdict
	switch ref := c.table.Lookup(p.Key); {
	case ref == 0:
		v = c.miss(p)
	case ref.IsForward():
		v = c.forward(p, ref)
	default:
		v = c.owned(p, ref.Slot(), ref.Dir())
	}
	return labelled(p, v)
}

// forward uses a cached forward entry (FR4) as long as its owner lives.
func (c *Core) forward(p *Packet, ref flowtable.Ref) Verdict {
	f := c.table.Forward(ref.Slot())
	owner := wire.NodeID(f.Owner)
	if !c.alive(owner, f.Incarnation) {
		c.removeForward(ref.Slot())
		return c.miss(p)
	}
	if p.From == owner {
		// Two nodes point at each other: one of the entries is old.
		c.removeForward(ref.Slot())
		return c.miss(p)
	}
	if p.From != 0 && !c.steersHere(p.Key) {
		c.tellGone(p.From, p.Key)
	}
	c.stats.NonOwner++
	f.Account(c.tick(), int(p.Len))
	return Verdict{Op: OpSend, Node: owner, Gen: f.Gen}
}

// owned is a packet of direction d of a connection that this node owns.
func (c *Core) owned(p *Packet, slot uint32, d int) Verdict {
	f := c.table.Flow(slot)
	if p.Kind == KindICMPError {
		return Verdict{Op: OpForward, Slot: slot, Dir: uint8(d), Gen: f.Gen}
	}
	if p.In != f.Iface[d] && !c.moved(p, slot, d) {
		return drop(ReasonReversePath)
	}
	unconfirmed := syncing(f)
	if unconfirmed {
		if v, held := c.heldForKept(p, f); held {
			return v
		}
	}
	if f.Flags&ungranted == ungranted && !(d == 0 && p.Flags&(SYN|ACK) == SYN) {
		return c.awaitGrant(p, f)
	}
	if p.Kind == KindTCP {
		if p.Flags&(SYN|ACK|RST|FIN) == SYN {
			c.note(slot, f) // what the fast path saw and ageing has not yet
			c.note(slot, f)
		}
		if v, held := c.heldForReports(p, slot, f); held {
			return v
		}
		if flowtable.TCPState(f.State) >= flowtable.TCPTimeWait && p.Flags&(SYN|ACK|RST|FIN) == SYN {
			c.closeFlow(slot) // the same ports begin a new connection, here
			p.reused = true
			return c.miss(p)
		}
		tracked, r := true, ReasonNone
		if c.unproven(f) {
			tracked, r = c.prove(p, slot, f, d)
		} else if c.strays(p, f, d) {
			c.follow(p, slot, f)
		}
		if tracked {
			r = c.trackTCP(p, slot, f, d)
		}
		if r != ReasonNone {
			return drop(r)
		}
	} else if d == 1 && p.Kind == KindUDP && f.Timeout < c.cfg.Timeouts.UDPStream {
		c.bothWays(slot)
	}
	if unconfirmed && p.Kind != KindFragment { // what was said of it was said of the first
		if v, held := c.confirmKept(p, slot, f); held {
			return v
		}
	}
	f.Account(d, c.tick(), int(p.Len))
	return Verdict{Op: OpForward, Slot: slot, Dir: uint8(d), Gen: f.Gen}
}

// moved reports whether direction d of a flow rightly enters by another
// interface than before: the route back to its sender leads there now. Anything
// else is somebody with a forged source.
func (c *Core) moved(p *Packet, slot uint32, d int) bool {
	if _, back, ok := c.cfg.Router.Route(p.Key.Src); !ok || back != p.In {
		return false
	}
	c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Iface[d] = p.In })
	return true
}

// trackTCP moves the connection's TCP state, or says why the packet must go.
func (c *Core) trackTCP(p *Packet, slot uint32, f *flowtable.FlowSlot, d int) Reason {
	_, by := f.Shift(d)
	ack := p.Ack + by // as the initiator knows it
	if p.Flags&RST != 0 {
		switch c.checkRST(p, f, d, ack) {
		case flowtable.RSTDrop:
			return ReasonRSTWindow
		case flowtable.RSTChallenge:
			return ReasonNone
		}
	}
	state := flowtable.TCPState(f.State)
	next, ok := flowtable.Next(state, d, p.Flags)
	if !ok {
		return ReasonTCPState
	}
	if p.Flags&SYN != 0 {
		f.SetWScale(d, p.WScale)
	}
	f.Sent(d, p.Flags, p.Seq+p.SeqLen, ack, p.Window)
	if c.cfg.Sequences != nil && d == 0 && p.Flags&SYN != 0 && f.SeenFlags(0)&ACK == 0 {
		f.SetISN(p.Seq)
	}
	next = flowtable.TakenOver(next, [2]uint8{f.SeenFlags(0), f.SeenFlags(1)})
	if next != state {
		c.setState(slot, f, next)
	}
	return ReasonNone
}

// checkRST applies RFC 5961 section 3.2. An owner that has just taken over has
// seen nothing to compare with: it passes the reset on and lets the endpoint
// judge it.
func (c *Core) checkRST(p *Packet, f *flowtable.FlowSlot, d int, ack uint32) flowtable.RSTVerdict {
	if f.SeenFlags(0)|f.SeenFlags(1) == 0 {
		return flowtable.RSTChallenge
	}
	return f.CheckRST(d, p.Flags, p.Seq, ack)
}

// miss is a packet of a connection this node knows nothing about.
func (c *Core) miss(p *Packet) Verdict {
	c.stats.NonOwner++
	k, _ := p.Key.Canonical()
	if w := c.pending.get(k); w != nil {
		if first := &w.held[0]; first.Key == p.Key && first.In == p.In && first.Kind == p.Kind {
			p.refused = first.refused // the same again: it has been judged
		}
		return c.hold(w, p)
	}
	if to, ok := c.steered(p); ok {
		return Verdict{Op: OpSend, Node: to}
	}
	if to, ok := c.sequenced(p); ok {
		return Verdict{Op: OpSend, Node: to, Gen: firstGen}
	}
	starts := startsConnection(p) && !c.bound(p.Key)
	if starts && c.draining() {
		if to := c.successor(k); to != 0 {
			return Verdict{Op: OpSend, Node: to}
		}
	}
	if starts && (p.From == 0 || !c.remains(p.From) || p.reused || c.steersHere(p.Key) || c.mappedHere(p) || c.homeOf(p) == c.self) {
		conn, v := c.propose(p)
		switch {
		case v.Op == OpForward:
			return c.begin(p, k, conn)
		case v.Op != OpDrop:
			return v
		case v.Reason == ReasonWait:
			return c.awaitPorts(p, k, p.Key)
		case v.Reason == ReasonNATProtocol && p.denied != 0:
			return c.leadHome(p)
		case p.Kind == KindTCP && v.Reason != ReasonNATConflict || p.denied != 0 || !mayBelong(v.Reason):
			if v.Reason == ReasonNATPorts {
				c.cfg.NAT.Refused()
			}
			return v
		}
		// A refused UDP packet may be one of a flow that another node owns, and who
		// has a SYN's tuple may be its own connection: the director knows.
		p.refused = v.Reason
	}
	return c.ask(p, k, waitQuery, nil)
}

// startsConnection reports whether p may be the first packet of a connection.
func startsConnection(p *Packet) bool {
	switch p.Kind {
	case KindTCP:
		return p.Flags&(SYN|ACK|RST|FIN) == SYN
	case KindUDP, KindICMPQuery, KindOther:
		return true
	}
	return false
}

// mayBelong reports whether a packet that cannot begin a connection for this
// reason may be part of one: a reply, or the next packet of a connection for
// which this node alone would find no port.
func mayBelong(r Reason) bool {
	switch r {
	case ReasonPolicyDenied, ReasonNATNoXlate, ReasonNATPorts, ReasonNATProtocol, ReasonNATHost, ReasonNATConflict, ReasonNATInbound, ReasonDuplicate:
		return true
	}
	return false
}

// propose routes, judges and translates a first packet. OpForward begins the
// connection; anything else is final.
func (c *Core) propose(p *Packet) (*wire.Conn, Verdict) {
	if conn, v, ok := c.inbound(p); ok {
		return conn, v
	}
	to, ok := c.destination(p)
	if !ok {
		return nil, drop(ReasonNATNoXlate)
	}
	there, out, ok := c.cfg.Router.Route(to.Dst)
	if !ok {
		return nil, drop(ReasonNoRoute)
	}
	home, back, ok := c.cfg.Router.Route(p.Key.Src)
	if !ok || back != p.In {
		return nil, drop(ReasonReversePath)
	}
	c.pending.hops = [2]uint16{there, home}
	v := c.cfg.Policy.Judge(p.In, out, to) // by real addresses, as rules are written
	if !v.Allow {
		return nil, drop(ReasonPolicyDenied)
	}
	conn := &c.pending.proposal
	*conn = wire.Conn{Key: p.Key, Gen: firstGen, In: p.In, Out: out, Rule: v.Rule}
	switch v.Durability {
	case policy.None:
		conn.Flags = wire.ConnNoCopy
	case policy.Sync:
		conn.Flags = wire.ConnSync
	}
	c.begun(conn, p)
	return conn, c.translate(p, conn, to)
}

// begun gives a new connection its first state.
func (c *Core) begun(conn *wire.Conn, p *Packet) {
	if p.Kind == KindTCP {
		conn.State = uint8(flowtable.TCPSynSent)
	}
	conn.Timeout = c.cfg.Timeouts.Of(p.Key.Proto, flowtable.TCPState(conn.State))
}

// translate fills in what a new connection leaves with. Nobody else has its reply
// key, and nobody gets it before the next packet. to is its key with the real
// destination.
func (c *Core) translate(p *Packet, conn *wire.Conn, to packet.FlowKey) Verdict {
	if c.cfg.NAT == nil {
		return Verdict{Op: OpForward}
	}
	if mapping, flags, ok := c.cfg.NAT.Mapping(conn.In, conn.Out, conn.Key, to); ok {
		if v := c.throughMapping(p, conn, to, mapping, flags); v.Op != OpForward {
			return v
		}
	} else {
		reply, logged, r := c.cfg.NAT.Source(c.now, conn.In, conn.Out, conn.Key, to, c.near(conn.Key), c.takenFn)
		if r != ReasonNone {
			return drop(r)
		}
		conn.SetReply(reply)
		if conn.Translated() {
			if logged {
				conn.Flags |= wire.ConnLogged
			}
			if c.conflicts(conn) {
				return drop(ReasonNATConflict)
			}
		}
	}
	return Verdict{Op: OpForward}
}

// begin starts the proposed connection. TCP leaves at once with the claim beside it
// (FR14); everything else claims first (FR7), and so does durability sync (FR13).
func (c *Core) begin(p *Packet, k packet.FlowKey, conn *wire.Conn) Verdict {
	c.shift(p, conn)
	here := c.director(k) == c.self
	switch {
	case here && c.unknown(k):
		return c.open(p, k, conn)
	case here || p.Kind != KindTCP || conn.Flags&wire.ConnSync != 0:
		// The director's own new TCP connection: ask the local table first, so
		// that a known owner elsewhere is respected before the packet leaves.
		if conn.Translated() && conn.Flags&wire.ConnMapped == 0 {
			c.reserve(conn)
		}
		v := c.ask(p, k, waitClaim, conn)
		if v.Op == OpDrop {
			c.unreserve(conn)
		}
		return v
	}
	slot, err := c.installVia(c.pending.hops, conn, flowtable.FlowProvisional)
	if err != ReasonNone {
		return drop(err)
	}
	c.stats.Created++
	c.claim(slot, conn, false)
	if unit, ok := c.unitOf(conn.Reply); conn.Translated() && (!ok || !c.cfg.NAT.Holds(unit)) {
		// The answer may meet another node before the grant comes back, and is
		// not led here by arithmetic.
		c.bindSlot(slot, conn)
	}
	return c.owned(p, slot, 0)
}

// unknown reports whether this node, the director of k, is sure that nobody
// owns or has owned it.
func (c *Core) unknown(k packet.FlowKey) bool {
	if !c.complete(k) {
		return false
	}
	_, known := c.dir.Get(k)
	return !known
}

// open begins a connection that this node directs itself and that nobody knows:
// it asks, grants and is granted in one step.
func (c *Core) open(p *Packet, k packet.FlowKey, conn *wire.Conn) Verdict {
	slot, err := c.installVia(c.pending.hops, conn, beginning(conn))
	if err != ReasonNone {
		return drop(err)
	}
	c.stats.Claims++
	c.stats.Answered++
	c.stats.Created++
	if c.claim(slot, conn, true) {
		holder := c.backup(k, c.self)
		c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Stub = uint8(holder) })
	}
	c.bindSlot(slot, conn)
	c.unpark(k)
	if w := c.pending.aliased(k); w != nil {
		c.answered(w)
	}
	if conn.Flags&wire.ConnSync != 0 {
		return c.openSync(p, k, slot, conn)
	}
	return c.owned(p, slot, 0)
}
