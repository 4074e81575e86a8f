package ownership

import (
	"errors"

	"cohort/ccl/wire"
	"cohort/cluster/order"
	"cohort/flowtable"
	"cohort/packet"
)

// install makes this node the owner of conn: routes both directions and puts
// the flow in front of the fast path. Forward entries of the same connection
// give way.
func (c *Core) install(conn *wire.Conn, flags uint8) (uint32, Reason) {
	back, _, ok := c.cfg.Router.Route(conn.Key.Src)
	there, ok2 := uint16(0), conn.Key.Dst == packet.Addr{} // a mapping leads nowhere
	if !ok2 {
		there, _, ok2 = c.cfg.Router.Route(conn.ReplyKey().Src)
	}
	if !ok || !ok2 {
		return 0, ReasonNoRoute
	}
	return c.installVia([2]uint16{there, back}, conn, flags)
}

// installVia is install where the next hops of both directions are known.
func (c *Core) installVia(hops [2]uint16, conn *wire.Conn, flags uint8) (uint32, Reason) {
	if conn.Translated() && c.cfg.NAT == nil {
		return 0, ReasonNATNoXlate
	}
	reply := conn.ReplyKey()
	f := flowtable.FlowSlot{
		Key:      [2]packet.FlowKey{conn.Key, reply},
		Gen:      conn.Gen,
		NextHop:  hops,
		Iface:    [2]uint8{conn.In, conn.Out},
		State:    conn.State,
		Flags:    flowtable.FlowLive | flags,
		Rule:     conn.Rule,
		Timeout:  conn.Timeout,
		Created:  c.tick(),
		LastSeen: [2]uint32{c.tick(), c.tick()},
		WScale:   [2]uint8{0xff, 0xff},
		SeqDelta: conn.SeqDelta,
	}
	f.Replication = conn.Flags
	if isMapping(&f) {
		f.Flags |= flowtable.FlowPunt // no packet has its keys
	}
	if f.Flags&flowtable.FlowProvisional != 0 && (conn.Translated() || conn.SeqDelta != 0) {
		f.Flags |= ungranted
	}
	if conn.Flags&wire.ConnSync != 0 && !c.established(conn) || c.unproven(&f) {
		f.Flags |= flowtable.FlowPunt
	}
	slot, err := c.table.InsertFlow(f)
	if errors.Is(err, flowtable.ErrExists) && c.forgetForwards(&f.Key) {
		slot, err = c.table.InsertFlow(f)
	}
	switch {
	case errors.Is(err, flowtable.ErrExists):
		// Both directions belong to one connection here: it is already ours.
		if ref := c.table.Lookup(conn.Key); ref != 0 && !ref.IsForward() {
			return ref.Slot(), ReasonNone
		}
		if conn.Translated() {
			return 0, ReasonNATConflict // another connection has its second key
		}
		return 0, ReasonTCPState
	case err != nil:
		return 0, ReasonTableFull
	}
	if conn.Translated() {
		c.noteFlow(conn.Key, reply)
		c.pending.strangers.came(c.table.Flow(slot))
		c.cfg.NAT.Use(reply)
		c.logXlate(c.table.Flow(slot), true)
		c.renewMapping(c.table.Flow(slot))
	}
	return slot, ReasonNone
}

// forgetForwards removes the forward entries of a connection and reports whether
// there were any.
func (c *Core) forgetForwards(keys *[2]packet.FlowKey) (any bool) {
	for _, k := range keys {
		if ref := c.table.Lookup(k); ref != 0 && ref.IsForward() {
			c.removeForward(ref.Slot())
			any = true
		}
	}
	return any
}

// remove takes a flow out of the table and its second key out of use. hold
// keeps the key from being given out again at once (NT5).
func (c *Core) remove(slot uint32, hold bool) {
	f := c.table.Flow(slot)
	keys, created, gen := f.Key, f.Created, f.Gen
	translated := keys[1] != keys[0].Reverse()
	c.pending.strangers.went(f)
	c.renewMapping(f) // idle from now on
	c.logXlate(f, false)
	hold = c.recall(slot, f) || hold
	c.table.RemoveFlow(slot)
	if translated && c.cfg.NAT != nil && !c.entomb(keys, created, gen, hold) {
		c.cfg.NAT.Release(c.now, keys[1], hold)
	}
}

func (c *Core) logXlate(f *flowtable.FlowSlot, began bool) {
	if c.cfg.Xlate != nil && f.Replication&wire.ConnLogged != 0 {
		c.cfg.Xlate(f, began)
	}
}

// connOf is the connection as it travels.
func (c *Core) connOf(f *flowtable.FlowSlot) wire.Conn {
	conn := wire.Conn{
		Key: f.Key[0], Gen: f.Gen, In: f.Iface[0], Out: f.Iface[1],
		State: f.State, Flags: f.Replication, Rule: f.Rule, Timeout: f.Timeout, SeqDelta: f.SeqDelta,
	}
	conn.SetReply(f.Key[1])
	return conn
}

// claim registers a connection of this node with whoever keeps its copy: the
// director, or the second in order when the director is this node (FR3). If that is
// to keep the second key as well, it is told so beside; bound reports whether it was
// told in a way that needs no answer.
func (c *Core) claim(slot uint32, conn *wire.Conn, reregister bool) (bound bool) {
	f := c.table.Flow(slot)
	k, _ := conn.Key.Canonical()
	if director := c.director(k); director != c.self {
		c.stats.Claims++
		if !reregister {
			c.told(f, director, c.sendClaim(director, slot, conn))
			return false
		}
		c.msg.claim = wire.Claim{Conn: *conn, Reregister: true}
		c.told(f, director, c.send(director, &c.msg.claim))
		return false
	}
	if conn.Flags&wire.ConnNoCopy != 0 {
		return false
	}
	if second := c.backup(k, c.self); second != 0 {
		c.msg.update = wire.Update{Conn: *conn}
		c.wantsAnswer(&c.msg.update.Conn)
		bound = f.Stub != uint8(second) && c.bindsAt(second, conn)
		c.msg.update.Conn.Bound = bound
		sent := c.send(second, &c.msg.update)
		c.told(f, second, sent)
		bound = bound && sent
	}
	return bound
}

