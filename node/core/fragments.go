package core

import (
	"cohort/cluster/fragments"
	"cohort/cluster/ownership"
)

func (c *Core) openFragments(cfg fragments.Config) {
	cfg.Judge = func(p *ownership.Packet) ownership.Verdict { return c.own.Packet(c.now, p) }
	cfg.Release = c.io.Release
	c.fragments = fragments.New(cfg)
}

// Fragments returns what this node keeps as a fragment owner, for status.
func (c *Core) Fragments() *fragments.Table { return c.fragments }

// Fragment decides about a fragment that comes from the wire, or from the node where it
// entered: it is sent to the fragment owner (OpSend), which lets the ports of the first
// one lead the others (FR10). p.Key has ports if part is the first, whose Kind is the
// datagram's; the Kind of others is KindFragment.
func (c *Core) Fragment(now int64, part fragments.Part, p *ownership.Packet) ownership.Verdict {
	c.now = now
	if c.view == nil {
		return ownership.Verdict{Op: ownership.OpDrop, Reason: ownership.ReasonFenced}
	}
	if p.From == 0 {
		if to := c.own.Order().Director(part.Key.Place()); to != c.self && to != 0 {
			return ownership.Verdict{Op: ownership.OpSend, Node: to}
		}
	}
	// Who sent it here said nothing about its connection, and may be the owner.
	p.From, p.Fragment = 0, true
	return c.fragments.Take(now, part, p)
}

// Labelled decides about a fragment that the fragment owner has sent here together with
// its ports, which p.Key has: as about any packet of that connection.
func (c *Core) Labelled(now int64, p *ownership.Packet) ownership.Verdict {
	c.now = now
	p.Fragment = true
	return c.own.Packet(now, p)
}

// seesFragments reports whether this node is the fragment owner of a datagram.
func (c *Core) seesFragments(k fragments.Key) bool {
	return c.own.Order().Director(k.Place()) == c.self
}
