package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// onGrant makes this node the owner.
func (c *Core) onGrant(from wire.NodeID, conn wire.Conn, adopted bool) {
	k, _ := conn.Key.Canonical()
	bound, reply, gen := conn.Bound, conn.ReplyKey(), conn.Gen
	conn.Bound = false
	w := c.pending.get(k)
	if c.overtaken(from, k, &conn, bound) {
		return
	}
	ref := c.table.Lookup(conn.Key)
	own := ref != 0 && !ref.IsForward()
	if !adopted && !own && from != c.self && w != nil && w.kind == waitClaim && w.conn.ReplyKey() != reply {
		// It answers a claim that was given up. The one that waits was put later, with
		// another second key, and is what the director goes by in the end.
		c.unbindGranted(from, reply, gen, bound)
		return
	}
	crossed, slot, numbers := false, uint32(0), conn.SeqDelta
	if own && adopted && c.table.Flow(ref.Slot()).Key[1] != reply {
		// What is handed over goes on with its own translation: the other end
		// knows no other.
		c.remove(ref.Slot(), false)
		own = false
	}
	if own {
		slot = ref.Slot()
		c.confirm(slot, &conn, adopted)
		conn = c.connOf(c.table.Flow(slot))
		crossed = adopted && conn.SeqDelta != numbers // they are proven, and the granter's are not
		if conn.ReplyKey() != reply {
			// The granter has the second key of another claim, answered late.
			crossed = true
			c.unbindGranted(from, reply, gen, bound)
		}
	} else {
		// A grant that crossed a full round of ours, which could not confirm
		// the connection, would be swept by the director.
		crossed = w == nil || w.askedAt <= c.sync.fullAt || c.roundCrosses()
		if !adopted && w == nil {
			c.disown(from, &conn, bound) // too late: nobody waits for it
			return
		}
		if !adopted && w.kind != waitClaim && c.cfg.Sequences != nil && !c.cfg.KeepNumbers && conn.Key.Proto == packet.ProtoTCP && from != c.self {
			// The claim was given up. The grant does not repeat its numbers; a copy does.
			c.stats.Queries++
			c.msg.query = wire.Query{Key: conn.Key}
			c.send(from, &c.msg.query)
			return
		}
		flags := beginning(&conn)
		if adopted {
			flags = 0
		} else if w.kind == waitClaim {
			conn.SeqDelta = w.conn.SeqDelta // a grant of what was asked for does not repeat it
		}
		at, r := c.install(&conn, flags)
		if r != ReasonNone {
			c.disown(from, &conn, bound)
			if w != nil {
				c.refuse(w, r)
			}
			return
		}
		slot = at
		c.heldBy(c.table.Flow(slot), from) // who grants it has the copy
		if adopted {
			c.stats.Adopted++
		} else {
			c.stats.Created++
		}
	}
	c.forgetCopy(k) // the copy is never at the owner (FR3)
	if f := c.table.Flow(slot); bound && f.Key[1] == reply && f.Gen == gen {
		c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Stub = uint8(from) })
	} else {
		bound = false
	}
	c.bind(&conn)
	if director := c.director(k); crossed || from != director || director == c.self {
		// The copy lives elsewhere than at the granter: in the second node
		// when the director is this one, or where a newer view put it.
		c.claim(slot, &conn, true)
	} else {
		c.catchUp(c.table.Flow(slot))
	}
	switch {
	case w == nil:
	case !adopted && conn.Flags&wire.ConnSync != 0 && w.kind == waitClaim:
		c.granted(w, from, &conn, bound)
	default:
		c.answered(w)
	}
	if w := c.pending.aliased(k); w != nil {
		c.answered(w)
	}
}

// disown says that this node does not own what it was granted, nor the second key that
// the granter has stored with it.
func (c *Core) disown(from wire.NodeID, conn *wire.Conn, bound bool) {
	c.sendClose(wire.Close{Key: conn.Key, Gen: conn.Gen})
	c.unbindGranted(from, conn.ReplyKey(), conn.Gen, bound)
}

// unbindGranted says that this node does not use the second key that the granter has stored
// with a grant.
func (c *Core) unbindGranted(from wire.NodeID, reply packet.FlowKey, gen uint32, bound bool) {
	if bound && from != c.self {
		c.msg.close = wire.Close{Key: reply, Gen: gen}
		c.send(from, &c.msg.close)
	}
}

// roundCrosses reports whether a grant that arrives now may be older than this
// node's newest full round: it may answer an earlier question than the one that
// waits, by another key or one that was given up.
func (c *Core) roundCrosses() bool {
	return c.sync.fullAt != 0 && c.now-c.sync.fullAt <= int64(c.cfg.AnswerTimeout+c.cfg.ParkTime)
}

