package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// nobody stands for the owner of a connection whose owner has died.
const nobody wire.NodeID = 0

// onClaim is compare-and-set at the director: the first claim wins, a higher
// generation overrules, the copy of a dead owner is handed over once (FR11).
func (c *Core) onClaim(from wire.NodeID, conn wire.Conn, reregister bool, serial uint32) {
	asked := conn.Gen
	k, _ := conn.Key.Canonical()
	bound := conn.Bound && !reregister
	conn.Bound = false
	if c.keepsMirrored(from, &conn, reregister) {
		return
	}
	if ref := c.table.Lookup(conn.Key); ref != 0 && !ref.IsForward() {
		f := c.table.Flow(ref.Slot())
		switch {
		case from == c.self:
			c.onGrant(c.self, c.connOf(f), false)
			return
		case c.director(k) == c.self && c.proofFor(from, &conn, ref.Slot(), f):
			return
		case f.Gen > conn.Gen:
			c.redirect(from, conn.Key, c.self, f.Gen)
			return
		case f.Gen == conn.Gen && c.director(k) != c.self:
			// A claim from an older view. Only the director chooses between
			// equals: were it to choose the claimant while this node says "me",
			// both would step back.
			c.redirect(from, conn.Key, wire.OwnerRetry, 0)
			return
		case f.Gen == conn.Gen && !(reregister && f.Flags&flowtable.FlowProvisional != 0):
			c.redirect(from, conn.Key, c.self, f.Gen)
			return
		}
		c.surrender(ref, from, conn.Gen)
	}
	if c.director(k) != c.self {
		if reregister {
			c.remember(from, conn, wire.LastOwner{}) // this node's view is the older one
			return
		}
		c.redirect(from, conn.Key, wire.OwnerRetry, 0)
		return
	}
	c.stats.Answered++
	if c.mirrored(from, &conn, reregister) {
		return
	}
	e, known := c.copyOf(k)
	switch {
	case !known:
		if !reregister && !c.complete(k) {
			conn.Bound = bound
			c.park(k, ask{from: from, claim: true, conn: conn})
			return
		}
	case c.isOwner(e, from):
		switch {
		case conn.Gen >= e.Gen():
		case !reregister && begunAnew(&conn, e):
			conn.Gen = e.Gen() + 1
		default:
			conn = c.connOfCopy(e) // it was granted before and lost the answer
			c.keepGranted(from, &conn)
			c.grant(from, conn, true)
			return
		}
	case c.ownerLives(e) && !reregister && conn.Gen == e.Gen() && !c.confirmed(e) && c.sync.waiting != 0:
		// Its owner may have given it up meanwhile, to this very claimant even, whose
		// claim is from before that. Told to give way, it would leave nobody.
		conn.Bound = bound
		c.park(k, ask{from: from, claim: true, conn: conn})
		return
	case c.ownerLives(e):
		old := wire.NodeID(e.Owner())
		kept := c.connOfCopy(e)
		lesser := conn.Gen < e.Gen() && !(reregister && !c.confirmed(e) && c.another(&conn, e))
		if !c.surer(&conn, &kept) && (lesser || conn.Gen == e.Gen() && (!reregister || c.confirmed(e))) {
			c.redirect(from, conn.Key, old, e.Gen())
			return
		}
		if conn.Gen <= e.Gen() {
			// An earlier answer may have told the claimant the opposite: a new
			// generation overrules it, for both.
			conn.Gen = e.Gen() + 1
			c.keepGranted(from, &conn)
			c.grant(from, conn, true)
		}
		c.redirect(old, conn.Key, from, conn.Gen)
	case e.Flags()&wire.ConnNoCopy != 0:
		conn.Gen = max(conn.Gen, e.Gen()+1)
	case !reregister && c.leftover(k, e):
		conn.Bound = bound
		c.park(k, ask{from: from, claim: true, conn: conn})
		return
	case !reregister && begunAnew(&conn, e):
		conn.Gen = max(conn.Gen, e.Gen()+1)
	case !reregister:
		c.adopt(from, e)
		c.unpark(k)
		return
	case conn.Gen < e.Gen():
		c.outlive(from, conn, e)
		c.unpark(k)
		return
	}
	if reregister {
		c.keep(from, &conn)
	} else {
		c.keepGranted(from, &conn)
		conn.Bound = bound && c.bindClaimed(from, &conn)
		c.grantClaim(from, &conn, asked, serial)
		if conn.Bound {
			second, _ := conn.Reply.Canonical()
			c.unpark(second)
		}
	}
	c.unpark(k)
}

