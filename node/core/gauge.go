package core

import (
	"errors"
	"fmt"
	"net/netip"

	"cohort/ccl"
	"cohort/ccl/wire"
)

// gauges are the lasting MTU check of the paths to the members of the view (CL3).
type gauges struct {
	of     [wire.MaxNodes]*gauge
	narrow uint64 // bit per id: what the membership was told
}

type gauge struct {
	*ccl.Gauge
	name string
	life wire.Incarnation
	vtep netip.Addr
	says uint64 // whom this member does not reach with full-sized packets
	told bool   // history says that the path is narrow
}

// gaugeMembers begins to measure the paths to members that are new in the view, and
// ends it for those that have left.
func (c *Core) gaugeMembers(v *wire.View) {
	if c.mtuCheck == MTUIgnore {
		return
	}
	was := c.gauges.of
	c.gauges = gauges{}
	for i := range v.Members {
		m := &v.Members[i]
		switch g := was[m.ID]; {
		case m.ID == c.self:
		case g != nil && g.life == m.Incarnation && g.vtep == m.VTEP:
			c.gauges.of[m.ID] = g
			g.says = 0
		default:
			send := func(to netip.Addr, m wire.Probe) { _ = c.link.Datagram(c.now, to, m) }
			c.gauges.of[m.ID] = &gauge{Gauge: ccl.NewGauge(c.now, m.VTEP, c.mtu, c.health.hold, send), name: m.Name, life: m.Incarnation, vtep: m.VTEP}
		}
	}
}

// tickGauges sends what is due, and says what has changed.
func (c *Core) tickGauges() {
	for _, g := range c.gauges.of {
		if g != nil {
			g.Tick(c.now)
		}
	}
	c.compareGauges()
}

// compareGauges tells the membership, and history, when a path has become narrow or
// whole.
func (c *Core) compareGauges() {
	if c.view == nil || c.mtuCheck == MTUIgnore {
		return
	}
	set := uint64(0)
	for id, g := range c.gauges.of {
		if g != nil && g.Narrow() {
			set |= 1 << id
		}
	}
	was := c.gauges.narrow
	if set == was {
		return
	}
	c.gauges.narrow = set
	for _, g := range c.gauges.of {
		if g == nil || g.told == g.Narrow() {
			continue
		}
		if g.told = g.Narrow(); g.told {
			c.member.Note(c.now, g.Err().Error())
		} else {
			c.member.Note(c.now, fmt.Sprintf("ccl: peer %v: packets of %d bytes cross again", g.vtep, c.mtu))
		}
	}
	if set&^was != 0 {
		c.hurryGauges()
	}
	c.member.Narrow(c.now, set)
}

// hurryGauges looks at all paths at once: whose link it is shows only when everybody
// knows.
func (c *Core) hurryGauges() {
	for _, g := range c.gauges.of {
		if g != nil {
			g.Hurry(c.now)
		}
	}
}

// gaugeReply takes an answer to one of the gauges' probes.
func (c *Core) gaugeReply(from netip.Addr, m wire.ProbeReply) {
	g := c.gauges.of[c.ids[from]] // of id 0: nil
	if g == nil {
		return
	}
	if g.Reply(c.now, from, m); g.Narrow() {
		return
	}
	var last *ccl.MTUError
	if errors.As(c.mtuError, &last) && last.Peer == from && int(m.Size) == c.mtu-ccl.VXLANOverheadFor(from) {
		c.mtuError = nil
	}
	c.compareGauges()
}

// gaugeNews hurries when a member has found a narrow path.
func (c *Core) gaugeNews(from netip.Addr, h *wire.Heartbeat) {
	g := c.gauges.of[c.ids[from]]
	if g == nil || h.From.Incarnation != g.life {
		return
	}
	if h.Narrow&^g.says != 0 {
		c.hurryGauges()
	}
	g.says = h.Narrow
}