// overtaken handles a grant of another node that arrives when this one has
// become the director and knows an owner. The later generation wins: either the
// grant is returned, or the other owner learns of it.
func (c *Core) overtaken(from wire.NodeID, k packet.FlowKey, conn *wire.Conn, bound bool) bool {
	e, known := c.copyOf(k)
	if from == c.self || !known || c.director(k) != c.self {
		return false
	}
	owner, gen := wire.NodeID(e.Owner()), e.Gen()
	if owner == c.self || !c.ownerLives(e) {
		return false
	}
	if gen < conn.Gen { // it lost, but was not told
		c.redirect(owner, conn.Key, c.self, conn.Gen)
		return false
	}
	c.msg.close = wire.Close{Key: conn.Key, Gen: conn.Gen}
	if bound {
		c.msg.close.Reply = conn.ReplyKey()
	}
	c.send(from, &c.msg.close)
	c.pointAll(k, owner, gen)
	return true
}

// confirm ends the provisional time of an owned flow.
func (c *Core) confirm(slot uint32, conn *wire.Conn, adopted bool) {
	numbers := c.table.Flow(slot).SeqDelta
	c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) {
		mine := c.connOf(f)
		if adopted && (f.Flags&flowtable.FlowProvisional != 0 || conn.Gen > f.Gen) && !c.surer(&mine, conn) {
			f.SeqDelta = conn.SeqDelta // the other end knows no other numbers
		}
		wasUnproven := c.unproven(f)
		if f.Flags&flowtable.FlowProvisional != 0 {
			f.Flags &^= flowtable.FlowProvisional | flowtable.FlowPunt
			if conn := c.connOf(f); conn.Flags&wire.ConnSync != 0 && !c.established(&conn) {
				f.Flags |= flowtable.FlowPunt
			}
		}
		if conn.Gen > f.Gen {
			f.Gen = conn.Gen
			f.Stub = 0 // it names the older generation
		}
		if adopted && conn.State > f.State {
			f.State, f.Timeout = conn.State, conn.Timeout
		}
		if c.unproven(f) {
			f.Flags |= flowtable.FlowPunt
		} else if wasUnproven && (f.Replication&wire.ConnSync == 0 || f.State >= uint8(flowtable.TCPEstablished)) {
			f.Flags &^= flowtable.FlowPunt
		}
	})
	if c.table.Flow(slot).SeqDelta != numbers {
		c.revoke(slot) // delegates shift by what they were told
	}
}

// onRedirect says that somebody else owns the connection: a provisional owner
// steps back (FR14), a waiting claimant becomes a forwarder.
func (c *Core) onRedirect(from wire.NodeID, key packet.FlowKey, owner wire.NodeID, gen uint32) {
	k, _ := key.Canonical()
	if ref := c.table.Lookup(key); ref != 0 && !ref.IsForward() {
		f := c.table.Flow(ref.Slot())
		if owner == wire.OwnerRetry || owner == c.self {
			return // still provisional: ageing claims again
		}
		if c.view.Member(owner) == nil {
			// The winner is in a view that this node has not applied yet.
			c.table.UpdateFlow(ref.Slot(), func(f *flowtable.FlowSlot) { f.Flags |= flowtable.FlowProvisional })
			return
		}
		if gen < f.Gen {
			conn := c.connOf(f)
			c.claim(ref.Slot(), &conn, true)
			return
		}
		overtook := c.overtook(f)
		if overtook {
			c.note(ref.Slot(), f)
		}
		conn := c.connOf(f)
		c.surrender(ref, owner, gen)
		if overtook {
			c.handOn(owner, &conn)
		}
	}
	c.pointAll(k, owner, gen)
}

// surrender turns an owned flow into a forward entry to the winner, for the
// direction that ref names: the key that the two have in common.
func (c *Core) surrender(ref flowtable.Ref, owner wire.NodeID, gen uint32) {
	f := c.table.Flow(ref.Slot())
	if !c.remains(c.self) && gen == f.Gen+1 {
		c.bequeath(ref.Slot(), owner, gen)
		return
	}
	c.testify(f)
	keys, ifaces, lost, d := f.Key, f.Iface, f.Gen, ref.Dir()
	c.remove(ref.Slot(), true) // the winner may go on with the same translation
	c.stats.Duplicates++
	c.closeBoth(keys, wire.Close{Gen: lost}) // whoever keeps our copy: it is not ours any more
	c.installForward(keys[d], ifaces[d], owner, gen)
	if keys[1] == keys[0].Reverse() {
		c.installForward(keys[1-d], ifaces[1-d], owner, gen) // else the winner's translation is another
	}
}