// setState stores a new TCP state and tells the backup when the connection
// would be lost, or live too long, without it: of one that was reset and keeps its
// ports for minutes, but not of the end of every short one.
func (c *Core) setState(slot uint32, f *flowtable.FlowSlot, next flowtable.TCPState) {
	was := flowtable.TCPState(f.State)
	met := flowtable.Observe(was, [2]uint8{f.SeenFlags(0) &^ RST, f.SeenFlags(1) &^ RST}) // what a reset ended
	timeout := c.cfg.Timeouts.After(met, next, f.Key[1] != f.Key[0].Reverse())
	c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) {
		f.State, f.Timeout = uint8(next), timeout
	})
	if next == flowtable.TCPClosed {
		f.Forget() // what comes from now on tells whether they go on
	}
	if was != next && (next == flowtable.TCPEstablished || next == flowtable.TCPClosed && timeout > c.cfg.Timeouts.TCPTimeWait) {
		c.replicate(f)
	}
	if was == flowtable.TCPSynSent && c.cfg.Sequences != nil {
		c.ripened(slot, f)
	}
	if next != flowtable.TCPEstablished {
		c.revoke(slot)
	}
}

// replicate sends the newest state to the holder of the copy. Of a flow that nobody has
// granted yet the director knows a claim at most, and may have put off the answer until
// other owners have registered: an update would pass for the word of an owner, and
// answer it. So that waits for the grant (catchUp).
func (c *Core) replicate(f *flowtable.FlowSlot) {
	k, _ := f.Key[0].Canonical()
	if f.Replication&wire.ConnNoCopy != 0 || c.undecided(k, f) {
		return
	}
	holder := c.backup(k, c.self)
	switch {
	case holder == 0:
	case f.Flags&flowtable.FlowProvisional != 0:
		c.told(f, holder, false)
	default:
		c.msg.update = wire.Update{Conn: c.connOf(f)}
		c.wantsAnswer(&c.msg.update.Conn)
		c.told(f, holder, c.send(holder, &c.msg.update))
	}
}

// catchUp tells the holder of the copy what has become of a flow between its claim and
// the grant of that.
func (c *Core) catchUp(f *flowtable.FlowSlot) {
	if f.Copied&eraMask == unsent {
		c.replicate(f)
	}
}

// undecided reports whether this node is the director of a flow that it owns
// only as far as it knows: it says so to nobody before claimAgain has decided,
// because a director's word overrules other owners.
func (c *Core) undecided(k packet.FlowKey, f *flowtable.FlowSlot) bool {
	return f.Flags&flowtable.FlowProvisional != 0 && c.director(k) == c.self
}

// closeFlow ends an owned connection everywhere (FR15).
func (c *Core) closeFlow(slot uint32) {
	f := c.table.Flow(slot)
	keys, gen := f.Key, f.Gen
	// A TCP connection that ended in order has waited in TIME_WAIT already.
	c.remove(slot, flowtable.TCPState(f.State) < flowtable.TCPTimeWait)
	c.stats.Closed++
	c.closeBoth(keys, gen, true)
}

// closeBoth says of both keys that this node does not own the connection any more: in
// one message if one node keeps both. late: the connection is over, and nobody else's;
// the message may wait for others.
func (c *Core) closeBoth(keys [2]packet.FlowKey, gen uint32, late bool) {
	k, _ := keys[0].Canonical()
	if keys[1] == keys[0].Reverse() || c.cfg.NAT == nil {
		c.sendClose(wire.Close{Key: keys[0], Gen: gen, Late: late})
		return
	}
	to := c.backup(keys[1], c.self)
	if to != 0 && to == c.backup(k, c.self) {
		c.sendClose(wire.Close{Key: keys[0], Reply: keys[1], Gen: gen, Late: late})
		return
	}
	c.sendClose(wire.Close{Key: keys[0], Gen: gen, Late: late})
	if to != 0 {
		c.msg.close = wire.Close{Key: keys[1], Gen: gen, Late: late}
		c.send(to, &c.msg.close)
	}
}

// sendClose tells the holder of the copy that the connection is over, and who was
// that in the views before: it keeps for a while what has moved, but no second key.
func (c *Core) sendClose(m wire.Close) {
	k, _ := m.Key.Canonical()
	holder := c.backup(k, c.self)
	if holder != 0 {
		c.msg.close = m
		c.send(holder, &c.msg.close)
	}
	m.Reply = packet.FlowKey{}
	for _, o := range [...]*order.Order{c.sync.base, c.sync.before} {
		if o == nil || o == c.order {
			continue
		}
		if old := o.Backup(k, c.self); old != holder && old != 0 && old != c.self {
			c.msg.close = m
			c.send(old, &c.msg.close)
		}
	}
}

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
	c.closeBoth(keys, lost, false) // whoever keeps our copy: it is not ours any more
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

// bothWays gives a UDP flow the longer time once the responder has spoken.
func (c *Core) bothWays(slot uint32) {
	c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Timeout = c.cfg.Timeouts.UDPStream })
	c.replicate(c.table.Flow(slot))
}
