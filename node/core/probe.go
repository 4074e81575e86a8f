package core

import (
	"errors"
	"net/netip"

	"cohort/ccl"
	"cohort/ccl/wire"
	"cohort/cluster/health"
	"cohort/cluster/membership"
)

// MTUCheck says what a failed MTU probe means (CL3).
type MTUCheck uint8

// The checks. The simulator has no MTU and uses MTUIgnore.
const (
	MTUIgnore  MTUCheck = iota // no probes
	MTUWarn                    // an event, nothing else
	MTUEnforce                 // a node that is not a member yet does not become one, and a member may have to go
)

// maxUnproved bounds what is kept of a peer until its probe has an answer.
const maxUnproved = 8

// probe is the MTU check of the path to one peer: what the peer says about
// membership waits for its result.
type probe struct {
	peer   netip.Addr
	prober *ccl.Prober
	wait   []wire.Message
	began  int64
	heard  int64 // the peer's newest message
	failed bool
	told   bool // the peer says that its full-sized packets do not cross to us, or ours to it
	member bool // the peer is in a cluster
}

// silent reports whether the peer went away: it answered no size, and has said
// nothing for the second half of the probe's time. That proves nothing about
// the link. A peer that goes on talking is there, and its link is bad.
func (p *probe) silent(now int64, err error) bool {
	return errors.Is(err, ccl.ErrNoProbeAnswer) && 2*(now-p.heard) > now-p.began
}

// proved reports whether membership messages of a peer count yet. The first
// one starts the probe.
func (c *Core) proved(from netip.Addr, m wire.Message) bool {
	if c.mtuCheck == MTUIgnore || c.ids[from] != 0 {
		return true // a member's word counts: the path was proved when it joined
	}
	p := c.probes[from]
	if p != nil {
		p.heard = c.now
		if h, ok := m.(wire.Heartbeat); ok && h.State == wire.StateInSync {
			p.member = true
		}
	}
	if _, ok := m.(wire.JoinRefused); ok && p != nil && p.prober == nil && c.view == nil && c.member.State() == wire.StateElection {
		c.toldNarrow(from, p)
		return false
	}
	if p == nil {
		c.probeID++
		p = &probe{peer: from, began: c.now, heard: c.now, prober: ccl.NewProber(c.now, from, c.mtu, c.probeID, func(to netip.Addr, m wire.Probe) { c.link.Datagram(c.now, to, m) })}
		c.probes[from] = p
		c.order = append(c.order, from)
		p.prober.Tick(c.now)
	}
	if p.prober == nil {
		return !p.failed || c.mtuCheck == MTUWarn
	}
	if len(p.wait) < maxUnproved {
		p.wait = append(p.wait, m)
	}
	return false
}

// forgetProbes makes every path be proved again: a node that was out of the
// cluster joins anew (CL3).
func (c *Core) forgetProbes() {
	clear(c.probes)
	clear(c.narrowTold)
	c.order = nil
}

// forgetProbe lets a later message of the peer try again.
func (c *Core) forgetProbe(peer netip.Addr) {
	delete(c.probes, peer)
	for i, a := range c.order {
		if a == peer {
			c.order = append(c.order[:i:i], c.order[i+1:]...)
			break
		}
	}
}

// onProbe answers a peer's probe with the size that arrived.
func (c *Core) onProbe(from netip.Addr, m wire.Probe) {
	c.link.Datagram(c.now, from, wire.ProbeReply{ID: m.ID, Size: m.Size})
}

func (c *Core) onProbeReply(from netip.Addr, m wire.ProbeReply) {
	if p := c.probes[from]; p != nil && p.prober != nil {
		p.prober.Reply(from, m)
		c.conclude(from, p)
	}
	c.gaugeReply(from, m)
}

func (c *Core) tickProbes() {
	for _, from := range c.order {
		if p := c.probes[from]; p != nil && p.prober != nil {
			p.prober.Tick(c.now)
			c.conclude(from, p)
		}
	}
}

// ours reports whether full-sized packets cross to so few peers that the port of this
// node, or a cable that parts as many nodes from as many, may be to blame: to at most half
// of all that were heard since then, this node among those to which they do. Else a
// single bad port would keep all nodes that start together from forming a cluster (HL3,
// EL9); and no two sides of a cable that carries small packets only form two.
func (c *Core) ours(peer netip.Addr, since int64) bool {
	good, bad := 1, len(c.narrowTold)
	if c.narrowTold[peer] == "" {
		bad++
	}
	for a, p := range c.probes {
		switch {
		case a == peer, c.narrowTold[a] != "":
		case p.told:
			bad++
		case p.prober == nil && !p.failed && p.heard >= since:
			good++
		}
	}
	return good <= bad
}

// tellNarrow lets the probe of a peer with a bad port begin again, and writes that to
// the history when it is news.
func (c *Core) tellNarrow(p *probe, err error) {
	from := p.peer
	if c.narrowTold == nil {
		c.narrowTold = map[netip.Addr]string{}
	}
	if c.narrowTold[from] != err.Error() {
		c.narrowTold[from] = err.Error()
		s := c.member.Status(c.now)
		c.io.Event(membership.Event{At: c.now, From: s.State, To: s.State, Cause: err.Error() + " (to others they do: this node goes on without it)"})
	}
	c.forgetProbe(from)
}

// toldNarrow takes the word of a peer, before there is a cluster, that full-sized packets
// do not cross between it and this node, which cannot know: its own probes are answered.
// With too many such peers the port of this node is to blame.
func (c *Core) toldNarrow(from netip.Addr, p *probe) {
	p.told = true
	if c.mtuCheck != MTUEnforce || !c.ours(from, 0) || c.health.ladder.Status().Phase != health.On {
		return
	}
	c.giveUp(c.linkCause(), "full-sized packets do not cross to this node, by the word of all that it hears")
	c.forgetProbes()
}

// conclude acts on a finished probe.
func (c *Core) conclude(from netip.Addr, p *probe) {
	done, err := p.prober.Done()
	if !done {
		return
	}
	p.prober, p.failed = nil, err != nil
	wait := p.wait
	p.wait = nil
	if err == nil {
		delete(c.narrowTold, from)
	}
	if err != nil && p.silent(c.now, err) {
		c.forgetProbe(from)
		return
	}
	if err != nil {
		c.mtuError = err
		if c.health.ladder.Status().Phase != health.On {
			// It is out already, and for a reason: its peers go on talking, and each
			// further probe of each of them would put the next attempt off and tell of it
			// again, or bring back a node that an operator has taken out.
			c.forgetProbe(from)
			return
		}
		if c.mtuCheck == MTUEnforce && c.view == nil && !p.member && !c.ours(from, p.began) {
			// Its port is bad, and ours is not. It may not know: it may be our packets that
			// do not cross to it, and its own do.
			_ = c.link.Datagram(c.now, from, wire.JoinRefused{Reason: err.Error()})
			c.tellNarrow(p, err)
			return
		}
		s := c.member.Status(c.now)
		c.io.Event(membership.Event{At: c.now, From: s.State, To: s.State, Cause: err.Error()})
		if c.mtuCheck == MTUEnforce {
			switch {
			case c.view == nil:
				c.giveUp(c.linkCause(), err.Error())
			case c.member.Ruling(): // it may be our packets that do not cross, and it cannot know
				_ = c.link.Datagram(c.now, from, wire.JoinRefused{Reason: err.Error()})
			}
			c.forgetProbe(from)
			return
		}
	}
	for _, m := range wait {
		c.member.Step(c.now, from, m)
	}
}
