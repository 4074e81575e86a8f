package ownership

import "cohort/ccl/wire"

// A protocol without ports (ESP, GRE) has one key for each address of a pool and remote,
// in the first unit of the address (NT3). So a node that has no such unit asks whether
// somebody owns the connection, and if not leads its first packet to the holder of the
// one that its host is paired with.

// homeOf returns the node that may begin p's connection; 0 when nobody in particular may.
func (c *Core) homeOf(p *Packet) wire.NodeID {
	if c.cfg.NAT == nil || p.Kind != KindOther {
		return 0
	}
	to, ok := c.destination(p)
	if !ok {
		return 0
	}
	_, out, ok := c.cfg.Router.Route(to.Dst)
	if !ok {
		return 0
	}
	unit, ok := c.cfg.NAT.Home(p.In, out, p.Key, to)
	if !ok {
		return 0
	}
	first, _, _ := c.cfg.NAT.Order(unit)
	return first
}

// leadHome sends on what no node owns and this one cannot begin.
func (c *Core) leadHome(p *Packet) Verdict {
	if to := c.homeOf(p); to != 0 && to != c.self && p.From == 0 {
		return Verdict{Op: OpSend, Node: to}
	}
	return drop(ReasonNATProtocol)
}
