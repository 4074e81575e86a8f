package core

import (
	"cmp"
	"net/netip"
	"time"

	"cohort/ccl"
	"cohort/ccl/wire"
	"cohort/cluster/blocks"
	"cohort/cluster/fragments"
	"cohort/cluster/hosts"
	"cohort/cluster/membership"
	"cohort/cluster/ownership"
	"cohort/cluster/translate"
	"cohort/flowtable"
)

// IO is what a Core does to the world. Calls happen inside the Core's own
// calls.
type IO interface {
	// Datagram sends on the control link; the zero address means all peers.
	// Membership datagrams are control and must not wait behind others (CL5).
	Datagram(to netip.Addr, b []byte, control bool)
	// Release ends ownership.OpHold for a packet.
	Release(h ownership.Handle, v ownership.Verdict)
	// Apply makes the fast path serve this view.
	Apply(v *wire.View, self wire.NodeID)
	// Fence stops the fast path before anything else happens.
	Fence(why string)
	// Steer tells the fast path which node directs each NAT unit, by unit; 0 is
	// nobody. The slice is only valid during the call.
	Steer(directors []wire.NodeID)
	// Reload makes s what the node shows, and what the fast path steers by.
	Reload(s *Setup)
	// Event is a line of the node's history.
	Event(e membership.Event)
	// NewIncarnation returns a fresh random one, never 0.
	NewIncarnation() wire.Incarnation
}

// Config of a Core. The outputs inside the parts' configurations are set by
// New.
type Config struct {
	Membership membership.Config
	Ownership  ownership.Config
	Endpoint   ccl.EndpointConfig
	MTUCheck   MTUCheck
	NAT        *NAT // nil: nothing is translated
	Health     Health
	IO         IO

	// Fragments bounds what is kept of fragments (FR10); Judge and Release are set here.
	Fragments fragments.Config

	// Kept says whether this outlives the process, and a loss of power: that the node
	// is on its way out, or out, for that reason, as Leaving or Expelled returns it.
	// Until it does, a second at most, no other node hears of it: a successor could not
	// go on with it, and would be a member again. nil: nothing has to be kept.
	Kept func(why string) bool
}

// Core is one node's logic.
type Core struct {
	io     IO
	name   string
	member *membership.Machine
	own    *ownership.Core
	link   *ccl.Endpoint
	now    int64

	table      *flowtable.Table
	units      *blocks.Machine // nil without NAT
	hosts      *hosts.Machine
	translator *translate.Translator
	directors  []wire.NodeID
	gotUnits   bool // packets that wait for a port may find one now

	running  uint64        // checksum of the configuration
	prepared *Setup        // nil: none
	settle   time.Duration // ownership.Config.SettleTime: how long after a connection's end a copy may live on

	view      *wire.View
	self      wire.NodeID
	addrs     [wire.MaxNodes]netip.Addr
	ids       map[netip.Addr]wire.NodeID
	sender    sender
	early     []earlySynced
	forgotten bool // the units' machine says so: this life must end
	health    vigil
	exposure  exposure
	departure departure
	expulsion expulsion
	kept      func(why string) bool // Config.Kept
	fragments *fragments.Table

	mtu      int
	mtuCheck MTUCheck
	mtuError error // of the newest probe that failed
	probeID  uint32
	gauges   gauges
	probes   map[netip.Addr]*probe
	order    []netip.Addr // of probes, by first contact

	narrowTold map[netip.Addr]string // peers whose ports are bad, as history has it
}

// earlySynced is news from a node that this one does not know as a member yet:
// it has applied a view that is still on its way here.
type earlySynced struct {
	from netip.Addr
	m    wire.Synced
}

const maxEarly = 256

// New wires a node. Start makes it look for its cluster.
func New(cfg Config) (*Core, error) {
	c := &Core{
		io: cfg.IO, name: cfg.Membership.Self.Name, table: cfg.Ownership.Table, running: cfg.Membership.Running,
		settle: cmp.Or(cfg.Ownership.SettleTime, 3*time.Second), // its default
		kept:   cfg.Kept,
		mtu:    cfg.Endpoint.MTU, mtuCheck: cfg.MTUCheck, probes: map[netip.Addr]*probe{},
	}
	var err error
	if c.health, err = newVigil(&cfg); err != nil {
		return nil, err
	}
	cfg.Membership.Defer = cfg.Kept != nil
	cfg.Membership.RemoveNarrow = cfg.MTUCheck == MTUEnforce
	if c.member, err = membership.New(cfg.Membership, (*memberOutput)(c)); err != nil {
		return nil, err
	}
	cfg.Ownership.Output, cfg.Ownership.Progress = (*ownerOutput)(c), c.progress
	if cfg.NAT != nil {
		c.openNAT(cfg.NAT, &cfg.Ownership)
	}
	c.own = ownership.New(cfg.Ownership)
	c.openFragments(cfg.Fragments)
	cfg.Endpoint.Output = func(to netip.Addr, b []byte) { c.io.Datagram(to, b, false) }
	cfg.Endpoint.OutputControl = func(to netip.Addr, b []byte) { c.io.Datagram(to, b, true) }
	cfg.Endpoint.Handler = (*deliver)(c)
	cfg.Endpoint.Expect, cfg.Endpoint.ExpectGranted = c.own.Expect, c.own.ExpectGranted
	cfg.Endpoint.Heard = func(from netip.Addr) { c.member.Heard(c.now, from) }
	cfg.Endpoint.Reset = func(a netip.Addr) {
		c.own.PeerReset()
		if c.units != nil && c.ids[a] != 0 {
			c.units.PeerReset(c.now, c.ids[a])
			c.hosts.PeerReset(c.ids[a])
		}
	}
	c.link, err = ccl.NewEndpoint(cfg.Endpoint)
	return c, err
}

