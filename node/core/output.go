package core

import (
	"errors"
	"net/netip"

	"cohort/ccl/wire"
	"cohort/cluster/membership"
	"cohort/cluster/ownership"
)

// memberOutput is the Core as the membership machine sees it.
type memberOutput Core

func (o *memberOutput) Broadcast(m wire.Message) { o.Send(netip.Addr{}, m) }

func (o *memberOutput) Send(to netip.Addr, m wire.Message) {
	c := (*Core)(o)
	c.link.Datagram(c.now, to, m)
}

func (o *memberOutput) Apply(v *wire.View) {
	c := (*Core)(o)
	fresh := c.view == nil
	c.link.Unsay(c.now)
	c.view, c.self = v, 0
	c.addrs, c.sender = [wire.MaxNodes]netip.Addr{}, sender{}
	c.ids = make(map[netip.Addr]wire.NodeID, len(v.Members))
	for i := range v.Members {
		m := &v.Members[i]
		c.addrs[m.ID] = m.VTEP
		c.ids[m.VTEP] = m.ID
		if m.Name == c.name {
			c.self = m.ID
		}
	}
	c.joined(fresh)
	c.gaugeMembers(v)
	c.io.Apply(v, c.self)
	recut := false
	if v.Config != c.running {
		recut = c.reload()
	}
	if c.units != nil {
		// Before the connections: who registers them must know who holds what.
		c.units.ApplyView(c.now, v, c.self)
		c.hosts.ApplyView(v, c.self)
	}
	c.own.ApplyView(c.now, v, c.self)
	if recut {
		c.own.EndMappings(c.now)
	}
	c.fragments.Keep(c.seesFragments)
	early := c.early
	c.early = c.early[:0]
	for i := range early {
		if id := c.ids[early[i].from]; id != 0 {
			c.own.Message(c.now, id, &early[i].m)
		}
	}
}

func (o *memberOutput) Fenced(why string, cause wire.Cause) {
	c := (*Core)(o)
	c.io.Fence(why)
	c.own.Reset(c.now)
	c.fragments.Reset()
	c.LoseUnits(c.now)
	c.link.RestartState() // what this life said must not be taken for the next one's
	c.link.Unsay(c.now)
	c.view, c.self, c.ids, c.sender = nil, 0, nil, sender{}
	c.forgetProbes()
	c.gauges = gauges{}
	c.health.ladder.Out(c.now, cause, why)
	c.health.silent = true
}

func (o *memberOutput) Event(e membership.Event) { (*Core)(o).io.Event(e) }

// ownerOutput is the Core as the role logic sees it.
type ownerOutput Core

var errNoMember = errors.New("core: no such member")

func (o *ownerOutput) Send(to wire.NodeID, m wire.Message) error {
	c := (*Core)(o)
	if to >= wire.MaxNodes || !c.addrs[to].IsValid() {
		return errNoMember
	}
	a := c.addrs[to]
	switch m := m.(type) { // by value: the link encodes it before it returns
	case *wire.Claim:
		return c.link.Send(c.now, a, *m)
	case *wire.Grant:
		return c.link.Send(c.now, a, *m)
	case *wire.Granted:
		return c.link.Send(c.now, a, *m)
	case *wire.Redirect:
		return c.link.Send(c.now, a, *m)
	case *wire.Query:
		return c.link.Send(c.now, a, *m)
	case *wire.Owner:
		return c.link.Send(c.now, a, *m)
	case *wire.Update:
		return c.link.Send(c.now, a, *m)
	case *wire.Close:
		return c.link.Send(c.now, a, *m)
	case *wire.Gone:
		return c.link.Send(c.now, a, *m)
	case *wire.Synced:
		return c.link.Send(c.now, a, *m)
	case *wire.Bind:
		return c.link.Send(c.now, a, *m)
	case *wire.Alias:
		return c.link.Send(c.now, a, *m)
	case *wire.Kept:
		return c.link.Send(c.now, a, *m)
	case *wire.Delegate:
		return c.link.Send(c.now, a, *m)
	case *wire.Report:
		return c.link.Send(c.now, a, *m)
	case *wire.Lease:
		return c.link.Send(c.now, a, *m)
	}
	panic("core: ownership sends a message that has no wire form")
}

