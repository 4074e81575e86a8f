package ownership

import (
	"cohort/ccl/wire"
	"cohort/flowtable"
)

// What is lent, for those who look (MG1).

// Loan is a direction of an owned connection that another node forwards by itself.
type Loan struct {
	Node       wire.NodeID
	Dir        uint8
	CalledBack bool   // this node has asked for its end, or for word of it
	Left       int32  // ticks until nobody forwards by it; 0 or less: nobody does
	Packets    uint64 // reported so far
	Bytes      uint64
}

// LentNow is how many delegations this node has given to others.
func (c *Core) LentNow() int { return c.lending.n }

// Loans visits what is lent of the flow in a slot, the newest first. What a former
// process has lent is not known and not visited.
func (c *Core) Loans(slot uint32, visit func(Loan)) {
	for i := c.lending.first[slot]; i != 0; i = c.lending.list[i].next {
		e := &c.lending.list[i]
		visit(Loan{Node: e.node, Dir: e.dir, CalledBack: e.revoked, Left: flowtable.Since(c.lending.untilOf(e), c.tick()), Packets: e.packets, Bytes: e.bytes})
	}
}