// onQuery answers who owns a connection. Nobody alive but a copy: the asker
// takes over.
func (c *Core) onQuery(from wire.NodeID, key packet.FlowKey) {
	k, _ := key.Canonical()
	if ref := c.table.Lookup(key); ref != 0 && !ref.IsForward() {
		c.touchMapping(key)
		c.answer(from, key, c.self, c.table.Flow(ref.Slot()).Gen)
		return
	}
	if c.answerStub(from, key) {
		return
	}
	e, known := c.copyOf(k)
	live := known && c.ownerLives(e)
	if c.director(k) != c.self {
		if live && wire.NodeID(e.Owner()) != from {
			c.answer(from, key, wire.NodeID(e.Owner()), e.Gen())
		} else {
			c.answer(from, key, wire.OwnerRetry, 0)
		}
		return
	}
	c.stats.Answered++
	switch {
	case !known && c.knowsAll(key):
		c.answer(from, key, 0, 0)
	case !known:
		// Its claim may be on the way: the SYN-ACK often comes first.
		c.park(k, ask{from: from, conn: wire.Conn{Key: key}})
	case c.isOwner(e, from):
		c.grantAgain(from, e)
	case live:
		if key.Dst == (packet.Addr{}) {
			// A connection that another node owns, made through this mapping, keeps it.
			c.msg.query = wire.Query{Key: key}
			c.send(wire.NodeID(e.Owner()), &c.msg.query)
		}
		c.answer(from, key, wire.NodeID(e.Owner()), e.Gen())
	case e.Flags()&wire.ConnNoCopy != 0:
		c.answer(from, key, 0, 0)
	case c.leftover(k, e):
		c.park(k, ask{from: from, conn: wire.Conn{Key: key}})
	default:
		c.adopt(from, e)
		c.unpark(k)
	}
}

// knowsAll reports whether no claim can be on its way that a packet to an address of
// a pool belongs to: this node allocates its port, so it knows of every connection
// that has it, unless a mapping of another node has, through which that one makes
// connections. A flood of packets to ports that nobody has must not fill the room
// of those that wait for an answer.
func (c *Core) knowsAll(k packet.FlowKey) bool {
	if c.cfg.NAT == nil || c.sync.waiting != 0 || !c.sync.clean || c.cfg.NAT.Apart() {
		return false
	}
	if m, ok := c.cfg.NAT.Mapped(k); !ok || c.bound(m) {
		return false
	}
	unit, ok := c.cfg.NAT.Unit(k)
	return ok && c.cfg.NAT.Holds(unit)
}

// onUpdate stores the newest state of an owner, or the copy of a dead owner's
// connection that another holder hands to its new director.
func (c *Core) onUpdate(from wire.NodeID, conn wire.Conn, last wire.LastOwner) {
	bind := bindOf(&conn)
	bound := conn.Bound && conn.Flags&(wire.ConnOrphan|wire.ConnYours) == 0 && c.cfg.NAT != nil
	conn.Bound = false
	c.updated(from, conn, last)
	if bound {
		c.onBind(from, &bind)
	}
}

func (c *Core) updated(from wire.NodeID, conn wire.Conn, last wire.LastOwner) {
	k, _ := conn.Key.Canonical()
	orphan, asked := conn.Flags&wire.ConnOrphan != 0, conn.Flags&wire.ConnAnswer != 0
	conn.Flags &^= wire.ConnAnswer
	if conn.Flags&wire.ConnYours != 0 {
		c.onYours(from, conn)
		return
	}
	if !orphan && c.keepsMirrored(from, &conn, true) {
		return
	}
	if ref := c.table.Lookup(conn.Key); ref != 0 && !ref.IsForward() {
		f := c.table.Flow(ref.Slot())
		if orphan || f.Gen > conn.Gen || f.Gen == conn.Gen && from != c.director(k) {
			if !orphan {
				c.lastWord(from, ref, &conn)
			}
			return
		}
		if mine := c.connOf(f); !orphan && c.director(k) == c.self && c.surer(&mine, &conn) && c.proofFor(from, &conn, ref.Slot(), f) {
			return // it comes from where nobody knows yet that these numbers are proven
		}
		c.surrender(ref, from, conn.Gen)
	}
	if orphan && c.own(last) {
		return // it has ended here, or is another's
	}
	if orphan {
		from = nobody
	}
	c.remember(from, conn, last)
	if e, known := c.dir.Get(k); asked && known {
		c.tellKept(from, conn.Key, e, e.State())
	}
	c.unpark(k)
}