func (o *ownerOutput) Release(h ownership.Handle, v ownership.Verdict) {
	c := (*Core)(o)
	c.io.Release(h, v)
	c.fragments.Released(c.now, h, v)
}

// deliver is the Core as the link's handler.
type deliver Core

func (d *deliver) state(from netip.Addr, m wire.Message) {
	c := (*Core)(d)
	if from != c.sender.addr {
		c.sender = sender{from, c.ids[from]}
	}
	if id := c.sender.id; id != 0 {
		c.own.Message(c.now, id, m)
	}
}

// sender is who the message before came from: most datagrams hold many. The zero
// one is nobody.
type sender struct {
	addr netip.Addr
	id   wire.NodeID
}

func (d *deliver) HandleClaim(from netip.Addr, m *wire.Claim)       { d.state(from, m) }
func (d *deliver) HandleGrant(from netip.Addr, m *wire.Grant)       { d.state(from, m) }
func (d *deliver) HandleGranted(from netip.Addr, m *wire.Granted)   { d.state(from, m) }
func (d *deliver) HandleRedirect(from netip.Addr, m *wire.Redirect) { d.state(from, m) }
func (d *deliver) HandleQuery(from netip.Addr, m *wire.Query)       { d.state(from, m) }
func (d *deliver) HandleOwner(from netip.Addr, m *wire.Owner)       { d.state(from, m) }
func (d *deliver) HandleUpdate(from netip.Addr, m *wire.Update)     { d.state(from, m) }
func (d *deliver) HandleClose(from netip.Addr, m *wire.Close)       { d.state(from, m) }
func (d *deliver) HandleGone(from netip.Addr, m *wire.Gone)         { d.state(from, m) }

func (d *deliver) HandleBind(from netip.Addr, m *wire.Bind)         { d.state(from, m) }
func (d *deliver) HandleAlias(from netip.Addr, m *wire.Alias)       { d.state(from, m) }
func (d *deliver) HandleDelegate(from netip.Addr, m *wire.Delegate) { d.state(from, m) }
func (d *deliver) HandleReport(from netip.Addr, m *wire.Report)     { d.state(from, m) }
func (d *deliver) HandleLease(from netip.Addr, m *wire.Lease)       { d.state(from, m) }
func (d *deliver) HandleKept(from netip.Addr, m *wire.Kept)         { d.state(from, m) }

func (d *deliver) HandleUnits(from netip.Addr, m wire.Message) {
	c := (*Core)(d)
	id := c.ids[from]
	if id == 0 || c.units == nil {
		return
	}
	if h, ok := m.(wire.HostUnits); ok {
		c.hosts.Message(id, h)
	} else {
		c.units.Message(c.now, id, m)
	}
}

func (d *deliver) HandleSynced(from netip.Addr, m *wire.Synced) {
	c := (*Core)(d)
	if c.ids[from] != 0 {
		d.state(from, m)
	} else if m.Phase == wire.SyncApplied && len(c.early) < maxEarly {
		c.early = append(c.early, earlySynced{from, *m})
	}
}

func (d *deliver) HandleMembership(from netip.Addr, m wire.Message) {
	c := (*Core)(d)
	switch m := m.(type) {
	case wire.Probe:
		c.onProbe(from, m)
	case wire.ProbeReply:
		c.onProbeReply(from, m)
	case wire.Exposure:
		c.onExposure(from, m)
	default:
		if h, ok := m.(wire.Heartbeat); ok {
			c.gaugeNews(from, &h)
		}
		if c.proved(from, m) {
			c.member.Step(c.now, from, m)
		}
	}
}
