package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// The copy of a translated connection and the stub of its second key may be at one
// node: always in a cluster of two, as a rule where the owner can choose (NAT.Source).
// They say the same then, and are one entry, a joined copy, which is found by both
// keys. That is a matter of memory and of nothing else: what anybody is told, what is
// swept and what a key is in use by are those of a copy and a stub apart. So
//
//   - they are joined only while they agree: one owner, life and generation, which
//     lives, the same two keys, and no tomb;
//   - who confirms one of them confirms both, for both say that this owner has this
//     connection with this translation;
//   - whatever changes one of them and not the other parts them first, and goes on as
//     if they had never been joined.

// joinedBy reports whether what stub returned for a second key is a joined copy.
func joinedBy(e flowtable.Entry, reply packet.FlowKey) bool { return e.Key() != flowtable.Pack(reply) }

// firstOf returns the first key of what stub returned for a second one.
func (c *Core) firstOf(e flowtable.Entry, reply packet.FlowKey) packet.FlowKey {
	if joinedBy(e, reply) {
		return e.Key().Unpack()
	}
	first, _ := e.Other()
	return first
}

// agree reports whether a copy and a stub name the same owner.
func agree(a flowtable.Entry, b *flowtable.Backup) bool {
	return a.Owner() == b.Owner && a.Incarnation() == b.Incarnation && a.Gen() == b.Gen && (a.Flags()^b.Flags)&wire.ConnOrphan == 0
}

// joins makes one entry of a stub that is to be stored and the copy of its connection,
// if that is here and they agree. A stub of its own goes.
func (c *Core) joins(stub *flowtable.Backup, first, reply packet.FlowKey) bool {
	if stub.Flags&(wire.ConnTomb|wire.ConnOrphan) != 0 || !c.alive(wire.NodeID(stub.Owner), stub.Incarnation) || first == reply {
		return false
	}
	e, known := c.dir.Get(first)
	if !known || e.Key() != flowtable.Pack(first) || !agree(e, stub) {
		return false
	}
	if other, _ := e.Other(); other != reply || !c.joinFn(first) {
		return false
	}
	c.deleteStub(reply)
	return true
}

// deleteStub removes the stub of its own that a second key has.
func (c *Core) deleteStub(reply packet.FlowKey) {
	if e, known := c.cfg.Stubs.Get(reply); known && e.Key() == flowtable.Pack(reply) {
		c.cfg.Stubs.Delete(reply)
	}
}

// joinsStub does the same for a copy that has been stored.
func (c *Core) joinsStub(conn *wire.Conn) {
	if e, known := c.cfg.Stubs.Get(conn.Reply); known && e.Key() == flowtable.Pack(conn.Reply) {
		if first, _ := e.Other(); first == conn.Key {
			stub := e.Backup()
			c.joins(&stub, first, conn.Reply)
		}
	}
}

// part gives the second key of a joined copy a stub of its own, and returns that. There
// is room: both kinds together are bounded by what has room there (putStub).
func (c *Core) part(e flowtable.Entry) (stub flowtable.Entry, ok bool) {
	first := e.Key().Unpack()
	reply, _ := e.Other()
	b := flowtable.Backup{
		Key: flowtable.Pack(reply), Owner: e.Owner(), Incarnation: e.Incarnation(), Gen: e.Gen(),
		Flags: e.Flags() &^ wire.ConnGranted, Timeout: e.Timeout(), Confirmed: e.Confirmed(),
	}
	c.dir.Part(first)
	if c.cfg.Stubs.PutPair(b, first) != nil {
		c.stats.CopiesFull++
		c.cfg.NAT.Release(c.now, reply, true)
		return flowtable.Entry{}, false
	}
	return c.cfg.Stubs.Get(reply)
}

// partUnlike parts a joined copy that is about to be replaced by one that does not
// agree with its stub, or is of another translation.
func (c *Core) partUnlike(b *flowtable.Backup, reply packet.FlowKey) {
	if c.dir.JoinedLen() == 0 {
		return
	}
	e, known := c.dir.Get(b.Key.Unpack())
	if !known || !e.Joined() {
		return
	}
	if other, _ := e.Other(); e.Key() != b.Key || other != reply || !agree(e, b) {
		c.part(e)
	}
}

// forgetCopy removes a copy. Its stub stays, if it has one.
func (c *Core) forgetCopy(k packet.FlowKey) {
	if e, known := c.dir.Get(k); known && e.Joined() {
		c.part(e)
	}
	c.dir.Delete(k)
}

// ageCopy is belongs for a copy, and for the stub that it may be, each by its key.
func (c *Core) ageCopy(e flowtable.Entry) (stays bool) {
	k, _ := e.Key().Canonical()
	stays = c.belongs(e, k)
	if !stays || isOrphan(e) { // which goes when its time is over
		c.ageing.stir()
	}
	if !e.Joined() {
		return stays
	}
	reply, _ := e.Other()
	switch bound := c.belongs(e, reply); {
	case !bound:
		c.ageing.stir()
		c.makeTomb(e, reply, true)
	case !stays:
		c.part(e)
	}
	return stays
}

// eachJoined visits the second keys of all joined copies.
func (c *Core) eachJoined(visit func(reply packet.FlowKey)) {
	if c.dir.JoinedLen() == 0 {
		return
	}
	c.dir.Scan(0, int(^uint(0)>>1), func(e flowtable.Entry) bool {
		if e.Joined() {
			reply, _ := e.Other()
			visit(reply)
		}
		return true
	})
}