// remember stores a copy for from, nobody for a dead owner that was last, unless a better one
// is there. Of two owners of one generation (two sides of a partition granted
// it) the director wins, for it redirects the other.
func (c *Core) remember(from wire.NodeID, conn wire.Conn, last wire.LastOwner) {
	k, _ := conn.Key.Canonical()
	e, known := c.copyOf(k)
	if !known {
		c.storeFor(from, &conn, last)
		return
	}
	old := wire.NodeID(e.Owner())
	live := c.ownerLives(e)
	rival := live && old != from
	switch {
	case conn.Gen > e.Gen() && from == nobody && live && c.another(&conn, e):
		living := c.connOfCopy(e)
		living.Gen = conn.Gen + 1
		c.keep(old, &living)
		c.grant(old, living, true)
	case conn.Gen > e.Gen() && from == nobody && live:
		// Two sides of a partition went on with it, and the owner on the side
		// that was ahead is dead: the living one goes on in its place.
		conn.Gen++
		c.keepGranted(old, &conn)
		c.grant(old, conn, true)
	case conn.Gen > e.Gen():
		c.storeFor(from, &conn, last)
		if rival {
			c.redirect(old, conn.Key, from, conn.Gen)
		}
	case conn.Gen == e.Gen() && from == nobody:
		c.alsoOf(e, last)
	case conn.Gen == e.Gen():
		if !rival || from == c.director(k) {
			c.store(from, &conn)
		}
	case from == nobody:
	case rival && from == c.director(k) && e.Flags()&wire.ConnGranted != 0 && !c.another(&conn, e):
		// Its owner has not said since that it has heard of the grant.
		c.grantAgain(old, e) // it claims it from the director then, which owns it until it does
	case rival:
		c.redirect(from, conn.Key, old, e.Gen())
	case live:
		c.grantAgain(from, e) // it has not heard of that yet
	default:
		c.outlive(from, conn, e)
	}
}

// onClose forgets what the sender owned.
func (c *Core) onClose(from wire.NodeID, key packet.FlowKey, gen uint32, hold bool) {
	k, _ := key.Canonical()
	if e, known := c.dir.Get(k); known && wire.NodeID(e.Owner()) == from && e.Gen() <= gen {
		c.forgetCopy(k)
	}
	c.closeStub(from, key, gen, hold)
}

// adopt hands a dead owner's connection to the asker, once: the entry names
// the new owner and generation before the grant leaves.
func (c *Core) adopt(to wire.NodeID, e flowtable.Entry) {
	conn := c.connOfCopy(e)
	conn.Gen++
	c.keepGranted(to, &conn)
	c.grant(to, conn, true)
}

// outlive lets a living owner go on that was overruled by one that has died
// since, or whose connection has ended where nobody here heard of it.
func (c *Core) outlive(from wire.NodeID, conn wire.Conn, e flowtable.Entry) {
	if !c.another(&conn, e) {
		c.adopt(from, e)
		return
	}
	conn.Gen = e.Gen() + 1
	c.keepGranted(from, &conn)
	c.grant(from, conn, true)
}

// Copies of a connection that ended beyond a cut stay behind: its Close could
// not reach them. The same ports may begin the next one long before they are
// gone, and that one must not get the translation of the last, whose port may be
// another's by now (NT4).

// begunAnew reports whether a claim is for a new connection, although there is a
// copy of one with the same key: it begins with a SYN, and the handshake of the
// other was over, so this is no repetition of it.
func begunAnew(conn *wire.Conn, e flowtable.Entry) bool {
	return conn.State == uint8(flowtable.TCPSynSent) && e.State() >= uint8(flowtable.TCPEstablished)
}

// another reports whether a copy is of another connection with the same key: a
// connection that is handed over keeps its translation and its sequence numbers.
func (c *Core) another(conn *wire.Conn, e flowtable.Entry) bool {
	copied := c.connOfCopy(e)
	return conn.ReplyKey() != copied.ReplyKey() || conn.SeqDelta != copied.SeqDelta
}

// leftover reports whether a copy of a dead owner is from an earlier view or
// from another holder while owners still re-register: one of them may have
// adopted the connection meanwhile. A copy is not left over when its place was
// here for the owner that it names: nobody else could have.
func (c *Core) leftover(k packet.FlowKey, e flowtable.Entry) bool {
	owner := wire.NodeID(e.Owner())
	if c.complete(k) {
		return false
	}
	_, inUnit := c.unitOf(k)
	return inUnit || c.former(k) || isOrphan(e) || c.sync.whole == nil || c.sync.whole.Backup(k, owner) != c.self
}

