package core

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"cohort/cluster/health"
)

// departure is a node on its way out of its cluster by an operator's decision (EL10):
// it drains, and goes when it owns nothing, or when its time is over.
type departure struct {
	on    bool
	why   string
	until int64
	told  bool  // the others hear of it
	tell  int64 // at the latest
	left  int   // connections that it still had when it went
}

// keepFor is how long a node that is to go waits for the disk: one that is full does not
// keep it from going.
const keepFor = time.Second

// Patience is how long a node waits for its connections to move whose operator has time.
const Patience = 5 * time.Minute

// ErrDraining is returned by Drain for a node that drains already.
var ErrDraining = errors.New("core: the node drains already")

// Drain takes the node out of its cluster like Disable, but gives its connections and
// its idle NAT units to others first. It goes after bound all the same; then others
// adopt what it still has from their copies.
func (c *Core) Drain(now int64, bound time.Duration, why string) error {
	c.now = now
	d := &c.departure
	switch {
	case d.on:
		return ErrDraining
	case c.health.ladder.Status().Phase == health.Disabled:
		return ErrDisabled
	}
	*d = departure{on: true, why: why, until: now + int64(bound), tell: now + int64(keepFor)}
	c.tickDrain()
	c.flush(now)
	return nil
}

// Draining reports whether the node is on its way out, and how many connections it
// owns; or, once it is out, had when it went.
func (c *Core) Draining() (left int, on bool) {
	if c.departure.on {
		return c.own.Owned(), true
	}
	return c.departure.left, false
}

// Leaving is why this node is on its way out, "" when it is not.
func (c *Core) Leaving() string {
	if c.departure.on {
		return c.departure.why
	}
	return ""
}

// tellDrain begins what the others hear of, when it is kept.
func (c *Core) tellDrain() {
	d := &c.departure
	if !d.on || d.told || c.now < d.tell && c.kept != nil && !c.kept(d.why) {
		return
	}
	d.told = true
	c.member.Drain(c.now, true)
	if c.units != nil && c.view != nil {
		c.units.Leave(c.now)
	}
}

// tickDrain goes when there is nothing to wait for any more.
func (c *Core) tickDrain() {
	d := &c.departure
	if c.member.Asked() && !d.on {
		_ = c.Drain(c.now, Patience, "drained: an operator said so at another node") // a member is not disabled
		return
	}
	c.tellDrain()
	if !d.on || c.now < d.until && c.heirs() && !c.drained() {
		return
	}
	if d.left = c.own.Owned(); d.left > 0 {
		d.why += fmt.Sprintf("; %d connections were left to be adopted", d.left)
	}
	d.on = false
	if c.units != nil && c.view != nil {
		c.own.Entombed(c.entombed)
		c.units.Depart(c.now)
	}
	c.link.FlushAll(c.now)      // the others hear that, and what has ended, before they hear Leave
	_ = c.Disable(c.now, d.why) // it was not disabled when this began
}

// heirs reports whether anybody is there to give anything to.
func (c *Core) heirs() bool {
	return c.view != nil && len(c.view.Members)-bits.OnesCount64(c.view.Draining&^(1<<c.self)) > 1
}

// drained reports whether all know that this node drains, and nothing is left here.
func (c *Core) drained() bool {
	return c.own.Drained() && (c.units == nil || c.units.LeaveReady())
}
