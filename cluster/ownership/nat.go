package ownership

import (
	"cohort/ccl/wire"
	"cohort/cluster/order"
	"cohort/flowtable"
	"cohort/packet"
)

// ReasonWait is what NAT.Source and NAT.Map say instead of a reason while a unit,
// or the word of a host's director, may be on its way: the packet waits. Nothing
// is dropped for it.
const ReasonWait Reason = 255

// NAT translates the connections of this node and knows where their second
// keys are kept. Everything is called on the core's goroutine.
type NAT interface {
	// Destination returns k with the destination that a packet received on
	// interface in is meant for; false when its address belongs to NAT and
	// nothing maps it.
	Destination(in uint8, k packet.FlowKey) (to packet.FlowKey, ok bool)
	// Source chooses what a new connection k from interface in to out leaves
	// with, and returns the responder's direction as it will be received. to is
	// k after Destination. near is the node that will keep the copy, 0 if it is
	// always the same one: ports whose second keys go there too are preferred. taken reports whether a candidate is in use. logged
	// says that Config.Xlate is to hear of it. ReasonNATPorts is final: no node has
	// a unit to spare; before that is known it is ReasonWait. ReasonNATProtocol: only
	// the holder of Home's unit may have a place, since the protocol has no ports.
	Source(now int64, in, out uint8, k, to packet.FlowKey, near wire.NodeID, taken func(reply packet.FlowKey) bool) (reply packet.FlowKey, logged bool, r Reason)
	// Use and Release count that something of this node needs a reply key: a
	// flow, a claim on its way, a stub. hold keeps the exact key from being
	// chosen again for the hold-down time.
	Use(reply packet.FlowKey)
	Release(now int64, reply packet.FlowKey, hold bool)

	// Home returns the unit whose holder translates a connection k of a protocol without
	// ports that enters at in and leaves at out, with the destination to; false when its
	// rule does not choose from a pool of ports.
	Home(in, out uint8, k, to packet.FlowKey) (unit int, ok bool)

	// Translates reports whether a connection k that enters at in and leaves at
	// out leaves with another source. It chooses nothing.
	Translates(in, out uint8, k packet.FlowKey) bool
	// Mapping returns the key of the mapping that a connection belongs to, when
	// the rule that translates it makes mappings: (host:port -> 0). flags are
	// wire.ConnOpen when everybody may use it from the other side, and
	// wire.ConnLogged.
	Mapping(in, out uint8, k, to packet.FlowKey) (mapping packet.FlowKey, flags uint8, ok bool)
	// Map chooses the mapped endpoint of a new mapping: (0 -> address:port).
	Map(now int64, in, out uint8, k, to packet.FlowKey, near wire.NodeID, taken func(reply packet.FlowKey) bool) (reply packet.FlowKey, r Reason)
	// Mapped returns the reply key of the mapping that a packet to an address
	// of a pool would belong to.
	Mapped(k packet.FlowKey) (reply packet.FlowKey, ok bool)
	// MaxInbound returns how many connections that the outside begins may go
	// through a mapping of a port at once, by its reply key; 0 = any number.
	MaxInbound(mapping packet.FlowKey) int

	// Refused says that a packet is dropped as ReasonNATPorts: the one for which
	// Source or Map said that, or ReasonWait, last.
	Refused()

	// Apart reports whether a node that may have taken over connections of this
	// one is not in the view, or has not registered what it owns.
	Apart() bool

	// Former reports whether a key has an address that was in a NAT unit once, in
	// this process, and is in none now (NT7).
	Former(k packet.FlowKey) bool
	// Stands reports whether the address of a mapping's reply key is still of the
	// kind that makes such mappings.
	Stands(mapping packet.FlowKey) bool

	// Unit returns the NAT unit that a key's destination lies in.
	Unit(k packet.FlowKey) (unit int, ok bool)
	// Holds reports whether this node allocates from a unit.
	Holds(unit int) bool
	// Order returns who comes first for the second keys in a unit, in the
	// present view: its holder if that is a member, then a fixed order of the
	// members. 0 stands for a missing one.
	Order(unit int) (first, second, third wire.NodeID)
}

// unitOf returns the NAT unit that decides where a key is kept: that of its
// destination, or else of its source. Only a hairpin has both: so stubs are
// placed by the key as it is received, which is where packets are led, and
// copies by the canonical one.
func (c *Core) unitOf(k packet.FlowKey) (unit int, ok bool) {
	if c.cfg.NAT == nil {
		return 0, false
	}
	if unit, ok = c.cfg.NAT.Unit(k); ok {
		return unit, true
	}
	return c.cfg.NAT.Unit(k.Reverse())
}

