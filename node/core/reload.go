package core

import (
	"time"

	"cohort/cluster/blocks"
	"cohort/cluster/ownership"
	"cohort/nat"
)

// Setup is what can change while a node runs (NT7): the rules of policy and
// NAT, and the pools. It is immutable.
type Setup struct {
	Config      uint64 // checksum, as wire.View's
	Policy      ownership.Policy
	RuleNumber  func(uint16) uint16 // of a rule of the policy that runs, in Policy; 0 = it is not there
	NAT         *nat.Rules          // nil exactly where the Core has no NAT
	HoldDown    time.Duration
	HoldDownMax int
}

// Prepare makes this node ready for s, which runs from the view on that all
// members are ready for; see membership.Prepare. It reports whether it runs now,
// as it does on a node that is no member, or alone. That which runs takes back
// what was prepared before.
func (c *Core) Prepare(now int64, s *Setup) (runs bool) {
	c.now = now
	c.prepared = s
	if s.Config == c.running {
		c.prepared = nil
	}
	if c.member.Prepare(now, s.Config) && s.Config != c.running {
		c.reload() // nothing is held, owned or served
	}
	c.flush(now)
	return s.Config == c.running
}

// reload makes the prepared setup the one that runs. ApplyView of the parts
// follows, of the view that has it, unless this node is no member. It reports
// whether the units have other numbers.
//
// The order matters: ports are numbered before what uses them is counted, and
// before anybody says which of them are held.
func (c *Core) reload() (recut bool) {
	s := c.prepared
	c.prepared, c.running = nil, s.Config
	var old *nat.Geometry
	wait := max(s.HoldDown, c.settle)
	if c.translator != nil {
		old = c.translator.Rules().Geometry()
		wait = max(wait, c.translator.Ports().HoldDown())
		recut = c.translator.Recut(s.NAT, s.HoldDown, s.HoldDownMax)
	}
	c.io.Reload(s)
	c.own.Reload(c.now, s.Policy, s.RuleNumber, recut)
	if !recut {
		return false
	}
	g := s.NAT.Geometry()
	cutting := blocks.Cutting{Pools: ranges(g), Cut: g.Checksum(), Names: g.Names(), RemakeAfter: wait}
	for _, p := range g.From(old) {
		cutting.From = append(cutting.From, blocks.Part(p))
	}
	c.units.Recut(c.now, cutting)
	c.hosts.Recut(c.translator.Ports().HostUnits)
	return true
}

// Running returns the checksum of the configuration that runs.
func (c *Core) Running() uint64 { return c.running }
