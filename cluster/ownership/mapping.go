package ownership

import (
	"time"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// Endpoint-independent mapping (RFC 4787, 4.1) and one-to-one dynamic NAT give
// all connections of an inside endpoint one mapped endpoint, whichever node
// meets them. The mapping itself is a connection to the role logic, with keys
// that no packet has: (host:port -> 0) and (0 -> address:port). So it is
// claimed, granted once, copied and taken over like any other (FR11); and who
// owns it owns the connections that are made through it.

// mappingIdle is how long a mapping without connections lives, in seconds (RFC
// 4787, REQ-5: not less than two minutes, five recommended).
const mappingIdle = 300

// isMapping reports whether a flow is a mapping.
func isMapping(f *flowtable.FlowSlot) bool { return f.Key[0].Dst == packet.Addr{} }

// throughMapping translates a new connection by the mapping of its endpoint.
// An Op other than OpForward is final: the mapping's owner makes the
// connection, or the packet waits for the mapping.
func (c *Core) throughMapping(p *Packet, conn *wire.Conn, to, mapping packet.FlowKey, flags uint8) Verdict {
	ref := c.table.Lookup(mapping)
	switch {
	case ref == 0:
		return c.askMapping(p, conn, to, mapping, flags)
	case ref.IsForward():
		f := c.table.Forward(ref.Slot())
		owner := wire.NodeID(f.Owner)
		if !c.alive(owner, f.Incarnation) || owner == p.From && !c.steersHere(p.Key) {
			c.removeForward(ref.Slot())
			return c.askMapping(p, conn, to, mapping, flags)
		}
		f.Account(c.tick(), 0) // it lives as long as it is of use
		c.installForward(p.Key, p.In, owner, f.Gen)
		return Verdict{Op: OpSend, Node: owner, Gen: f.Gen}
	}
	m := c.table.Flow(ref.Slot()).Key[1]
	reply := to.Reverse()
	reply.Dst = m.Dst
	if m.DstPort != 0 {
		reply.DstPort = m.DstPort
	}
	conn.SetReply(reply)
	conn.Flags |= wire.ConnMapped | flags&wire.ConnLogged
	return Verdict{Op: OpForward}
}

// askMapping claims the mapping of p's endpoint; p waits for the answer.
func (c *Core) askMapping(p *Packet, conn *wire.Conn, to, mapping packet.FlowKey, flags uint8) Verdict {
	k, _ := mapping.Canonical()
	if w := c.pending.get(k); w != nil {
		p.refused = w.held[0].refused // for want of a port, or not at all
		return c.hold(w, p)
	}
	reply, r := c.cfg.NAT.Map(c.now, conn.In, conn.Out, p.Key, to, c.near(mapping), c.takenFn)
	switch {
	case r == ReasonWait:
		return c.awaitPorts(p, k, mapping)
	case r == ReasonNATPorts && p.denied < 2 && (p.denied == 1 || p.Kind == KindTCP):
		// No port for another mapping. But there may be this one, elsewhere. (What
		// need not begin a connection asks for that first, which may have outlived
		// its mapping.)
		p.refused, p.denied = r, 1
		return c.askAbout(p, k, mapping)
	case r != ReasonNone:
		return drop(r)
	}
	m := wire.Conn{Key: mapping, Reply: reply, Gen: 1, In: conn.In, Out: conn.Out, Flags: conn.Flags | wire.ConnMapped | flags, Rule: conn.Rule, Timeout: mappingIdle}
	if c.conflicts(&m) {
		return drop(ReasonNATConflict)
	}
	c.reserve(&m)
	v := c.ask(p, k, waitClaim, &m)
	if v.Op == OpDrop {
		c.unreserve(&m)
	}
	return v
}

// mappedHere reports whether a first packet that another node sent here belongs
// to a mapping that this node owns.
func (c *Core) mappedHere(p *Packet) bool {
	if c.cfg.NAT == nil || p.From == 0 {
		return false
	}
	owns := func(k packet.FlowKey) bool {
		ref := c.table.Lookup(k)
		return ref != 0 && !ref.IsForward()
	}
	if m, ok := c.cfg.NAT.Mapped(p.Key); ok && owns(m) {
		return true
	}
	to, ok := c.destination(p)
	if !ok {
		return false
	}
	_, out, ok := c.cfg.Router.Route(to.Dst)
	if !ok {
		return false
	}
	m, _, ok := c.cfg.NAT.Mapping(p.In, out, p.Key, to)
	if ok && !owns(m) {
		c.tellGone(p.From, m) // ended by a reload: the sender's entry would lead here for ever
	}
	return ok && owns(m)
}

// hairpin reports whether a packet to an address that NAT has lent out comes
// from a host that is translated itself (RFC 4787, REQ-9). Two mappings may have
// two owners, so no node could do both in one step: the packet leaves with its
// public source, and comes back from the router as anybody's would.
func (c *Core) hairpin(p *Packet) bool {
	_, out, ok := c.cfg.Router.Route(p.Key.Dst)
	return ok && out != p.In && c.cfg.NAT.Translates(p.In, out, p.Key)
}

// destination returns the key with the real destination of a first packet; false
// when that is an address of NAT that nothing maps.
func (c *Core) destination(p *Packet) (to packet.FlowKey, ok bool) {
	if c.cfg.NAT == nil {
		return p.Key, true
	}
	to, ok = c.cfg.NAT.Destination(p.In, p.Key)
	return to, ok || c.hairpin(p)
}

// inbound is a first packet to an address of a pool. The mapping that it
// belongs to, if there is one, says who makes the connection.
func (c *Core) inbound(p *Packet) (conn *wire.Conn, v Verdict, ok bool) {
	if c.cfg.NAT == nil {
		return nil, Verdict{}, false
	}
	m, ok := c.cfg.NAT.Mapped(p.Key)
	if !ok || c.hairpin(p) {
		return nil, Verdict{}, false
	}
	ref := c.table.Lookup(m)
	switch {
	case ref == 0:
		if !c.bound(m) {
			return nil, Verdict{}, false
		}
		k, _ := m.Canonical()
		if w := c.pending.get(k); w != nil {
			return nil, c.hold(w, p), true
		}
		v := c.askAbout(p, k, m)
		return nil, v, true
	case ref.IsForward():
		f := c.table.Forward(ref.Slot())
		owner := wire.NodeID(f.Owner)
		if !c.alive(owner, f.Incarnation) || owner == p.From && !c.steersHere(p.Key) {
			c.removeForward(ref.Slot())
			return nil, Verdict{}, false
		}
		c.installForward(p.Key, p.In, owner, f.Gen)
		return nil, Verdict{Op: OpSend, Node: owner, Gen: f.Gen}, true
	}
	f := c.table.Flow(ref.Slot())
	if f.Replication&wire.ConnOpen == 0 {
		return nil, drop(ReasonNATFiltered), true
	}
	host := f.Key[0]
	there, out, routed := c.cfg.Router.Route(host.Src)
	if !routed {
		return nil, drop(ReasonNoRoute), true
	}
	home, back, routed := c.cfg.Router.Route(p.Key.Src)
	if !routed || back != p.In {
		return nil, drop(ReasonReversePath), true
	}
	c.pending.hops = [2]uint16{there, home}
	rule := f.Rule
	if host.SrcPort == 0 {
		// Everything of a host is reached by one address of its own: what that
		// lets in is for the policy to say, as with a static mapping.
		to := p.Key
		to.Dst = host.Src
		v := c.cfg.Policy.Judge(p.In, out, to)
		if !v.Allow {
			return nil, drop(ReasonPolicyDenied), true
		}
		rule = v.Rule
	} else if !c.admits(m) {
		return nil, drop(ReasonNATInbound), true
	}
	conn = &c.pending.proposal
	*conn = wire.Conn{Key: p.Key, Gen: 1, In: p.In, Out: out, Rule: rule, Flags: f.Replication &^ wire.ConnOpen}
	reply := p.Key.Reverse()
	reply.Src = host.Src
	if host.SrcPort != 0 {
		reply.SrcPort = host.SrcPort
	}
	if c.elsewhere(reply) {
		// An answer to a translation that was given up for another node's; or to
		// one that the other node has: then the director of this key knows it.
		return nil, drop(ReasonDuplicate), true
	}
	conn.SetReply(reply)
	c.begun(conn, p)
	return conn, Verdict{Op: OpForward}, true
}

// renewEvery is how often a connection starts the idle time of its mapping anew. A
// question may be lost, and there is time for another three.
const renewEvery = 60 * time.Second

// renews reports whether it is the turn of a flow: they take turns, so that what
// they cost is spread.
func (c *Core) renews(slot uint32) bool {
	rounds := uint32(max(renewEvery/c.cfg.AgeEvery, 1))
	return slot%rounds == c.ageing.round%rounds
}

// renewMapping starts the idle time of a connection's mapping anew. After a takeover
// the mapping may be at another node than the connection, or an orphan that nobody
// has asked for: then it asks the mapping's director, which tells the owner, or hands
// the mapping over to this node.
func (c *Core) renewMapping(f *flowtable.FlowSlot) {
	if f.Replication&wire.ConnMapped == 0 || c.cfg.NAT == nil || isMapping(f) {
		return
	}
	var elsewhere packet.FlowKey
	for d, k := range f.Key {
		m, ok := c.cfg.NAT.Mapped(k)
		if !ok {
			continue
		}
		if c.touchMapping(m) {
			return
		}
		host := f.Key[1-d]
		elsewhere = packet.FlowKey{Src: host.Src, Zone: host.Zone}
		if m.Proto != 0 {
			elsewhere.SrcPort, elsewhere.Proto = host.SrcPort, host.Proto
		}
	}
	if elsewhere != (packet.FlowKey{}) && c.view != nil && f.Flags&flowtable.FlowProvisional == 0 {
		k, _ := elsewhere.Canonical()
		c.msg.query = wire.Query{Key: elsewhere}
		c.send(c.director(k), &c.msg.query)
	}
}

// touchMapping starts the idle time of a mapping anew, by one of its keys, if it is
// here.
func (c *Core) touchMapping(key packet.FlowKey) bool {
	ref := c.table.Lookup(key)
	if ref == 0 || ref.IsForward() {
		return false
	}
	if f := c.table.Flow(ref.Slot()); isMapping(f) {
		f.Account(1, c.tick(), 0)
	}
	return true
}