// director returns the first node of a key's order (FR2). For what lies in a
// NAT unit that is the unit's holder while it lives (FR6).
func (c *Core) director(k packet.FlowKey) wire.NodeID {
	if unit, ok := c.unitOf(k); ok {
		first, _, _ := c.cfg.NAT.Order(unit)
		return first
	}
	first, _ := c.two(k)
	return first
}

// backup returns the first node of a key's order that is not owner (FR3).
func (c *Core) backup(k packet.FlowKey, owner wire.NodeID) wire.NodeID {
	unit, ok := c.unitOf(k)
	if !ok {
		first, second := c.two(k)
		if first == owner {
			return second
		}
		return first
	}
	first, second, third := c.cfg.NAT.Order(unit)
	for _, id := range [...]wire.NodeID{first, second, third} {
		if id != owner && id != 0 {
			return id
		}
	}
	return 0
}

// ranked is what the order said of a key.
type ranked struct {
	order         *order.Order
	key           packet.FlowKey
	first, second wire.NodeID
}

// two returns the first two nodes of a key's order. What one packet or message is about
// is asked for several times over: the newest key's order is remembered.
func (c *Core) two(k packet.FlowKey) (first, second wire.NodeID) {
	r := &c.ranked
	if r.key != k || r.order != c.order {
		*r = ranked{order: c.order, key: k}
		r.first, r.second = c.order.Two(k)
	}
	return r.first, r.second
}

// near returns who will keep the copy of a connection that this node begins, for the
// choice of its port; 0 where there is nothing to choose.
func (c *Core) near(first packet.FlowKey) wire.NodeID {
	if len(c.view.Members) < 3 {
		return 0
	}
	k, _ := first.Canonical()
	return c.backup(k, c.self)
}

// steered reports where a packet to an address of a NAT unit goes by
// arithmetic; false when that is this node or nobody.
func (c *Core) steered(p *Packet) (to wire.NodeID, ok bool) {
	if c.cfg.NAT == nil || p.Kind == KindICMPError {
		return 0, false
	}
	unit, ok := c.cfg.NAT.Unit(p.Key)
	if !ok {
		return 0, false
	}
	to, _, _ = c.cfg.NAT.Order(unit)
	return to, to != 0 && to != c.self && to != p.From
}

// steersHere reports whether arithmetic leads packets of this direction to this
// node, whoever owns their connection.
func (c *Core) steersHere(k packet.FlowKey) bool {
	if c.cfg.NAT == nil {
		return false
	}
	unit, ok := c.cfg.NAT.Unit(k)
	if !ok {
		return false
	}
	first, _, _ := c.cfg.NAT.Order(unit)
	return first == c.self
}

// conflicts reports whether a fixed translation leads to a tuple that somebody
// else has; ports of units are chosen free. What is left of the last connection between
// the same ports, a tomb or a dead owner's stub, is nobody else's: whoever goes on with
// that has both tuples of this one.
func (c *Core) conflicts(conn *wire.Conn) bool {
	if _, ours := c.cfg.NAT.Unit(conn.Reply); ours {
		return false
	}
	if e, known := c.stub(conn.Reply); known && !c.ownerLives(e) && c.table.Lookup(conn.Reply) == 0 {
		_, reserved := c.reserved[conn.Reply]
		return c.firstOf(e, conn.Reply) != conn.Key || reserved
	}
	return c.taken(conn.Reply)
}

// reserve keeps a reply key from others until unreserve: while the connection
// waits for its director and is in no table.
func (c *Core) reserve(conn *wire.Conn) {
	c.reserved[conn.Reply] = struct{}{}
	c.cfg.NAT.Use(conn.Reply)
}

// unreserve ends the reservation of a connection that is installed now, or
// will not be.
func (c *Core) unreserve(conn *wire.Conn) {
	if !conn.Translated() {
		return
	}
	if _, ok := c.reserved[conn.Reply]; ok {
		delete(c.reserved, conn.Reply)
		c.cfg.NAT.Release(c.now, conn.Reply, false)
	}
}