// onOwner answers a query.
func (c *Core) onOwner(_ wire.NodeID, key packet.FlowKey, owner wire.NodeID, gen uint32) {
	k, _ := key.Canonical()
	if owner != 0 {
		c.pointAll(k, owner, gen)
		return
	}
	if w := c.pending.get(k); w != nil && w.kind != waitPorts && w.kind != waitKept && w.kind != waitReports {
		c.refuse(w, ReasonNoConnection)
	}
	if w := c.pending.aliased(k); w != nil {
		c.refuse(w, ReasonNoConnection)
	}
}

// pointAll is pointTo for whoever waits for the connection of k, by its first
// key or its second.
func (c *Core) pointAll(k packet.FlowKey, owner wire.NodeID, gen uint32) {
	if w := c.pending.get(k); w != nil {
		c.pointTo(w, owner, gen)
	}
	if w := c.pending.aliased(k); w != nil {
		c.pointTo(w, owner, gen)
	}
}

// pointTo makes this node a forwarder to owner for what w holds.
func (c *Core) pointTo(w *wait, owner wire.NodeID, gen uint32) {
	if owner == wire.OwnerRetry || owner == c.self || c.view.Member(owner) == nil {
		c.retryLater(w)
		return
	}
	if w.kind == waitGrant {
		c.giveUpGrant(w, owner, gen)
		return
	}
	for i := range w.held {
		p := &w.held[i]
		if p.Kind == KindICMPError {
			continue // travels with the connection but is not its key's packet
		}
		if p.From == owner && !c.steersHere(p.Key) {
			continue // it sent us this: it will learn that it owns it
		}
		c.installForward(p.Key, p.In, owner, gen)
	}
	switch { // an endpoint's next connections go to its mapping, too
	case w.kind == waitClaim && w.conn.Key.Dst == packet.Addr{}:
		c.installForward(w.conn.Key, w.conn.In, owner, gen)
	case w.kind == waitQuery && w.about.Dst == packet.Addr{} && len(w.held) > 0:
		c.installForward(w.about, w.held[0].In, owner, gen)
	}
	c.pending.take(w)
	for i := range w.held {
		p := &w.held[i]
		v := Verdict{Op: OpSend, Node: owner, Gen: gen}
		if p.From == owner && !c.steersHere(p.Key) {
			v = drop(ReasonForwardLoop)
		} else if p.From != 0 && !c.steersHere(p.Key) {
			c.tellGone(p.From, p.Key)
		}
		c.out.Release(p.Handle, labelled(p, v))
	}
	c.done(w)
}

// giveUpGrant ends the wait of a provisional owner that has lost. Answers to its
// translation are of no use to anybody; to its sequence numbers, the winner may
// follow (sequence.go). What the initiator sends belongs to the
// winner: it has seen the answers of no other, for those of this node have waited.
func (c *Core) giveUpGrant(w *wait, owner wire.NodeID, gen uint32) {
	c.pending.take(w)
	for i := range w.held {
		p := &w.held[i]
		v := drop(ReasonDuplicate)
		if (p.Key == w.conn.Key || !w.conn.Translated()) && p.From != owner {
			v = Verdict{Op: OpSend, Node: owner, Gen: gen}
		}
		c.out.Release(p.Handle, labelled(p, v))
	}
	c.done(w)
}

// installForward caches the owner of one direction (FR4). A full table only
// costs the cache: the packets at hand are sent all the same.
func (c *Core) installForward(key packet.FlowKey, iface uint8, owner wire.NodeID, gen uint32) {
	f := flowtable.ForwardSlot{
		Key: key, Gen: gen, Owner: uint8(owner), Incarnation: c.incarnation(owner),
		Iface: iface, LastSeen: c.tick(),
	}
	if ref := c.table.Lookup(key); ref != 0 {
		if !ref.IsForward() {
			return
		}
		c.removeForward(ref.Slot())
	}
	_, _ = c.table.InsertForward(f)
}

// tellGone corrects a forwarder that sent us what we do not own.
func (c *Core) tellGone(to wire.NodeID, key packet.FlowKey) {
	c.msg.gone = wire.Gone{Key: key}
	c.send(to, &c.msg.gone)
}

// onGone forgets a forward entry to the node that says so.
func (c *Core) onGone(from wire.NodeID, key packet.FlowKey) {
	ref := c.table.Lookup(key)
	if ref == 0 || !ref.IsForward() {
		return
	}
	if c.table.Forward(ref.Slot()).Owner == uint8(from) {
		c.removeForward(ref.Slot())
	}
}