// Start begins the life of the node.
func (c *Core) Start(now int64) {
	c.now = now
	c.member.Start(now)
	c.link.Flush(now)
}

// Resume continues a membership that an earlier process of this node left
// behind, with its flow table (HL5); instead of Start. With leaving, that one was on
// its way out for that reason, and this one goes on with it: after bound at the latest.
// Without, a drain that the view shows is over, and the node stays.
func (c *Core) Resume(now int64, v *wire.View, id wire.NodeID, leaving string, bound time.Duration) error {
	c.now = now
	if err := c.member.Resume(now, v, id); err != nil {
		return err
	}
	(*memberOutput)(c).Apply(v)
	if leaving == "" {
		c.member.Drain(now, false)
	} else if err := c.Drain(now, bound, leaving); err != nil {
		return err
	}
	c.health.monitor.Settled() // it has not just joined
	c.flush(now)
	return nil
}

// Packet decides about a punted packet; see ownership.Core.Packet.
func (c *Core) Packet(now int64, p *ownership.Packet) ownership.Verdict {
	c.now = now
	return c.own.Packet(now, p)
}

// Datagram takes one datagram of the control link.
func (c *Core) Datagram(now int64, from netip.Addr, b []byte) {
	c.now = now
	c.link.Receive(now, from, b)
}

// Flush sends what the calls since the last Flush have queued. Call it once
// per pass of the event loop.
func (c *Core) Flush(now int64) {
	c.flush(now)
}

// FlushAll is Flush that keeps nothing back: the process ends.
func (c *Core) FlushAll(now int64) {
	c.flush(now)
	c.link.FlushAll(now)
}

// Due returns when what Flush has kept back is to leave, math.MaxInt64 when
// nothing is: call Flush then. See ccl.EndpointConfig.Pace.
func (c *Core) Due() int64 { return c.link.Due() }

// Tick advances time; call it every ownership.Config.TickEvery, and Work after it. It
// flushes.
func (c *Core) Tick(now int64) {
	c.now = now
	if c.forgotten {
		c.forgotten = false
		c.member.GiveUp(now, "it was forgotten while it was cut off: others serve its connections and have its blocks")
	}
	c.tickHealth()
	if c.member.Next() <= now {
		c.member.Tick(now)
	}
	c.tickProbes()
	c.tickGauges()
	c.own.Tick(now)
	c.fragments.Tick(now)
	c.tickNAT()
	c.tickExpelled()
	c.tickDrain()
	c.tickExposure()
	c.link.Tick(now)
	c.flush(now)
}

// Work goes on with what the last Tick has left to do, and reports whether there is
// more: see ownership.Core.Work. It does not flush.
func (c *Core) Work(now int64) (more bool) {
	c.now = now
	return c.own.Work(now)
}

func (c *Core) flush(now int64) {
	c.now = now
	c.flushNAT()
	c.link.Flush(now)
}

// MemberAt returns who has a VTEP address in the view, 0 if nobody has.
func (c *Core) MemberAt(a netip.Addr) wire.NodeID { return c.ids[a] }

// Name returns the node's name.
func (c *Core) Name() string { return c.name }

// Member returns the membership machine, for status and verbs.
func (c *Core) Member() *membership.Machine { return c.member }

// Owner returns the role logic, for status.
func (c *Core) Owner() *ownership.Core { return c.own }

// Link returns the protocol end, for status.
func (c *Core) Link() *ccl.Endpoint { return c.link }

// MTUError says that full-sized packets do not cross to a member, or did not when a
// node wanted to join; nil: they do.
func (c *Core) MTUError() error {
	for _, g := range c.gauges.of {
		if g != nil && g.Narrow() {
			return g.Err()
		}
	}
	return c.mtuError
}

// View returns the applied view and this node's id in it; nil while fenced.
func (c *Core) View() (*wire.View, wire.NodeID) { return c.view, c.self }
