package sim

import "cohort/flowtable"

// A cut that lasts longer than the idle time of a connection may end it: its packets
// meet nodes beyond the cut, which cannot know it, and its owner hears nothing and
// closes it, as it must (FR15). Nobody can go on with it then. That is no excuse once
// the sides are together again, nor for what ends while packets still reach its owner.

// grace is how long a client may be silent by itself: it thinks before it asks, and
// routers need a moment to see that a node is gone. Shorter than any idle time, so that
// what ends while the sides are together has no excuse.
const grace = 900 * ms

// sighting is what the last walk saw of the owners of a connection.
type sighting struct {
	owned   bool
	active  uint32 // tick of the last packet that met one
	timeout uint16 // seconds: the shortest of all that may be in force
}

// together notes when there was neither a cut nor a difference between the views.
func (k *checker) together() {
	if len(k.w.net.cut) == 0 && !k.apart() {
		k.whole = k.w.clock.now
	}
}

// idle notes that the last owner of a connection has closed it in the time of a cut, after
// silence that the cut explains. An owner that goes on with it takes the note back.
func (k *checker) idle(c *conn) {
	if c.started == 0 || c.done || c.failed {
		return
	}
	seen := sighting{}
	for _, n := range k.w.nodes {
		ref := n.table.Lookup(c.key)
		if !n.powered || ref == 0 || ref.IsForward() {
			continue
		}
		f := n.table.Flow(ref.Slot())
		at, timeout := f.LastActive(), k.shortest(f)
		if !seen.owned || flowtable.Since(at, seen.active) > 0 {
			seen.active = at
		}
		if !seen.owned || timeout < seen.timeout {
			seen.timeout = timeout
		}
		seen.owned = true
	}
	last := c.sighted
	c.sighted = seen
	switch {
	case seen.owned:
		c.idled = false
	case last.owned:
		silent := uint32(flowtable.Since(flowtable.TickOf(k.w.clock.now), last.active))
		cut := k.w.clock.now - k.whole
		c.idled = silent >= flowtable.Ticks(uint32(last.timeout)) && silent <= flowtable.TickOf(cut+grace)
		if c.idled {
			k.w.note("connection %d idled out behind the cut", c.id)
		}
	}
}

// shortest is the idle time of a flow, also if the fast path has seen an end that ageing
// has not.
func (k *checker) shortest(f *flowtable.FlowSlot) uint16 {
	t := &k.w.cfg.Timeouts
	if (f.SeenFlags(0)|f.SeenFlags(1))&flowtable.TCPFin != 0 {
		return min(f.Timeout, t.TCPHalfClosed, t.TCPClosing)
	}
	return f.Timeout
}
