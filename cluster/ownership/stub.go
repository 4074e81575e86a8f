package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// A translated connection is found by two keys. The director of the first
// keeps the copy and alone hands the connection over; whoever the second key
// leads to keeps a stub, which says who owns it and what the first key is.

// stub returns the stub, or the tomb, of a second key. The store knows no
// direction, but a hairpin's two connections may have keys that are each
// other's reverse.
func (c *Core) stub(reply packet.FlowKey) (*flowtable.Backup, bool) {
	if c.cfg.NAT == nil {
		return nil, false
	}
	e, known := c.cfg.Stubs.Get(reply)
	if !known || e.Key != flowtable.Pack(reply) {
		return nil, false
	}
	return e, true
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
	c.msg.bind = wire.Bind{Key: conn.Reply, Conn: conn.Key, Gen: conn.Gen, Timeout: conn.Timeout, Flags: conn.Flags}
	return c.send(to, &c.msg.bind)
}

// unbind says that this node does not own a connection any more.
func (c *Core) unbind(keys [2]packet.FlowKey, gen uint32) {
	if keys[1] == keys[0].Reverse() || c.cfg.NAT == nil {
		return
	}
	if to := c.backup(keys[1], c.self); to != 0 {
		c.msg.close = wire.Close{Key: keys[1], Gen: gen}
		c.send(to, &c.msg.close)
	}
}

// onBind stores a stub, unless a newer one of a living owner is there.
func (c *Core) onBind(from wire.NodeID, m *wire.Bind) {
	owner := from
	if m.Flags&wire.ConnOrphan != 0 {
		owner = nobody
	}
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
		live := c.alive(wire.NodeID(e.Owner), e.Incarnation)
		if live && (owner == nobody || e.Gen > m.Gen) || owner == nobody && e.Gen >= m.Gen {
			return
		}
		if first, _ := c.cfg.Stubs.Other(m.Key); live && first != m.Conn && wire.NodeID(e.Owner) != from {
			c.stats.NATConflicts++
		}
	}
	c.storeStub(owner, m)
	k, _ := m.Key.Canonical()
	c.unpark(k)
}

// withoutMirror ends the mirror image of a connection whose second key is bound:
// a side of a partition that knew the mapping only took the responder's next packet
// for a stranger's first one, and made a connection the other way round. False: the
// bind is of no use, for the image is this node's and the connection's owner is
// dead, so the image goes on; or it is the image's.
func (c *Core) withoutMirror(owner wire.NodeID, m *wire.Bind) bool {
	if _, image := c.cfg.NAT.Unit(m.Conn); image {
		ref := c.table.Lookup(m.Key)
		return ref == 0 || ref.IsForward() || c.table.Flow(ref.Slot()).Key != [2]packet.FlowKey{m.Key, m.Conn}
	}
	if ref := c.table.Lookup(m.Key); ref != 0 && !ref.IsForward() {
		if f := c.table.Flow(ref.Slot()); f.Key == [2]packet.FlowKey{m.Key, m.Conn} {
			if owner == nobody {
				return false
			}
			c.surrender(ref.Slot(), owner, m.Gen)
		}
		return true
	}
	k, _ := m.Key.Canonical()
	e, known := c.copyOf(k)
	if !known || e.Key != flowtable.Pack(m.Key) || !c.alive(wire.NodeID(e.Owner), e.Incarnation) || owner == nobody {
		return true
	}
	if second, _ := c.dir.Other(m.Key); second == m.Conn && wire.NodeID(e.Owner) != owner {
		to, gen := wire.NodeID(e.Owner), e.Gen
		c.dir.Delete(k)
		c.redirect(to, m.Key, owner, gen)
	}
	return true
}

// keepsMirrored settles what is said of a connection whose mirror image this node
// owns. The one that leads to an address of a pool gives way: true if that is the
// other one's, else this node's is gone now.
func (c *Core) keepsMirrored(from wire.NodeID, conn *wire.Conn) bool {
	if !conn.Translated() || from == c.self || c.cfg.NAT == nil {
		return false
	}
	ref := c.table.Lookup(conn.Key)
	if ref == 0 || ref.IsForward() {
		return false
	}
	if f := c.table.Flow(ref.Slot()); f.Key[0] == conn.Key || f.Key[0] != conn.Reply {
		return false
	}
	if _, image := c.cfg.NAT.Unit(conn.Key); image {
		return true
	}
	c.surrender(ref.Slot(), from, conn.Gen)
	return false
}

// mirrored reports whether a claim is for the mirror image of a connection that
// another node owns: its second key is bound.
func (c *Core) mirrored(from wire.NodeID, conn *wire.Conn) (owner wire.NodeID, yes bool) {
	if !conn.Translated() {
		return 0, false
	}
	e, known := c.stub(conn.Key)
	if !known || e.Flags&wire.ConnTomb != 0 || !c.alive(wire.NodeID(e.Owner), e.Incarnation) || wire.NodeID(e.Owner) == from {
		return 0, false
	}
	first, _ := c.cfg.Stubs.Other(conn.Key)
	return wire.NodeID(e.Owner), first == conn.Reply
}

