package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// Durability sync (FR13): a packet that begins or confirms a connection leaves
// when somebody else could go on with it. Its claim comes first, and the grant says
// that the director has the copy. Where this node is the director itself, and for
// the second key of a translated connection, the holder answers Kept. What confirms
// is the initiator's ACK of TCP and the responder's first datagram of UDP; until
// then every packet comes to Go, so that none overtakes it in the fast path.
//
// The wait is bounded (Config.SyncWait): a holder that dies meanwhile must not stop
// a connection whose owner lives. What leaves unanswered is exposed, and counted.

// awaited is a set of answers.
type awaited uint8

const (
	keptCopy awaited = 1 << iota
	keptStub
)

// syncing reports whether a flow of durability sync still has packets to hold.
func syncing(f *flowtable.FlowSlot) bool {
	return f.Replication&wire.ConnSync != 0 && f.Flags&flowtable.FlowPunt != 0 && !isMapping(f)
}

// beginning returns the flags of a flow whose first packet waits.
func beginning(conn *wire.Conn) uint8 {
	if conn.Flags&wire.ConnSync != 0 {
		return flowtable.FlowPunt
	}
	return 0
}

// established reports whether both ends of a connection have agreed to it, or need
// not.
func (c *Core) established(conn *wire.Conn) bool {
	switch conn.Key.Proto {
	case packet.ProtoTCP:
		return conn.State >= uint8(flowtable.TCPEstablished)
	case packet.ProtoUDP:
		return conn.Timeout >= c.cfg.Timeouts.UDPStream
	}
	return false // of one that has no such moment the first packet decides
}

// wantsAnswer marks what is sent of a connection while packets may wait for it.
func (c *Core) wantsAnswer(conn *wire.Conn) {
	if conn.Flags&wire.ConnSync == 0 {
		return
	}
	if ref := c.table.Lookup(conn.Key); ref != 0 && !ref.IsForward() && c.table.Flow(ref.Slot()).Flags&flowtable.FlowPunt != 0 {
		conn.Flags |= wire.ConnAnswer
	}
}

// unanswered returns what has been sent of a connection that others have to store.
// The copy is where the director put it if another node granted it.
func (c *Core) unanswered(conn *wire.Conn, granted bool) (need awaited) {
	k, _ := conn.Key.Canonical()
	if !granted && c.backup(k, c.self) != 0 {
		need |= keptCopy
	}
	if conn.Translated() && c.backup(conn.Reply, c.self) != 0 {
		need |= keptStub
	}
	return need
}

// openSync is the first packet of a connection that this node directs itself.
func (c *Core) openSync(p *Packet, k packet.FlowKey, slot uint32, conn *wire.Conn) Verdict {
	need := c.unanswered(conn, false)
	if need == 0 {
		c.alone(conn.Key)
		c.ripen(conn.Key)
		return c.owned(p, slot, 0)
	}
	return c.holdForKept(p, k, conn, need)
}

// granted goes on with a claim that was granted. bound: who granted it has stored the
// second key as well.
func (c *Core) granted(w *wait, from wire.NodeID, conn *wire.Conn, bound bool) {
	need := c.unanswered(conn, from != c.self)
	if bound && c.backup(conn.Reply, c.self) == from {
		need &^= keptStub
	}
	if need == 0 {
		if from == c.self {
			c.alone(conn.Key)
		}
		c.letGo(w)
		return
	}
	c.unreserve(&w.conn)
	c.pending.strangers.settled(w) // it counts as a connection now
	w.kind, w.conn, w.missing, w.retryAt = waitKept, *conn, need, 0
	w.deadline = c.now + int64(c.cfg.SyncWait)
}

// holdForKept holds a packet until what was sent of its connection is stored.
func (c *Core) holdForKept(p *Packet, k packet.FlowKey, conn *wire.Conn, need awaited) Verdict {
	if len(c.pending.byKey) >= c.cfg.MaxPending || !c.mayHold(p, waitKept) {
		return drop(ReasonHoldLimit)
	}
	w := c.pending.add(k, waitKept)
	w.conn, w.missing, w.askedAt = *conn, need, c.now
	w.deadline = c.now + int64(c.cfg.SyncWait)
	c.pending.keep(w, p)
	return Verdict{Op: OpHold}
}

// heldForKept keeps a packet behind one that waits.
func (c *Core) heldForKept(p *Packet, f *flowtable.FlowSlot) (v Verdict, held bool) {
	k, _ := f.Key[0].Canonical()
	if w := c.pending.get(k); w != nil && w.kind == waitKept {
		return c.hold(w, p), true
	}
	return Verdict{}, false
}