// keep records an owner at its director. The director's own connections stand
// in its flow table and need no entry.
func (c *Core) keep(owner wire.NodeID, conn *wire.Conn) {
	if owner == c.self {
		k, _ := conn.Key.Canonical()
		c.forgetCopy(k)
		return
	}
	c.store(owner, conn)
}

// keepGranted is keep for an owner that this node is about to grant it to. Until
// the owner can have heard of that, no round of its own can confirm it.
func (c *Core) keepGranted(owner wire.NodeID, conn *wire.Conn) {
	c.keep(owner, conn)
	k, _ := conn.Key.Canonical()
	if e, known := c.dir.Get(k); known && owner != c.self {
		e.SetFlags(e.Flags() | wire.ConnGranted)
	}
}

// store writes a director or backup entry.
func (c *Core) store(owner wire.NodeID, conn *wire.Conn) {
	b := c.entry(owner, conn.Key, conn.Gen)
	b.State, b.In, b.Out, b.Flags = conn.State, conn.In, conn.Out, conn.Flags&^wire.ConnOrphan|orphaned(owner)
	b.Rule, b.Timeout = conn.Rule, conn.Timeout
	c.partUnlike(&b, conn.Reply)
	err := error(nil)
	if conn.Translated() {
		c.noteFlow(conn.Key, conn.Reply)
		err = c.dir.PutPair(b, conn.Reply)
	} else {
		err = c.dir.Put(b)
	}
	if err != nil {
		c.stats.CopiesFull++
		return
	}
	c.dir.SetSeqDelta(conn.Key, conn.SeqDelta)
	if conn.Translated() && c.cfg.NAT != nil {
		c.joinsStub(conn)
	}
}

// entry is what copies and stubs have in common.
func (c *Core) entry(owner wire.NodeID, k packet.FlowKey, gen uint32) flowtable.Backup {
	b := flowtable.Backup{Key: flowtable.Pack(k), Gen: gen, Owner: uint8(owner), Confirmed: c.confirmedNow(owner)}
	if owner != nobody {
		b.Incarnation = c.incarnation(owner)
	}
	return b
}

// confirmedNow is the tick of what owner confirms now: later than the beginning of
// its newest full round, also when that was in this very tick (onSynced).
func (c *Core) confirmedNow(owner wire.NodeID) uint32 {
	now := c.tick()
	if begun := c.sync.begun[owner]; begun != 0 && flowtable.Since(begun, now) > 0 {
		return begun
	}
	return now
}

// connOfCopy is the connection of a copy as it travels.
func (c *Core) connOfCopy(e flowtable.Entry) wire.Conn {
	conn := wire.Conn{
		Key: e.Key().Unpack(), Gen: e.Gen(), In: e.In(), Out: e.Out(),
		State: e.State(), Flags: e.Flags() &^ (wire.ConnGranted | wire.ConnOrphan), Rule: e.Rule(), Timeout: e.Timeout(),
		SeqDelta: e.SeqDelta(),
	}
	if c.cfg.NAT != nil {
		conn.Reply, _ = e.Other()
	}
	return conn
}

// confirmed reports whether the owner of an entry has said in this view that
// it owns it. An older entry may be of an owner that lost the connection while
// this node was on the other side of a partition.
func (c *Core) confirmed(e flowtable.Entry) bool {
	return flowtable.Since(e.Confirmed(), c.sync.viewAt) > 0
}

func (c *Core) isOwner(e flowtable.Entry, id wire.NodeID) bool {
	return wire.NodeID(e.Owner()) == id && c.ownerLives(e)
}

func (c *Core) grant(to wire.NodeID, conn wire.Conn, adopted bool) {
	if !adopted {
		conn.SeqDelta = 0 // the claimant has chosen it
	}
	c.msg.grant = wire.Grant{Conn: conn, Adopted: adopted}
	c.send(to, &c.msg.grant)
}

// grantAgain repeats the grant of a copy to its owner, which has not heard of it.
func (c *Core) grantAgain(to wire.NodeID, e flowtable.Entry) {
	e.SetFlags(e.Flags() | wire.ConnGranted)
	e.SetConfirmed(c.confirmedNow(to))
	c.grant(to, c.connOfCopy(e), true)
}

func (c *Core) redirect(to wire.NodeID, key packet.FlowKey, owner wire.NodeID, gen uint32) {
	c.msg.redirect = wire.Redirect{Key: key, Owner: owner, Gen: gen}
	c.send(to, &c.msg.redirect)
}

func (c *Core) answer(to wire.NodeID, key packet.FlowKey, owner wire.NodeID, gen uint32) {
	c.msg.owner = wire.Owner{Key: key, Owner: owner, Gen: gen}
	c.send(to, &c.msg.owner)
}
