package core

import (
	"math/rand/v2"
	"time"

	"cohort/ccl/wire"
	"cohort/cluster/blocks"
	"cohort/cluster/hosts"
	"cohort/cluster/ownership"
	"cohort/cluster/translate"
	"cohort/flowtable"
	"cohort/nat"
	"cohort/packet"
)

// NAT of a Core.
type NAT struct {
	Rules       *nat.Rules
	HoldDown    time.Duration
	HoldDownMax int
	Rand        *rand.Rand             // unpredictable: ports are chosen with it (RFC 6056)
	Stubs       *flowtable.BackupStore // second keys that this node keeps
	Seed        [16]byte               // cluster-wide secret of the units' order

	// What cluster/blocks asks of the node; see blocks.Config. A journal may also keep
	// whose own blocks are, and what waits in hold-down: translate.HostJournal,
	// nat.HoldJournal.
	Memory   blocks.Memory
	Found    bool
	Remember func(blocks.Memory)
	Journal  blocks.Journal

	BlockLog translate.BlockLog // may be nil
}

func (c *Core) openNAT(n *NAT, own *ownership.Config) {
	g := n.Rules.Geometry()
	ports := nat.NewPorts(g, n.HoldDown, n.Rand)
	ports.SetHoldDownMax(n.HoldDownMax)
	c.units = blocks.New(c.now, blocks.Config{
		Pools: ranges(g), Cut: g.Checksum(), Names: g.Names(), Seed: n.Seed, Memory: n.Memory, Found: n.Found,
		Output: (*unitOutput)(c), Ports: unitPorts{ports, &c.now}, Remember: n.Remember, Journal: n.Journal,
		Answered: func(pool, units int) {
			c.translator.UnitsAnswer(c.now, pool, units)
			c.gotUnits = true // what waits may go on, or need not wait
		},
		Forgotten: func() { c.forgotten = true },
		Over:      func(name string) { c.member.Note(c.now, name+" is over: another member says so") },
	})
	c.hosts = hosts.New(hosts.Config{
		Seed: n.Seed, Output: (*unitOutput)(c),
		Limit: c.hostLimit,
		Answer: func(pool int, host packet.Addr, granted bool) {
			c.translator.HostAnswer(c.now, pool, host, granted)
			c.gotUnits = true
		},
	})
	c.translator = translate.New(n.Rules, ports, (*unitSource)(c), c.hosts, n.BlockLog)
	if j, ok := n.Journal.(translate.HostJournal); ok {
		c.translator.SetHostJournal(j)
	}
	if j, ok := n.Journal.(nat.HoldJournal); ok {
		ports.SetHoldJournal(j)
	}
	own.NAT, own.Stubs = c.translator, n.Stubs
	own.Round = c.hosts.Register
	own.Entombed = c.entombed
	own.RoundEnds = func() bool { return c.units.TellRests(c.now) }
	own.Settled = func() {
		c.units.Settled(c.now)
		c.hosts.Settled()
		c.gotUnits = true
	}
}

// hostLimit is how many blocks of a pool a host may have. The number is of a message: a
// pool that there is not has none.
func (c *Core) hostLimit(pool int) int {
	if pools := c.translator.Rules().Geometry().Pools(); pool < len(pools) {
		return pools[pool].MaxBlocksPerHost
	}
	return 0
}

// ranges are the pools of a numbering.
func ranges(g *nat.Geometry) (pools []blocks.Range) {
	for _, p := range g.Pools() {
		pools = append(pools, blocks.Range{First: p.First, Units: p.Units, PerAddress: p.PerAddress})
	}
	return pools
}

// tickNAT advances the units and the ports.
func (c *Core) tickNAT() {
	if c.units == nil {
		return
	}
	c.units.Tick(c.now)
	c.hosts.Tick()
	c.translator.Tick(c.now)
}

// flushNAT passes on what a pass of work has changed.
func (c *Core) flushNAT() {
	if c.units == nil {
		return
	}
	if c.units.Changed() {
		c.directors = c.units.Directors(c.directors)
		c.io.Steer(c.directors)
		c.gotUnits = true
	}
	if c.gotUnits {
		c.gotUnits = false
		c.own.PortsChanged(c.now)
	}
}

// entombed tells the units' machine of a key whose hold-down follows.
func (c *Core) entombed(reply packet.FlowKey) {
	if unit, ok := c.translator.Unit(reply); ok {
		c.units.Entombed(unit)
	}
}

// Units is what a journal says of a former process of this life: what it held, as
// blocks.Machine.Restore, what came to it and what it gave away, the units that rest,
// the blocks that were hosts' own, and the keys that wait in hold-down.
type Units struct {
	Life  wire.Incarnation
	View  uint64
	Held  []int
	Took  []blocks.Taken
	Gone  []int
	Rests []blocks.Rest
	Own   []translate.Own
	Holds []nat.Hold
}

// RestoreUnits gives back what a former process of this life had. Call it before Resume.
func (c *Core) RestoreUnits(now int64, u Units) {
	c.now = now
	c.units.Restore(now, u.Life, u.View, u.Held, u.Took...)
	c.units.RestoreGone(u.Gone)
	c.units.RestoreRests(u.Rests)
	c.translator.Ports().RestoreHolds(now, u.Holds)
	c.translator.RestoreHosts(now, u.Own)
	c.hosts.Recut(c.translator.Ports().HostUnits)
}

// LoseUnits says that nothing is left of a life that RestoreUnits began to go on
// with, or that has ended.
func (c *Core) LoseUnits(now int64) {
	if c.units == nil {
		return
	}
	c.now = now
	c.units.Lost(now)
	c.hosts.Lost()
	c.translator.LoseHosts()
}

// Units returns the machine that keeps the NAT units, nil without NAT.
func (c *Core) Units() *blocks.Machine { return c.units }

// Translator returns the NAT of this node, nil without.
func (c *Core) Translator() *translate.Translator { return c.translator }

// unitOutput is the Core as the units' machine sees it.
type unitOutput Core

func (o *unitOutput) Send(to wire.NodeID, m wire.Message) error {
	c := (*Core)(o)
	if to >= wire.MaxNodes || !c.addrs[to].IsValid() {
		return errNoMember
	}
	return c.link.Send(c.now, c.addrs[to], m)
}

// unitPorts is the allocator as the units' machine sees it.
type unitPorts struct {
	*nat.Ports
	now *int64
}

func (p unitPorts) Rest(unit int, end int64) int64 { return p.Ports.Rest(*p.now, unit, end) }
func (p unitPorts) Heard(unit int, end int64)      { p.Ports.Heard(*p.now, unit, end) }
func (p unitPorts) Idle(unit int) bool             { return p.Ports.Idle(*p.now, unit) }

// unitSource is the Core as the translator sees it.
type unitSource Core

func (s *unitSource) Order(unit int) (first, second, third wire.NodeID) { return s.units.Order(unit) }
func (s *unitSource) Apart() bool                                       { return s.units.Apart() }
func (s *unitSource) Held(unit int) bool                                { return s.units.Held(unit) }
func (s *unitSource) Want(pool, count int)                              { s.units.Want(s.now, pool, count) }
