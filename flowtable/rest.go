package flowtable

// graceTicks is how long a slot rests at least after Reclaim first saw it dead. Where
// nobody watches the programs (models, tests), it is all: two ticks are at least one
// millisecond, whatever the phase.
const graceTicks = 2

// Grace tells when the programs that were running at a moment have ended. A program
// that found a slot before it died may still count into it; it runs for microseconds,
// but a hypervisor may hold its CPU in the middle of it for any time, so that no clock
// can tell.
type Grace interface {
	// Begin asks for a grace period that begins after the call and returns its number,
	// for Ended. It does not wait. Soon says that somebody waits for its end; else it may
	// begin a while later, together with others.
	Begin(soon bool) uint64
	// Ended reports whether every program that ran when that period began has ended.
	Ended(period uint64) bool
}

// Watch makes slots rest for a grace period instead of only two ticks. Before anything
// dies.
func (t *Table) Watch(g Grace) {
	t.grace = g
	t.flows.grace, t.forwards.grace, t.delegations.grace = g, g, g
}

// Rest is a grace period as the table counts it.
type Rest struct {
	tick   uint32
	period uint64
}

// Rest begins one: what stopped to be found before the call is used by nobody any more,
// and its counters are final, when Rested says so.
func (t *Table) Rest(now uint32) Rest { return beginRest(now, t.grace, true) }

// Rested reports whether a rest is over.
func (t *Table) Rested(r Rest, now uint32) bool { return r.over(now, t.grace) }

func beginRest(now uint32, g Grace, soon bool) Rest {
	r := Rest{tick: now}
	if g != nil {
		r.period = g.Begin(soon)
	}
	return r
}

func (r Rest) over(now uint32, g Grace) bool {
	return Since(now, r.tick) >= graceTicks && (g == nil || g.Ended(r.period))
}
