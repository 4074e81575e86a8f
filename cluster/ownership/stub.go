package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// A translated connection is found by two keys. The director of the first
// keeps the copy and alone hands the connection over; whoever the second key
// leads to keeps a stub, which says who owns it and what the first key is. Where both
// are at one node they are one entry: see joined.go.

// stub returns the stub, the tomb, or the joined copy of a second key. The store knows
// no direction, but a hairpin's two connections may have keys that are each
// other's reverse.
func (c *Core) stub(reply packet.FlowKey) (flowtable.Entry, bool) {
	if c.cfg.NAT == nil {
		return flowtable.Entry{}, false
	}
	if e, known := c.cfg.Stubs.Get(reply); known && e.Key() == flowtable.Pack(reply) {
		return e, true
	}
	return c.dir.ByOther(reply)
}

// bind registers the second key of a connection that this node owns.
func (c *Core) bind(conn *wire.Conn) {
	if !conn.Translated() || c.cfg.NAT == nil {
		return
	}
	if ref := c.table.Lookup(conn.Reply); ref != 0 && !ref.IsForward() {
		c.bindSlot(ref.Slot(), conn)
	}
}

// bindSlot is bind of the flow in a slot.
func (c *Core) bindSlot(slot uint32, conn *wire.Conn) {
	if !conn.Translated() || c.cfg.NAT == nil {
		return
	}
	c.clearStub(conn.Reply) // an owner needs none
	to := c.backup(conn.Reply, c.self)
	if to == 0 || c.table.Flow(slot).Stub == uint8(to) {
		return // nobody to tell, or told before
	}
	if c.sendBind(to, conn) {
		c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Stub = uint8(to) })
	}
}

func (c *Core) sendBind(to wire.NodeID, conn *wire.Conn) bool {
	asking := *conn
	c.wantsAnswer(&asking)
	late := asking.Flags&wire.ConnAnswer == 0 && c.leadsHere(conn.Reply)
	c.msg.bind = wire.Bind{Key: conn.Reply, Conn: conn.Key, Gen: conn.Gen, Timeout: conn.Timeout, Flags: asking.Flags, Late: late}
	return c.send(to, &c.msg.bind)
}

// leadsHere reports whether packets with a second key are led to this node without a
// stub, by its port (FR6): the stub is for whoever comes after this node.
func (c *Core) leadsHere(reply packet.FlowKey) bool {
	unit, ok := c.cfg.NAT.Unit(reply)
	return ok && c.cfg.NAT.Holds(unit)
}

// bindsAt reports whether the second key of a new connection belongs to the node that
// gets its copy, in this node's view. The port is of a unit of this node: nobody else
// can have chosen it.
func (c *Core) bindsAt(holder wire.NodeID, conn *wire.Conn) bool {
	return conn.Translated() && c.cfg.NAT != nil && c.leadsHere(conn.Reply) && c.backup(conn.Reply, c.self) == holder
}

// bindOf is the Bind that a Claim or an Update stands for as well.
func bindOf(conn *wire.Conn) wire.Bind {
	return wire.Bind{Key: conn.Reply, Conn: conn.Key, Gen: conn.Gen, Timeout: conn.Timeout, Flags: conn.Flags}
}

// bindClaimed stores the second key of a connection that is about to be granted. False:
// it is not as simple as that, and the owner will bind it when it has the grant.
func (c *Core) bindClaimed(from wire.NodeID, conn *wire.Conn) bool {
	if c.cfg.NAT == nil || !conn.Translated() || c.images || image(conn.Key, conn.Reply) {
		return false
	}
	if ref := c.table.Lookup(conn.Reply); ref != 0 && !ref.IsForward() {
		return false
	}
	if e, known := c.stub(conn.Reply); known && e.Flags()&wire.ConnTomb == 0 &&
		(!c.isOwner(e, from) || e.Gen() > conn.Gen || c.firstOf(e, conn.Reply) != conn.Key) {
		return false
	}
	m := bindOf(conn)
	return c.storeStub(from, &m)
}

// onBind stores a stub, unless a newer one of a living owner is there.
func (c *Core) onBind(from wire.NodeID, m *wire.Bind) {
	owner := from
	if m.Flags&wire.ConnOrphan != 0 {
		owner = nobody
	}
	asked := m.Flags&wire.ConnAnswer != 0
	m.Flags &^= wire.ConnAnswer
	if !c.withoutMirror(owner, m) {
		return
	}
	if ref := c.table.Lookup(m.Key); ref != 0 && !ref.IsForward() && c.table.Flow(ref.Slot()).Key[0] != m.Conn {
		c.stats.NATConflicts++
		return
	}
	// With an own flow of the same connection too: the director of the first key
	// decides which of the two goes on, and this node may be told later.
	if e, known := c.stub(m.Key); known {
		live := c.ownerLives(e)
		if live && (owner == nobody || e.Gen() > m.Gen) || owner == nobody && e.Gen() >= m.Gen {
			c.keepStub(e, m)
			return
		}
		if live && c.firstOf(e, m.Key) != m.Conn && wire.NodeID(e.Owner()) != from {
			c.stats.NATConflicts++
		}
	}
	c.storeStub(owner, m)
	if e, known := c.stub(m.Key); asked && known {
		c.tellKept(from, m.Key, e, 0)
	}
	k, _ := m.Key.Canonical()
	c.unpark(k)
}

