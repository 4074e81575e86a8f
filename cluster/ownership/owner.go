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
// keeps the key from being given out again at once (NT5), and so does a delegation in
// force; remove reports whether one of them did.
func (c *Core) remove(slot uint32, hold bool) (held bool) {
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
	return hold
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
	// A TCP connection that ended in order has waited in TIME_WAIT already, unless a SYN
	// has cut that short.
	rested := flowtable.TCPState(f.State) >= flowtable.TCPTimeWait && f.Expired(c.tick())
	held := c.remove(slot, !rested)
	c.stats.Closed++
	c.closeBoth(keys, wire.Close{Gen: gen, InOrder: !held, Late: true})
}

// closeBoth says of both keys that this node does not own the connection any more: in
// one message if one node keeps both. m says all but the keys.
func (c *Core) closeBoth(keys [2]packet.FlowKey, m wire.Close) {
	k, _ := keys[0].Canonical()
	if keys[1] == keys[0].Reverse() || c.cfg.NAT == nil {
		m.Key = keys[0]
		c.sendClose(m)
		return
	}
	to := c.backup(keys[1], c.self)
	if to != 0 && to == c.backup(k, c.self) {
		m.Key, m.Reply = keys[0], keys[1]
		c.sendClose(m)
		return
	}
	m.Key = keys[0]
	c.sendClose(m)
	if to != 0 {
		m.Key = keys[1]
		c.msg.close = m
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

// bothWays gives a UDP flow the longer time once the responder has spoken.
func (c *Core) bothWays(slot uint32) {
	c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Timeout = c.cfg.Timeouts.UDPStream })
	c.replicate(c.table.Flow(slot))
}