func (c *Core) storeStub(owner wire.NodeID, m *wire.Bind) {
	b := c.entry(owner, m.Key, m.Gen)
	b.Timeout, b.Flags = m.Timeout, m.Flags&^wire.ConnOrphan
	if !c.putStub(b, m.Conn) {
		c.stats.CopiesFull++
	}
}

// putStub stores a stub or a tomb and counts its key as used. One of the reverse
// key, for which there is no second place, gives way.
func (c *Core) putStub(b flowtable.Backup, first packet.FlowKey) bool {
	reply := b.Key.Unpack()
	_, known := c.stub(reply)
	if !known {
		c.clearStub(reply.Reverse())
	}
	if c.cfg.Stubs.PutPair(b, first) != nil {
		return false
	}
	if !known {
		c.cfg.NAT.Use(reply)
	}
	return true
}

// clearStub forgets a stub, or a tomb, of a connection that this node owns now.
func (c *Core) clearStub(reply packet.FlowKey) {
	if _, known := c.stub(reply); known {
		c.cfg.Stubs.Delete(reply)
		c.cfg.NAT.Release(c.now, reply, false)
	}
}

// closeStub forgets what the sender says it does not own any more.
func (c *Core) closeStub(from wire.NodeID, reply packet.FlowKey, gen uint32) {
	if e, known := c.stub(reply); known && wire.NodeID(e.Owner) == from && e.Gen <= gen {
		c.makeTomb(e)
	}
}

// bound reports whether a stub says that a packet belongs to a connection.
func (c *Core) bound(k packet.FlowKey) bool {
	e, known := c.stub(k)
	return known && e.Flags&wire.ConnTomb == 0
}

// answerStub answers a query for a second key; false when no stub knows it.
func (c *Core) answerStub(from wire.NodeID, key packet.FlowKey) bool {
	e, known := c.stub(key)
	if !known || e.Flags&wire.ConnTomb != 0 {
		return false
	}
	if owner := wire.NodeID(e.Owner); c.alive(owner, e.Incarnation) && owner != from {
		c.answer(from, key, owner, e.Gen)
		return true
	}
	first, _ := c.cfg.Stubs.Other(key)
	c.msg.alias = wire.Alias{Key: key, Conn: first}
	c.send(from, &c.msg.alias)
	return true
}

// onAlias puts the question again, to the director of the connection's first
// key.
func (c *Core) onAlias(_ wire.NodeID, m *wire.Alias) {
	k, _ := m.Key.Canonical()
	w := c.pending.get(k)
	if w == nil || w.kind != waitQuery {
		return
	}
	c.pending.alias(w, m.Conn)
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
// the unit must not thaw while somebody may take over from the copy (NT4). False:
// the link is backed up.
func (c *Core) bindCopy(e *flowtable.Backup) bool {
	conn := c.connOfCopy(e)
	if !conn.Translated() {
		return true
	}
	m := wire.Bind{Key: conn.Reply, Conn: conn.Key, Gen: conn.Gen, Timeout: conn.Timeout, Flags: conn.Flags | wire.ConnOrphan}
	switch d := c.director(conn.Reply); {
	case d == 0:
	case d != c.self:
		c.msg.bind = m
		return c.emit(d, &c.msg.bind) == nil
	case c.table.Lookup(m.Key) == 0:
		if _, known := c.stub(m.Key); !known {
			c.storeStub(nobody, &m)
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
	next := c.cfg.Stubs.Scan(s.cursor, batch, func(e *flowtable.Backup) bool {
		if blocked || e.Flags&wire.ConnTomb != 0 || c.alive(wire.NodeID(e.Owner), e.Incarnation) {
			return true
		}
		k := e.Key.Unpack()
		if d := c.director(k); d != c.self && d != 0 {
			first, _ := c.cfg.Stubs.Other(k)
			c.msg.bind = wire.Bind{Key: k, Conn: first, Gen: e.Gen, Timeout: e.Timeout, Flags: e.Flags | wire.ConnOrphan}
			blocked = c.emit(d, &c.msg.bind) != nil
		}
		return true
	})
	if blocked {
		return false
	}
	s.cursor = next
	return next == 0
}

// ageStubs ages like ageCopies.
func (c *Core) ageStubs() {
	if c.cfg.NAT == nil {
		return
	}
	stubs := c.cfg.Stubs
	c.ageing.stubs = stubs.Scan(c.ageing.stubs, c.share(stubs.Slots()), func(e *flowtable.Backup) bool {
		switch {
		case e.Flags&wire.ConnTomb != 0:
			if c.tombStays(e) {
				e.Confirmed = recent(c.tick(), e.Confirmed)
				return true
			}
		case c.belongs(e, e.Key.Unpack()):
			return true
		default:
			c.makeTomb(e)
			return true
		}
		c.cfg.NAT.Release(c.now, e.Key.Unpack(), e.State&tombHold != 0)
		return false
	})
}

// resetStubs forgets all stubs.
func (c *Core) resetStubs() {
	if c.cfg.NAT == nil {
		return
	}
	c.cfg.Stubs.Scan(0, int(^uint(0)>>1), func(e *flowtable.Backup) bool {
		c.cfg.NAT.Release(c.now, e.Key.Unpack(), true)
		return false
	})
}
