package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// When a translated connection ends here, others may still have a copy of it:
// the Close is on its way, or lost in a cut that nobody has noticed yet. A node
// beyond the cut takes the connection over from such a copy when its endpoints
// go on, and may keep it for as long as it is away. Its reply key must not be
// another connection's meanwhile (NT4).
//
// So the key stays in use for a while, by a tomb: a stub without an owner. It is where
// the connection was owned and where its stub was; after an end in order only where the
// port is chosen (closeStub). The
// while is longer than the detection of a cut; if a node is missing then, the
// tomb stays until everybody is back, has registered what it owns, and has heard
// what this node has registered: the copy that a full round does not confirm is
// void (Core.void). Only what began after the node went missing is none of its
// business.

// What Backup.State says of a tomb.
const (
	tombFresh = 0x1 // its connection began when everybody in the view had registered
	tombHold  = 0x2 // hold-down follows: the connection did not end in order
)

// sweptAfter is how many settle times after everybody has registered nobody has a
// copy any more that nobody confirms.
const sweptAfter = 3

// entomb keeps the reply key of a connection that this node has no more in use; false when there is
// no room for a tomb, or somebody else's stub does so.
func (c *Core) entomb(keys [2]packet.FlowKey, created, gen uint32, hold bool) bool {
	if _, known := c.stub(keys[1]); known {
		return false
	}
	b := c.entry(nobody, keys[1], gen)
	b.Flags = wire.ConnTomb
	if c.sync.clean && flowtable.Since(created, c.sync.viewAt) > 0 {
		b.State = tombFresh
	}
	if hold {
		b.State |= tombHold
	}
	return c.putStub(b, keys[0], false) // the use until now is the tomb's
}

// claimed ends the reservation of a claim that is answered or given up. One that
// is given up, or was put to several directors, somebody may have granted all the
// same: the answer was lost in a cut, or came while the daemon stood still. Who
// granted it has a copy then, as of a connection that has ended here.
func (c *Core) claimed(w *wait) {
	conn := &w.conn
	if _, reserved := c.reserved[conn.Reply]; !reserved || !conn.Translated() {
		return
	}
	ref, f := c.owning(conn.Reply)
	if owns := ref != 0 && f.Key[0] == conn.Key; !owns && w.unheard &&
		c.entomb([2]packet.FlowKey{conn.Key, conn.Reply}, flowtable.TickOf(w.askedAt), conn.Gen, false) {
		delete(c.reserved, conn.Reply)
		return
	}
	c.unreserve(conn)
}

// makeTomb turns what stub returned for a second key into a tomb, with a hold-down after
// it unless the owner has said that none is due. A copy stays.
func (c *Core) makeTomb(e flowtable.Entry, reply packet.FlowKey, hold bool) {
	if joinedBy(e, reply) {
		stub, ok := c.part(e)
		if !ok {
			return
		}
		e = stub
	}
	e.SetOwner(uint8(nobody), 0)
	state := uint8(0)
	if hold {
		state = tombHold
	}
	e.SetLife(wire.ConnTomb, state)
	e.SetConfirmed(c.tick())
}

// awaitsHold reports whether a key is kept by a tomb, and its hold-down follows.
func awaitsHold(e flowtable.Entry) bool {
	return e.Flags()&wire.ConnTomb != 0 && e.State()&tombHold != 0
}

// Entombed calls visit with the reply keys that Config.Entombed hears of in a round.
func (c *Core) Entombed(visit func(reply packet.FlowKey)) {
	if c.cfg.NAT == nil {
		return
	}
	c.cfg.Stubs.Scan(0, int(^uint(0)>>1), func(e flowtable.Entry) bool {
		if awaitsHold(e) {
			visit(e.Key().Unpack())
		}
		return true
	})
}

// tombStays reports whether somebody may still use what a tomb keeps.
func (c *Core) tombStays(e flowtable.Entry) bool {
	if flowtable.Since(c.tick(), e.Confirmed()) <= int32(flowtable.TickOf(int64(c.cfg.SettleTime))) {
		return true
	}
	if e.State()&tombFresh != 0 && flowtable.Since(e.Confirmed(), c.sync.viewAt) > 0 {
		return false
	}
	if !c.sync.clean || c.cfg.NAT.Apart() {
		return true
	}
	// What this node has registered must have reached the others, and they must have
	// swept what that does not confirm (handedOver, and one pass of ageing). Were
	// they cut off before, the view would have changed in the rest of the time.
	return flowtable.Since(c.tick(), c.sync.cleanAt) <= int32(flowtable.TickOf(sweptAfter*int64(c.cfg.SettleTime)))
}
