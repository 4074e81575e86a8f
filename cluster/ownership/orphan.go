package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
)

// An orphan is a copy, or a stub, of a connection whose owner is gone from the
// view. It goes on naming that owner and its life. For the owner may only have been
// beyond a cut, and the connection may have ended there: its Close could not reach
// the copy. When the owner is back in the same life, what it registers decides: what
// its full round does not confirm is void. Until it has registered the orphan is
// nobody's, and a question about it waits (leftover).

func isOrphan(e flowtable.Entry) bool { return e.Flags()&wire.ConnOrphan != 0 }

// orphaned is the flag of what is stored for owner.
func orphaned(owner wire.NodeID) uint8 {
	if owner == nobody {
		return wire.ConnOrphan
	}
	return 0
}

// ownerLives reports whether the owner that a copy or a stub names is in the view and has
// been all the time since.
func (c *Core) ownerLives(e flowtable.Entry) bool {
	return !isOrphan(e) && c.alive(wire.NodeID(e.Owner()), e.Incarnation())
}

func lastOwner(e flowtable.Entry) wire.LastOwner {
	return wire.LastOwner{ID: wire.NodeID(e.Owner()), Life: e.Incarnation()}
}

// own reports whether an orphan names this node, in this life.
func (c *Core) own(o wire.LastOwner) bool {
	return o.ID == c.self && c.alive(o.ID, o.Life)
}

// storeFor keeps a copy of an owner, or an orphan of last.
func (c *Core) storeFor(owner wire.NodeID, conn *wire.Conn, last wire.LastOwner) {
	c.store(owner, conn)
	k, _ := conn.Key.Canonical()
	if e, known := c.dir.Get(k); known && isOrphan(e) {
		e.SetOwner(uint8(last.ID), last.Life)
	}
}

// alsoOf notes that there is another copy of an orphan's generation. Each side of a
// partition may have had an owner: then no round of one of them says that the
// connection has ended.
func (c *Core) alsoOf(e flowtable.Entry, last wire.LastOwner) {
	if isOrphan(e) && lastOwner(e) != last {
		if e.Joined() {
			c.part(e)
		}
		e.SetOwner(uint8(nobody), 0)
	}
}
