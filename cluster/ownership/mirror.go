package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// A connection may exist twice, once each way. A side of a partition that knew a
// mapping, but not the connection through it, takes the responder's next packet for
// a stranger's first one. Or each side made a mapping of its own: after the heal one
// won the connection and another the mapping, to which the responder still sends.
// What is made then is the image of the connection: its second key is the first key
// of the other, and it has a first key, and so a director, of its own. The second
// keys of both are the same pair only in the first case.
//
// Where what the host sends leads to, both are known: by the copy of the one and
// the stub of the other. What the inside began goes on, and the image's owner is
// redirected to it by the key that they share. Only while the connection is just
// being claimed it gives way to an image that is there already.

// image reports whether a connection begins outside, at an address of NAT.
func image(first, second packet.FlowKey) bool { return second.Src != first.Dst }

// A cluster whose connections all begin at hosts behind its pools has no images, and
// searches for none: each would be a cache miss or two of every message. So every
// entry that is stored says whether it is of another kind; one is enough to search
// from then on.

// noteFlow notes a flow or a copy: its initiator has kept its address, or it is an
// image. Nothing else is found by the first key of an image, or by its second.
func (c *Core) noteFlow(first, second packet.FlowKey) {
	if second.Dst == first.Src && second != first.Reverse() || image(first, second) {
		c.images = true
	}
}

// noteStub notes a stub. One in a unit is found by no key that is in none.
func (c *Core) noteStub(first, second packet.FlowKey) {
	c.noteFlow(first, second)
	if _, in := c.unitOf(second); !in {
		c.images = true
	}
}

// owning returns the flow of this node that has a key, in one direction or the
// other; ref is 0 when there is none.
func (c *Core) owning(k packet.FlowKey) (ref flowtable.Ref, f *flowtable.FlowSlot) {
	if ref = c.table.Lookup(k); ref == 0 || ref.IsForward() {
		return 0, nil
	}
	return ref, c.table.Flow(ref.Slot())
}

// begunInside returns the owner of the connection with this first key, as far as
// this node knows: its own one, or one that it has a copy of. One that is still being
// claimed may have to give way: its director says so.
func (c *Core) begunInside(key packet.FlowKey) (owner wire.NodeID, known bool) {
	k, _ := key.Canonical()
	if ref, f := c.owning(key); ref != 0 {
		return c.self, f.Key[0] == key && (f.Flags&flowtable.FlowProvisional == 0 || c.director(k) == c.self)
	}
	e, known := c.copyOf(k)
	if !known || e.Key() != flowtable.Pack(key) {
		return 0, false
	}
	return wire.NodeID(e.Owner()), c.ownerLives(e)
}

// elsewhere reports whether another node owns the connection that the inside began
// with this key, as far as this node knows without asking.
func (c *Core) elsewhere(key packet.FlowKey) bool {
	if ref := c.table.Lookup(key); ref != 0 && ref.IsForward() {
		f := c.table.Forward(ref.Slot())
		return c.alive(wire.NodeID(f.Owner), f.Incarnation)
	}
	owner, known := c.begunInside(key)
	return known && owner != c.self
}

// otherImage returns the owner of another connection with the second key of an
// image: the same stranger came by two mappings of one endpoint. Who was here first
// goes on; between two that own one and tell each other, where the key leads first.
func (c *Core) otherImage(from wire.NodeID, m *wire.Bind) (owner wire.NodeID, known bool) {
	if ref, f := c.owning(m.Key); ref != 0 {
		if f.Key[1] != m.Key || f.Key[0] == m.Conn {
			return 0, false
		}
		if from == c.director(m.Key) {
			c.surrender(ref, from, m.Gen)
			return 0, false
		}
		return c.self, true
	}
	e, known := c.stub(m.Key)
	if !known || e.Flags()&wire.ConnTomb != 0 || !c.ownerLives(e) || c.void(e, m.Key) {
		return 0, false
	}
	return wire.NodeID(e.Owner()), c.firstOf(e, m.Key) != m.Conn
}

// withoutMirror ends an image when a second key is bound: that of the image itself,
// or that of the connection that it is the image of. False: the bind is of no use.
func (c *Core) withoutMirror(owner wire.NodeID, m *wire.Bind) bool {
	if image(m.Conn, m.Key) {
		other, known := c.begunInside(m.Key)
		if !known {
			other, known = c.otherImage(owner, m)
		}
		if !known || other == owner {
			return true
		}
		if owner != nobody {
			c.redirect(owner, m.Key, other, m.Gen)
		}
		return false
	}
	if !c.images {
		return true
	}
	if ref, f := c.owning(m.Key); ref != 0 {
		if f.Key == [2]packet.FlowKey{m.Key, m.Conn} {
			if owner == nobody {
				return false // the image goes on
			}
			c.surrender(ref, owner, m.Gen)
		}
		return true
	}
	k, _ := m.Key.Canonical()
	e, known := c.copyOf(k)
	if !known || e.Key() != flowtable.Pack(m.Key) || !c.ownerLives(e) || owner == nobody {
		return true
	}
	if second, _ := e.Other(); second == m.Conn && wire.NodeID(e.Owner()) != owner {
		to, gen := wire.NodeID(e.Owner()), e.Gen()
		c.forgetCopy(k)
		c.redirect(to, m.Key, owner, gen)
	}
	return true
}

// keepsMirrored settles what another node says of a connection when this one owns
// its image, or what it is the image of. True: the other one's gives way, and has
// been told.
func (c *Core) keepsMirrored(from wire.NodeID, conn *wire.Conn, reregister bool) bool {
	if !conn.Translated() || from == c.self || c.cfg.NAT == nil {
		return false
	}
	if image(conn.Key, conn.Reply) {
		ref, f := c.owning(conn.Reply)
		if ref == 0 || f.Key[0] != conn.Reply {
			return false
		}
		key := conn.Reply
		if f.Key[1] == conn.Key {
			key = conn.Key // what waits for its claim belongs to this node's connection
		}
		c.redirect(from, key, c.self, conn.Gen)
		return true
	}
	if !c.images {
		return false
	}
	ref, f := c.owning(conn.Key)
	if ref == 0 || f.Key[1] != conn.Key || !image(f.Key[0], f.Key[1]) {
		return false
	}
	if !reregister {
		c.redirect(from, conn.Key, c.self, conn.Gen)
		return true
	}
	c.surrender(ref, from, conn.Gen)
	return false
}

// mirrored does the same at the director when other nodes own both: its stub has
// the claimant's key as a second one.
func (c *Core) mirrored(from wire.NodeID, conn *wire.Conn, reregister bool) bool {
	if !conn.Translated() {
		return false
	}
	if _, in := c.unitOf(conn.Key); !in && !c.images {
		return false
	}
	e, known := c.stub(conn.Key)
	owner := nobody
	if known {
		owner = wire.NodeID(e.Owner())
	}
	if !known || owner == from || e.Flags()&wire.ConnTomb != 0 || !c.ownerLives(e) || c.void(e, conn.Key) {
		return false
	}
	if reregister && !image(conn.Key, conn.Reply) {
		gen := e.Gen()
		c.makeTomb(e, conn.Key, true)
		c.redirect(owner, conn.Key, from, gen)
		return false
	}
	c.redirect(from, conn.Key, owner, conn.Gen)
	return true
}
