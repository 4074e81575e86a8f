package core

import (
	"errors"
	"fmt"
	"time"

	"cohort/ccl/wire"
	"cohort/cluster/health"
	"cohort/cluster/membership"
)

// Health is what a node watches of itself, and how it comes back (HL2, HL3). The
// zero value watches nothing and takes the default ladders.
type Health struct {
	Monitor health.MonitorConfig
	Rejoin  *health.Schedules               // nil: health.Defaults
	Names   [health.MaxInterface + 1]string // of the interfaces, for texts
}

// vigil is the health of this node.
type vigil struct {
	monitor *health.Monitor
	ladder  *health.Ladder
	names   [health.MaxInterface + 1]string
	hold    int64
	cut     int64 // since when the interface of the control link is down; 0: it is up
	member  bool  // it was one, in this process
	silent  bool  // it is out, and history does not say yet when it tries again
}

func newVigil(cfg *Config) (vigil, error) {
	plans := health.Defaults()
	if cfg.Health.Rejoin != nil {
		plans = *cfg.Health.Rejoin
	}
	hold := cfg.Membership.Hold
	if hold == 0 {
		hold = membership.DefaultHold
	}
	ladder, err := health.NewLadder(plans, max(cfg.Health.Monitor.Grace, 10*hold))
	return vigil{
		monitor: health.NewMonitor(cfg.Health.Monitor), ladder: ladder, names: cfg.Health.Names, hold: int64(hold),
	}, err
}

// Interface takes the state of a data interface's link.
func (c *Core) Interface(now int64, id uint8, up bool) { c.health.monitor.Link(now, id, up) }

// Targets takes whether the targets of a data interface can be reached (HL6).
func (c *Core) Targets(now int64, id uint8, reached bool) { c.health.monitor.Targets(now, id, reached) }

// ControlLink takes the state of the control link's own interface.
func (c *Core) ControlLink(now int64, up bool) {
	switch {
	case up:
		c.health.cut = 0
	case c.health.cut == 0:
		c.health.cut = now
	}
}

// Monitor returns what is watched, for status.
func (c *Core) Monitor() *health.Monitor { return c.health.monitor }

// Ladder returns how the node comes back, for status.
func (c *Core) Ladder() health.LadderStatus { return c.health.ladder.Status() }

// joined notes that this node is a member; fresh: it was none before.
func (c *Core) joined(fresh bool) {
	c.health.member = true
	c.health.ladder.Joined(c.now)
	if fresh {
		c.health.monitor.Joined(c.now)
	}
}

// tickHealth tells the membership what has failed, and climbs the ladder.
func (c *Core) tickHealth() {
	h := &c.health
	c.member.Health(c.now, h.monitor.Failed(c.now), h.monitor.Grace(c.now))
	c.watchLink()
	switch s := h.ladder.Status(); {
	case s.Phase == health.Disabled && c.member.State() == wire.StateFenced:
		c.member.Leave(c.now, "disabled: "+s.Why) // not while the machine reports that it is fenced
	case s.Phase == health.Waiting && c.member.State() == wire.StateFenced && s.Next > c.now && h.silent:
		h.silent = false
		c.member.Note(c.now, fmt.Sprintf("out because of: %s; attempt %d in %v", health.CauseName(s.Cause), s.Attempt+1, wait(s.Next-c.now)))
	}
	if h.ladder.Due(c.now) {
		c.attempt()
	}
}

// wait is a pause as people read it.
func wait(d int64) time.Duration { return time.Duration(d).Round(100 * time.Millisecond) }

// watchLink takes a node out whose own interface of the control link is down, so
// that routers turn to the others. Not the control node: when the switch between
// all nodes fails, one of them has to stay (EL9). A node that has never been a
// member gives up; an operator sees to it (HL3).
func (c *Core) watchLink() {
	h := &c.health
	const why = "the interface of the control link is down"
	switch {
	case h.cut == 0 || h.ladder.Status().Phase != health.On:
	case c.view != nil && len(c.view.Members) > 1 && !c.member.Ruling() && c.now-h.cut >= h.hold*2/3:
		_ = c.member.Withdraw(c.now, wire.CauseLink, why) // it has a view
	case c.view == nil && c.now-h.cut >= h.hold && c.member.State() != wire.StateFenced:
		c.giveUp(c.linkCause(), why)
	}
}