// storeStub is false when there is no room.
func (c *Core) storeStub(owner wire.NodeID, m *wire.Bind) bool {
	b := c.entry(owner, m.Key, m.Gen)
	b.Timeout, b.Flags = m.Timeout, m.Flags&^wire.ConnOrphan|orphaned(owner)
	if owner == nobody {
		b.Owner, b.Incarnation = uint8(m.Last.ID), m.Last.Life
	}
	if !c.putStub(b, m.Conn, true) {
		c.stats.CopiesFull++
		return false
	}
	return true
}

// keepStub lets the stub of a dead owner's connection live as long as the copy that m is
// of. The owner bound the key when the connection began, for the time of that.
func (c *Core) keepStub(e flowtable.Entry, m *wire.Bind) {
	if e.Flags()&wire.ConnTomb != 0 || c.ownerLives(e) || e.Gen() != m.Gen || c.firstOf(e, m.Key) != m.Conn {
		return
	}
	if joinedBy(e, m.Key) { // the copy here has its own time
		stub, ok := c.part(e)
		if !ok {
			return
		}
		e = stub
	}
	e.SetTimeout(max(e.Timeout(), m.Timeout))
	e.SetConfirmed(c.tick())
}

// putStub stores a stub or a tomb and counts its key as used; without use, it takes over
// one that somebody has counted, if it is stored. One of the reverse key, for which there
// is no second place, gives way.
func (c *Core) putStub(b flowtable.Backup, first packet.FlowKey, use bool) bool {
	reply := b.Key.Unpack()
	old, known := c.stub(reply)
	c.noteStub(first, reply)
	if !known {
		if c.images {
			c.clearStub(reply.Reverse()) // only hairpins have such a one
		}
		if c.cfg.Stubs.Len()+c.dir.JoinedLen() >= c.cfg.Stubs.Cap() {
			return false
		}
		if use {
			c.cfg.NAT.Use(reply)
		}
	} else if joinedBy(old, reply) {
		if k := old.Key().Unpack(); k == first && agree(old, &b) && b.Flags&wire.ConnTomb == 0 {
			old.SetConfirmed(b.Confirmed)
			return true
		}
		c.dir.Part(old.Key().Unpack()) // b takes its place
	}
	if c.joins(&b, first, reply) || c.cfg.Stubs.PutPair(b, first) == nil {
		return true
	}
	if known || use {
		c.cfg.NAT.Release(c.now, reply, known)
	}
	return false
}

// clearStub forgets a stub, or a tomb, of a connection that this node owns now.
func (c *Core) clearStub(reply packet.FlowKey) {
	if e, known := c.stub(reply); known {
		if joinedBy(e, reply) {
			c.dir.Part(e.Key().Unpack())
		} else {
			c.cfg.Stubs.Delete(reply)
		}
		c.cfg.NAT.Release(c.now, reply, false)
	}
}

// closeStub forgets what the sender says it does not own any more. After an end in order
// only who chooses the port keeps a tomb: the owner, or who holds the unit instead. Others
// do not need one to know the key as used when they get the unit: that is not idle while
// the tomb is there, and who thaws it hears of copies that are left from their holders.
func (c *Core) closeStub(from wire.NodeID, reply packet.FlowKey, gen uint32, hold bool) {
	if e, known := c.stub(reply); known && wire.NodeID(e.Owner()) == from && e.Gen() <= gen {
		if !hold && !c.leadsHere(reply) {
			c.clearStub(reply)
			return
		}
		c.makeTomb(e, reply, hold)
	}
}

// bound reports whether a stub says that a packet belongs to a connection.
func (c *Core) bound(k packet.FlowKey) bool {
	if !c.images { // then all second keys are in units
		if _, in := c.unitOf(k); !in {
			return false
		}
	}
	e, known := c.stub(k)
	return known && e.Flags()&wire.ConnTomb == 0
}

// answerStub answers a query for a second key; false when no stub knows it.
func (c *Core) answerStub(from wire.NodeID, key packet.FlowKey) bool {
	e, known := c.stub(key)
	if !known || e.Flags()&wire.ConnTomb != 0 {
		return false
	}
	if owner := wire.NodeID(e.Owner()); c.ownerLives(e) && owner != from {
		c.answer(from, key, owner, e.Gen())
		return true
	}
	first := c.firstOf(e, key)
	c.msg.alias = wire.Alias{Key: key, Conn: first}
	c.send(from, &c.msg.alias)
	return true
}

