package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
	"cohort/packet"
)

// A node on the other side of a cut takes connections over whose copies it has,
// and may keep them for as long as it is away. So while a node is missing, a
// reply key that was in use before does not come free when its connection ends
// on this side: a tomb keeps it, a stub without an owner and without an end,
// until everybody is back and has registered what it owns (NT4).

// entomb keeps the reply key of an ended connection in use; false when nobody
// can have taken the connection over.
func (c *Core) entomb(keys [2]packet.FlowKey, created, gen uint32) bool {
	if !c.cfg.NAT.Apart() || flowtable.Since(created, c.sync.viewAt) > 0 && c.sync.clean {
		return false // everybody who could have a copy is here
	}
	if _, known := c.cfg.Stubs.Get(keys[1]); known {
		return false // which keeps it in use, or becomes a tomb itself
	}
	b := c.entry(nobody, keys[1], gen)
	b.Flags = wire.ConnTomb
	return c.cfg.Stubs.PutPair(b, keys[0]) == nil
}

// makeTomb turns a stub into a tomb.
func makeTomb(e *flowtable.Backup) {
	e.Owner, e.Incarnation, e.Flags = uint8(nobody), 0, wire.ConnTomb
}