// confirmKept holds the packet that has just confirmed a connection.
func (c *Core) confirmKept(p *Packet, slot uint32, f *flowtable.FlowSlot) (v Verdict, held bool) {
	conn := c.connOf(f)
	if !c.established(&conn) && (p.Kind == KindTCP || p.Kind == KindUDP) {
		return Verdict{}, false
	}
	k, _ := conn.Key.Canonical()
	switch {
	case p.Kind != KindUDP && conn.State != uint8(flowtable.TCPEstablished):
		// It is over before it was confirmed, or the first packet was all.
	case c.backup(k, c.self) == 0:
		c.alone(conn.Key)
	default:
		return c.holdForKept(p, k, &conn, keptCopy), true
	}
	c.toFastPath(slot)
	return Verdict{}, false
}

// toFastPath ends the time in which every packet of a flow comes to Go.
func (c *Core) toFastPath(slot uint32) {
	c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Flags &^= flowtable.FlowPunt })
}

// ripen ends that time if no further packet has to wait.
func (c *Core) ripen(key packet.FlowKey) {
	if ref := c.table.Lookup(key); ref != 0 && !ref.IsForward() {
		f := c.table.Flow(ref.Slot())
		conn := c.connOf(f)
		if proto := conn.Key.Proto; syncing(f) && (c.established(&conn) || proto != packet.ProtoTCP && proto != packet.ProtoUDP) {
			c.toFastPath(ref.Slot())
		}
	}
}

// letGo sends on what has waited.
func (c *Core) letGo(w *wait) {
	c.ripen(w.conn.Key)
	c.answered(w)
}

// tellKept says to an owner that a copy with this state, or a stub (0), names it.
func (c *Core) tellKept(to wire.NodeID, k packet.FlowKey, e flowtable.Entry, state uint8) {
	if wire.NodeID(e.Owner()) != to {
		return
	}
	c.msg.kept = wire.Kept{Key: k, Gen: e.Gen(), State: state}
	c.send(to, &c.msg.kept)
}

// onKept lets go of what waits for it.
func (c *Core) onKept(m *wire.Kept) {
	ref := c.table.Lookup(m.Key)
	if ref == 0 || ref.IsForward() {
		return
	}
	f := c.table.Flow(ref.Slot())
	k, _ := f.Key[0].Canonical()
	w := c.pending.get(k)
	if w == nil || w.kind != waitKept || f.Gen != m.Gen {
		return
	}
	switch {
	case m.Key != f.Key[0]:
		w.missing &^= keptStub
	case m.State == w.conn.State: // else that of the packet before
		w.missing &^= keptCopy
	}
	if w.missing == 0 {
		c.letGo(w)
	}
}

// secureAgain sends what has not been answered to whom a new view wants it.
func (c *Core) secureAgain(w *wait) {
	ref := c.table.Lookup(w.conn.Key)
	if ref == 0 || ref.IsForward() {
		c.answered(w)
		return
	}
	f := c.table.Flow(ref.Slot())
	conn := c.connOf(f)
	k, _ := conn.Key.Canonical()
	if f.Flags&flowtable.FlowProvisional != 0 {
		c.retryLater(w)
		return
	}
	w.conn, w.missing = conn, c.unanswered(&conn, false)
	if holder := c.backup(k, c.self); holder != 0 {
		conn.Flags |= wire.ConnAnswer
		c.msg.update = wire.Update{Conn: conn}
		c.told(f, holder, c.send(holder, &c.msg.update))
	}
	if to := c.backup(conn.Reply, c.self); w.missing&keptStub != 0 {
		c.msg.bind = wire.Bind{Key: conn.Reply, Conn: conn.Key, Gen: conn.Gen, Timeout: conn.Timeout, Flags: conn.Flags | wire.ConnAnswer}
		c.send(to, &c.msg.bind)
	}
	if w.missing == 0 {
		c.expose(w)
	}
}

// expose lets packets go that nobody has answered for.
func (c *Core) expose(w *wait) {
	c.alone(w.conn.Key)
	c.letGo(w)
}

// alone counts a packet that leaves while its connection lives at this node only,
// as far as is known.
func (c *Core) alone(k packet.FlowKey) {
	c.stats.Exposed++
	if c.cfg.Exposed != nil {
		c.cfg.Exposed(k)
	}
}