// linkCause is what a broken control link means to a node that is no member.
func (c *Core) linkCause() wire.Cause {
	if c.health.member {
		return wire.CauseLink
	}
	return wire.CauseFirstLink
}

// giveUp ends the search of a node that is no member for a cluster.
func (c *Core) giveUp(cause wire.Cause, why string) {
	c.health.ladder.Out(c.now, cause, why)
	c.member.Leave(c.now, why)
	s := c.health.ladder.Status()
	if s.Phase == health.Waiting {
		c.member.Note(c.now, fmt.Sprintf("attempt %d in %v", s.Attempt+1, wait(s.Next-c.now)))
	}
}

// attempt tries to come back, unless what has failed is still broken.
func (c *Core) attempt() {
	h := &c.health
	s := h.ladder.Status()
	still := ""
	switch {
	case s.Cause == wire.CauseInterface:
		still = c.broken()
	case s.Cause == wire.CauseLink && h.cut != 0:
		still = "the interface of the control link is still down"
	}
	if still == "" {
		if err := c.member.Rejoin(c.now, c.io.NewIncarnation()); err != nil {
			still = err.Error()
		}
	}
	if still == "" {
		return
	}
	h.ladder.Failed(c.now, still)
	next := h.ladder.Status()
	if next.Phase == health.Disabled {
		c.member.Note(c.now, fmt.Sprintf("attempt %d: %s; it was the last one", s.Attempt, still))
		c.member.Leave(c.now, "disabled: "+still)
		return
	}
	c.member.Note(c.now, fmt.Sprintf("attempt %d: %s; the next one in %v", s.Attempt, still, wait(next.Next-c.now)))
}

// broken names a monitored interface that does not work, or is empty.
func (c *Core) broken() string {
	for id := range c.health.names {
		if bad, _ := c.health.monitor.Broken(uint8(id)); bad {
			return "interface " + c.health.names[id] + " still does not work"
		}
	}
	return ""
}

// ErrClustering is returned by Enable for a node that is in its cluster, or on its
// way.
var ErrClustering = errors.New("core: the node is clustering already")

// ErrDisabled is returned by Disable for a node that is disabled.
var ErrDisabled = errors.New("core: the node is disabled already")

// Disable takes the node out of its cluster by an operator's decision: it keeps its
// configuration, forwards nothing, and stays out until Enable (EL10).
func (c *Core) Disable(now int64, why string) error {
	c.now = now
	if c.health.ladder.Status().Phase == health.Disabled {
		return ErrDisabled
	}
	if c.member.Withdraw(now, wire.CauseOperator, why) != nil { // it is no member
		c.giveUp(wire.CauseOperator, why)
	}
	c.tickHealth()
	c.flush(now)
	return nil
}

// Enable lets a node that is out look for its cluster again, in a mode.
func (c *Core) Enable(now int64, mode membership.Mode) error {
	c.now = now
	if c.health.ladder.Status().Phase == health.On {
		return ErrClustering
	}
	if err := c.member.RejoinAs(now, c.io.NewIncarnation(), mode); err != nil {
		return err
	}
	c.health.ladder.Enable()
	c.flush(now)
	return nil
}

// StartDisabled begins the life of a node that an operator had taken out.
func (c *Core) StartDisabled(now int64, why string) {
	c.now = now
	c.health.ladder.Out(now, wire.CauseOperator, why)
	c.member.Note(now, "disabled: "+why)
}

// Lapsed says that the lease ended although the membership permitted more: the node
// as a whole did not run (HL7). See membership.Machine.Lapsed.
func (c *Core) Lapsed(now int64) {
	c.now = now
	c.member.Lapsed(now)
	c.flush(now)
}
