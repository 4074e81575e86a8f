package ownership

import (
	"cohort/flowtable"
	"cohort/packet"
)

// Reload makes p the judge of new connections, and NAT's present rules their
// translation (NT7). Connections that exist go on as they were judged and
// translated. Call it between two views, right before ApplyView.
//
// rule maps the number of a rule of the former policy to that of the new one,
// so that connections still show the rule that let them in; 0 = there is none.
//
// With recut, units have other numbers: what uses a port is counted anew, and
// the second keys belong elsewhere. So the round that follows registers
// everything.
func (c *Core) Reload(now int64, p Policy, rule func(uint16) uint16, recut bool) {
	c.now = now
	c.cfg.Policy = p
	all := int(^uint(0) >> 1)
	c.table.ScanFlows(0, all, func(slot uint32, f *flowtable.FlowSlot) bool {
		if to := rule(f.Rule); to != f.Rule {
			c.table.UpdateFlow(slot, func(f *flowtable.FlowSlot) { f.Rule = to })
		}
		return true
	})
	c.dir.Scan(0, all, func(e flowtable.Entry) bool {
		e.SetRule(rule(e.Rule()))
		return true
	})
	if recut {
		c.table.ScanForwards(0, all, func(slot uint32, f *flowtable.ForwardSlot) bool {
			if f.Key.Dst == (packet.Addr{}) {
				c.removeForward(slot) // to a mapping, which may end
			}
			return true
		})
		c.useAll()
		c.images = true   // stubs may be in no unit any more
		c.sync.base = nil // the next round is a full one
	}
}

// EndMappings ends the mappings that no rule makes any more: their address was
// taken from its pool. The connections through them go on, and their host's
// next one gets another mapping. Call it after Reload and the next ApplyView.
func (c *Core) EndMappings(now int64) {
	c.now = now
	if c.cfg.NAT == nil || c.view == nil {
		return
	}
	c.table.ScanFlows(0, int(^uint(0)>>1), func(slot uint32, f *flowtable.FlowSlot) bool {
		if isMapping(f) && f.Flags&flowtable.FlowProvisional == 0 && !c.cfg.NAT.Stands(f.Key[1]) {
			c.closeFlow(slot)
		}
		return true
	})
}

// former reports whether a key was in a NAT unit before a reload, and is not now.
func (c *Core) former(k packet.FlowKey) bool { return c.cfg.NAT != nil && c.cfg.NAT.Former(k) }
