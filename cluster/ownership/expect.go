package ownership

import (
	"cohort/flowtable"
	"cohort/packet"
)

// Expect begins to load what this node knows of a connection that a message, or a
// packet, will be about: reply is its second key, or zero. It decides nothing. See
// flowtable.Table.Expect.
func (c *Core) Expect(key, reply packet.FlowKey) {
	c.table.ExpectKey(key)
	c.dir.Expect(key)
	if c.cfg.NAT == nil || reply == (packet.FlowKey{}) {
		return
	}
	c.table.ExpectKey(reply)
	c.dir.ExpectOther(reply)
	c.cfg.Stubs.Expect(reply)
}

// expectEnds does that for the connections whose time is over among the n slots that
// ageing is about to look at, from one on.
func (c *Core) expectEnds(from uint32, n int) {
	now := c.tick()
	c.table.ScanFlows(from, n, func(_ uint32, f *flowtable.FlowSlot) bool {
		if flowtable.TCPState(f.State) >= flowtable.TCPTimeWait && f.Expired(now) {
			c.table.ExpectKey(f.Key[0])
			c.table.ExpectKey(f.Key[1])
			if c.cfg.NAT != nil {
				c.dir.ExpectOther(f.Key[1])
				c.cfg.Stubs.Expect(f.Key[1])
			}
		}
		return true
	})
}