// onAlias puts the question again, to the director of the connection's first
// key: at once, or later if that is being asked. A question that does not change would
// get this same answer, and where the director is this node it would end the stack.
func (c *Core) onAlias(_ wire.NodeID, m *wire.Alias) {
	k, _ := m.Key.Canonical()
	w := c.pending.get(k)
	if w == nil || w.kind != waitQuery {
		return
	}
	if !c.pending.alias(w, m.Conn) {
		c.retryLater(w)
		return
	}
	c.question(w)
}

// registerStub sends the stub of an owned flow to where this view wants it;
// false when the link is backed up.
func (c *Core) registerStub(slot uint32, f *flowtable.FlowSlot) bool {
	if f.Key[1] == f.Key[0].Reverse() || c.cfg.NAT == nil {
		return true
	}
	to := c.backup(f.Key[1], c.self)
	if to == 0 || f.Stub == uint8(to) && !c.resent(c.view.Member(to)) {
		return true
	}
	c.msg.bind = wire.Bind{Key: f.Key[1], Conn: f.Key[0], Gen: f.Gen, Timeout: f.Timeout, Flags: f.Replication}
	if c.emit(to, &c.msg.bind) != nil {
		return false
	}
	c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Stub = uint8(to) })
	return true
}

// bindCopy keeps the second key of a dead owner's connection in use, by a stub at
// who comes first for it: the holder of the former one may have died as well, and
// who thaws the unit must not choose the key while somebody may take over from the
// copy (NT4). False:
// the link is backed up.
func (c *Core) bindCopy(e flowtable.Entry) bool {
	conn := c.connOfCopy(e)
	if !conn.Translated() {
		return true
	}
	m := wire.Bind{Key: conn.Reply, Conn: conn.Key, Gen: conn.Gen, Timeout: conn.Timeout, Flags: conn.Flags | wire.ConnOrphan, Last: lastOwner(e)}
	switch d := c.director(conn.Reply); {
	case d == 0:
	case d != c.self:
		c.msg.bind = m
		return c.emit(d, &c.msg.bind) == nil
	case c.table.Lookup(m.Key) == 0:
		switch s, known := c.stub(m.Key); {
		case !known:
			c.storeStub(nobody, &m)
		case s != e: // else it is both, and lives as long as itself
			c.keepStub(s, &m)
		}
	}
	return true
}

// handOverStubs gives stubs of dead owners' connections to who comes first for
// them now; true at the end.
func (c *Core) handOverStubs() bool {
	s := &c.sync
	if c.cfg.NAT == nil {
		return true
	}
	blocked := false
	next := c.cfg.Stubs.Scan(s.cursor, s.slice(c.cfg.Slice), func(e flowtable.Entry) bool {
		if c.cfg.Entombed != nil && awaitsHold(e) {
			c.cfg.Entombed(e.Key().Unpack())
		}
		if blocked || e.Flags()&wire.ConnTomb != 0 || c.ownerLives(e) {
			return true
		}
		k := e.Key().Unpack()
		first, _ := e.Other()
		blocked = !c.handOverStub(e, first, k)
		return true
	})
	if blocked {
		return s.blocked()
	}
	s.cursor = next
	return next == 0
}

// handOverStub does so with one, or with a joined copy as the stub that it is; false
// when the link is backed up.
func (c *Core) handOverStub(e flowtable.Entry, first, reply packet.FlowKey) bool {
	d := c.director(reply)
	if d == c.self || d == 0 {
		return true
	}
	flags := e.Flags()&^wire.ConnGranted | wire.ConnOrphan
	c.msg.bind = wire.Bind{Key: reply, Conn: first, Gen: e.Gen(), Timeout: e.Timeout(), Flags: flags, Last: lastOwner(e)}
	return c.emit(d, &c.msg.bind) == nil
}

// ageStubs ages like ageCopies.
func (c *Core) ageStubs() {
	if c.cfg.NAT != nil {
		c.ageing.stubs.pay(c.cfg.Slice, c.scanStubs)
	}
}

func (c *Core) scanStubs(from uint32, n int) (next uint32) {
	return c.cfg.Stubs.Scan(from, n, c.ageStubFn)
}

func (c *Core) ageStub(e flowtable.Entry) (stays bool) {
	switch {
	case e.Flags()&wire.ConnTomb != 0:
		if c.tombStays(e) {
			e.SetConfirmed(recent(c.tick(), e.Confirmed()))
			return true
		}
	case c.belongs(e, e.Key().Unpack()):
		return true
	default:
		c.makeTomb(e, e.Key().Unpack(), true)
		return true
	}
	c.cfg.NAT.Release(c.now, e.Key().Unpack(), e.State()&tombHold != 0)
	return false
}

// resetStubs forgets all stubs.
func (c *Core) resetStubs() {
	if c.cfg.NAT == nil {
		return
	}
	c.eachJoined(func(reply packet.FlowKey) { c.cfg.NAT.Release(c.now, reply, true) })
	c.cfg.Stubs.Scan(0, int(^uint(0)>>1), func(e flowtable.Entry) bool {
		c.cfg.NAT.Release(c.now, e.Key().Unpack(), true)
		return false
	})
}