// taken reports whether a connection with this reply key exists as far as this
// node knows. For a unit that it holds it knows all of them.
func (c *Core) taken(reply packet.FlowKey) bool {
	if c.table.Lookup(reply) != 0 {
		return true
	}
	if _, ok := c.stub(reply); ok {
		return true
	}
	if _, ok := c.reserved[reply]; ok {
		return true
	}
	if m, ok := c.cfg.NAT.Mapped(reply); ok && m != reply {
		// A mapping takes whatever comes to its port.
		_, stub := c.stub(m)
		_, soon := c.reserved[m]
		return stub || soon || c.table.Lookup(m) != 0
	}
	return false
}

// ungranted marks a flow whose claim has never been answered, and whose packets leave
// otherwise than they would from another node: translated, or with shifted sequence
// numbers.
const ungranted = flowtable.FlowProvisional | flowtable.FlowPunt

// awaitGrant holds everything but the SYN of such a connection until the
// director has decided that this node owns it. The initiator may have repeated
// its SYN through another node, which chose another translation or other numbers: it must not see
// the answers of both, for only one of the two goes on; and what it sends when it
// has seen one answer must not leave by the other translation (FR14).
func (c *Core) awaitGrant(p *Packet, f *flowtable.FlowSlot) Verdict {
	k, _ := f.Key[0].Canonical()
	if w := c.pending.get(k); w != nil {
		return c.hold(w, p)
	}
	if len(c.pending.byKey) >= c.cfg.MaxPending || !c.mayHold(p, waitGrant) {
		return drop(ReasonHoldLimit)
	}
	w := c.pending.add(k, waitGrant)
	w.conn.Key = f.Key[0]
	w.conn.SetReply(f.Key[1])
	w.deadline, w.askedAt = c.now+int64(c.cfg.AnswerTimeout), c.now
	c.pending.keep(w, p)
	return Verdict{Op: OpHold}
}

// awaitPorts holds a first packet until this node has a port for it, or knows that
// it gets none (NT3). The translation has asked for a unit; every tick tries again.
// A packet without SYN may also be one of a connection, or of a mapping (about),
// that another node owns: that needs no port, so the director is asked meanwhile.
func (c *Core) awaitPorts(p *Packet, k, about packet.FlowKey) Verdict {
	first := p.portBy == 0
	if first {
		p.portBy = c.now + int64(c.cfg.AnswerTimeout)
	}
	if c.now >= p.portBy {
		c.cfg.NAT.Refused()
		return drop(ReasonNATPorts)
	}
	if len(c.pending.byKey) >= c.cfg.MaxPending || !c.mayHold(p, waitPorts) {
		return drop(ReasonHoldLimit)
	}
	w := c.pending.add(k, waitPorts)
	w.deadline, w.askedAt, w.retryAt = p.portBy+int64(c.cfg.TickEvery), c.now, c.now+1
	c.pending.keep(w, p)
	if first && p.Kind != KindTCP && p.denied == 0 {
		c.stats.Queries++
		c.msg.query = wire.Query{Key: about}
		c.send(c.director(about), &c.msg.query)
	}
	return Verdict{Op: OpHold}
}

// PortsChanged says that this node has got a unit: what waits for a port tries
// again.
func (c *Core) PortsChanged(now int64) {
	c.now = now
	if c.view == nil {
		return
	}
	// What finds nothing waits again, behind all others.
	last := c.pending.born
	for w := c.pending.list.First(); w != nil && w.born <= last; {
		next := w.at.Next()
		if w.kind == waitPorts {
			c.answered(w)
			if next != nil && c.pending.get(next.key) != next {
				next = nil // the next tick does the rest
			}
		}
		w = next
	}
}

// useAll counts all that needs a reply key here: after a restart that kept the
// table, or when units have got other numbers.
func (c *Core) useAll() {
	if c.cfg.NAT == nil {
		return
	}
	c.cfg.Stubs.Scan(0, int(^uint(0)>>1), func(e flowtable.Entry) bool {
		c.cfg.NAT.Use(e.Key().Unpack())
		return true
	})
	c.eachJoined(c.cfg.NAT.Use)
	for reply := range c.reserved {
		c.cfg.NAT.Use(reply)
	}
	c.table.ScanFlows(0, int(^uint(0)>>1), func(_ uint32, f *flowtable.FlowSlot) bool {
		if f.Key[1] != f.Key[0].Reverse() {
			c.noteFlow(f.Key[0], f.Key[1])
			c.cfg.NAT.Use(f.Key[1])
		}
		return true
	})
}
