package core

import "cohort/ccl/wire"

// expulsion is a node's that an operator takes out at once, here or at another node
// (EL10). Its answer is that the others hear it leave: so it goes when it is kept that
// it is not to come back, which a kill a moment later then does not change. It serves
// until then.
type expulsion struct {
	why   string
	until int64 // at the latest
}

// Expelled is why an operator takes this node out at once, "" when nobody does, or when
// it is out.
func (c *Core) Expelled() string { return c.member.Expelled() }

func (c *Core) tickExpelled() {
	e := &c.expulsion
	why := c.member.Expelled()
	if why == "" {
		*e = expulsion{}
		return
	}
	if e.why == "" {
		*e = expulsion{why: why, until: c.now + int64(keepFor)}
	}
	if c.now < e.until && c.kept != nil && !c.kept(why) {
		return
	}
	*e = expulsion{}
	c.link.FlushAll(c.now)                                // what has ended here is not left to the others' time-outs
	_ = c.member.Withdraw(c.now, wire.CauseOperator, why) // a member: who is out is not expelled
}
