package ownership

import (
	"time"

	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// A member that drains (EL10, wire.View.Draining) gives every connection away
// before it leaves. All see that it does at the same point, by the view, which puts
// it last in every order: so the copies of what it owns are at others, and it keeps
// none, unless there is nobody else.
//
//	 draining owner D                      heir N                    H
//	   |-- update, yours (generation g) -->|  owns it as g+1
//	   |                                   |-- update or claim ----->| copy
//	   |                                   |-- bind (second key)
//	   |<-- redirect: N, g+1 --------------|
//	   | forwards to N, both directions
//	   |-- update: the last state -------->|
//
// The heir is the holder of the copy, and so the director as a rule. What belongs to
// a mapping goes where the mapping goes, which goes first: its owner makes the next
// connections and counts them all. An heir that cannot take a connection (no room,
// no route, another view) says nothing, and D goes on with it. Nothing is waited for:
// D walks its table again and again, and says it again of what it still owns.
//
// Why nothing breaks:
//
//   - One owner (FR1). N's generation is the higher one. Until the redirect arrives
//     both forward, as after a claim that overrules: with the same translation and
//     state, so no packet is wrong, and none is lost for want of an owner.
//   - Granted once (FR11). Only a living owner gives away, so no director has a dead
//     one's copy to grant; N refuses when it knows a later owner.
//   - Never without a copy (FR3). Until N owns it, N has the copy. From then until H
//     has it, D is an owner, or has surrendered and keeps a copy that names N: one that
//     belongs elsewhere and goes as such, later (belongs).
//   - One user of a mapped port (NT4). N uses what D used. D's key stays in use at the
//     unit's holder throughout: N's bind has the later generation and replaces the
//     stub, and D closes none.
//
// A new connection that meets D goes to its director, which begins it: that asks
// nobody, and the answer finds it there.

const (
	drainEvery = 250 * time.Millisecond // a walk over the table begins so often
	drainBatch = 512                    // connections given away in one tick
	shakeHands = 2 * time.Second        // an opening TCP connection has that long before it moves
)

// drain is how far a draining node is.
type drain struct {
	cursor uint32
	walks  int   // that are over; the first one is for mappings only
	next   int64 // when the next one may begin
}

// draining reports whether this node gives away what it has, and everybody knows.
func (c *Core) draining() bool { return c.view.Drains(c.self) && c.everybodyApplied() }

// tickDrain gives away a part of what this node owns.
func (c *Core) tickDrain() {
	d := &c.drain
	if !c.view.Drains(c.self) {
		*d = drain{}
		return
	}
	if c.sync.step != syncIdle || c.sync.waiting != 0 || d.cursor == 0 && c.now < d.next {
		return
	}
	if d.cursor == 0 {
		d.next = c.now + int64(drainEvery)
	}
	sent, stopped := 0, false
	next := c.table.ScanFlows(d.cursor, batch, func(slot uint32, f *flowtable.FlowSlot) bool {
		if d.walks == 0 && !isMapping(f) || !c.ripe(f) {
			return true
		}
		to := c.heir(f)
		if to == 0 {
			return true
		}
		if sent++; sent > drainBatch || !c.giveAway(to, slot, f) {
			stopped, d.cursor = true, slot
			return false
		}
		return true
	})
	if stopped {
		return
	}
	if d.cursor = next; next == 0 {
		d.walks++
	}
}

// ripe reports whether a connection can move: nobody waits for an answer about it,
// and it is not in the middle of a handshake.
func (c *Core) ripe(f *flowtable.FlowSlot) bool {
	if f.Flags&flowtable.FlowProvisional != 0 {
		return false
	}
	k, _ := f.Key[0].Canonical()
	if c.pending.get(k) != nil {
		return false
	}
	opening := f.Key[0].Proto == packet.ProtoTCP && !isMapping(f) && flowtable.TCPState(f.State) < flowtable.TCPEstablished
	return !opening || flowtable.Since(c.tick(), f.Created) > int32(flowtable.TickOf(int64(shakeHands)))
}

// heir is who goes on with a connection, 0 if there is nobody.
func (c *Core) heir(f *flowtable.FlowSlot) wire.NodeID {
	if m, ok := c.mappingOf(f); ok {
		if ref := c.table.Lookup(m); ref != 0 && ref.IsForward() {
			if g := c.table.Forward(ref.Slot()); c.alive(wire.NodeID(g.Owner), g.Incarnation) && c.remains(wire.NodeID(g.Owner)) {
				return wire.NodeID(g.Owner)
			}
		}
		return c.successor(m)
	}
	k, _ := f.Key[0].Canonical()
	if holder := c.backup(k, c.self); holder != 0 && c.remains(holder) {
		return holder
	}
	return c.successor(k) // the holder of a unit's copies may drain as well
}

// successor is the first in order that does not drain, 0 if all do.
func (c *Core) successor(k packet.FlowKey) wire.NodeID {
	if to := c.order.Director(k); to != c.self && c.remains(to) {
		return to
	}
	return 0
}

func (c *Core) remains(id wire.NodeID) bool { return !c.view.Drains(id) }

// mappingOf returns the reply key of the mapping that a flow is, or belongs to.
func (c *Core) mappingOf(f *flowtable.FlowSlot) (m packet.FlowKey, ok bool) {
	switch {
	case c.cfg.NAT == nil || f.Replication&wire.ConnMapped == 0:
		return m, false
	case isMapping(f):
		return f.Key[1], true
	}
	for _, k := range f.Key {
		if m, ok = c.cfg.NAT.Mapped(k); ok {
			return m, true
		}
	}
	return m, false
}

// giveAway offers a connection; false when the link is backed up.
func (c *Core) giveAway(to wire.NodeID, slot uint32, f *flowtable.FlowSlot) bool {
	c.note(slot, f)
	c.msg.update = wire.Update{Conn: c.connOf(f)}
	c.msg.update.Conn.Flags |= wire.ConnYours
	return c.emit(to, &c.msg.update) == nil
}

// onYours goes on with a connection that its draining owner gives away, or that a
// provisional one has begun and may not keep (reused.go).
func (c *Core) onYours(from wire.NodeID, conn wire.Conn) {
	conn.Flags &^= wire.ConnYours
	k, _ := conn.Key.Canonical()
	if ref, f := c.owning(conn.Key); ref != 0 {
		if f.Key[0] == conn.Key && c.reuse(ref.Slot(), f, &conn) {
			return
		}
		if f.Key[0] == conn.Key && f.Gen > conn.Gen {
			c.redirect(from, conn.Key, c.self, f.Gen) // the answer was lost
		}
		return // or the claims of both settle it first
	}
	if !c.remains(c.self) || !c.complete(k) || c.keepsMirrored(from, &conn, true) {
		return
	}
	e, known := c.copyOf(k)
	if known && (e.Gen() > conn.Gen || c.ownerLives(e) && wire.NodeID(e.Owner()) != from) {
		return
	}
	conn.Gen++
	slot, r := c.install(&conn, 0)
	if r != ReasonNone {
		return
	}
	c.stats.Inherited++
	c.forgetCopy(k) // the copy is never at the owner (FR3)
	c.bind(&conn)
	c.claim(slot, &conn, true)
	c.redirect(from, conn.Key, c.self, conn.Gen)
	if w := c.pending.get(k); w != nil {
		c.answered(w)
	}
	if w := c.pending.aliased(k); w != nil {
		c.answered(w)
	}
	c.unpark(k)
}

// bequeath makes this node the forwarder of a connection that its heir has taken,
// and a keeper of its copy until who comes first for that has it.
func (c *Core) bequeath(slot uint32, owner wire.NodeID, gen uint32) {
	f := c.table.Flow(slot)
	c.note(slot, f)
	conn, ifaces, keys := c.connOf(f), f.Iface, f.Key
	c.remove(slot, false)
	c.stats.Bequeathed++
	for d := range keys {
		c.installForward(keys[d], ifaces[d], owner, gen)
	}
	if conn.State != uint8(flowtable.TCPNone) {
		c.msg.update = wire.Update{Conn: conn}
		c.send(owner, &c.msg.update)
	}
	conn.Gen = gen
	if conn.Flags&wire.ConnNoCopy == 0 {
		c.store(owner, &conn)
	}
}

// lastWord takes the newest state from who has just given a connection away: what
// it has forwarded since then this node has not seen.
func (c *Core) lastWord(from wire.NodeID, ref flowtable.Ref, conn *wire.Conn) {
	f := c.table.Flow(ref.Slot())
	if !c.remains(from) && f.Key[0] == conn.Key && f.Gen == conn.Gen+1 && conn.State > f.State {
		c.setState(ref.Slot(), f, flowtable.TCPState(conn.State))
	}
}

// Owned is how many connections this node owns.
func (c *Core) Owned() int { return c.table.Stats().Flows }

// Drained reports whether this node drains, owns nothing, and waits for no answer.
func (c *Core) Drained() bool {
	return c.view != nil && c.draining() && c.sync.step == syncIdle && c.Owned() == 0 && c.pending.list.First() == nil
}
