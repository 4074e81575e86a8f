package membership

import (
	"net/netip"

	"cohort/ccl/wire"
)

// Output is what a Machine does to the world. The methods are called from
// inside Start, Step, Tick and the other inputs, in the order in which things
// must happen; they must not call back into the Machine. Messages are plain
// values; the members of a view inside one are shared and must not be changed.
type Output interface {
	// Broadcast sends m to every configured peer. Losing it is allowed.
	Broadcast(m wire.Message)
	// Send sends m to one configured peer. Losing it is allowed.
	Send(to netip.Addr, m wire.Message)
	// Apply makes v the node's membership (EL6). The node is a member of v,
	// and v is newer than every view applied by this incarnation.
	Apply(v *wire.View)
	// Fenced says that the node is no member any more and that others may have
	// adopted its connections: stop forwarding before anything else, revoke
	// the lease, drop the flow table and the saved view, and come back with
	// Rejoin, when the ladder of cause says so (HL3).
	Fenced(why string, cause wire.Cause)
	// Event is a line for `show cluster history` and the log.
	Event(e Event)
}

// Event is one change that an operator wants to read about.
type Event struct {
	At       int64          // nanoseconds, the caller's clock
	From, To wire.NodeState // equal when the node's own state did not change
	Term     uint32         // of the view that is applied after the event
	Epoch    uint32
	Cause    string
}

// history keeps the newest events; older ones are overwritten.
type history struct {
	ring [128]Event
	n    int // ever added
}

func (h *history) add(e Event) {
	h.ring[h.n%len(h.ring)] = e
	h.n++
}

// list returns the events, oldest first.
func (h *history) list() []Event {
	first := max(0, h.n-len(h.ring))
	out := make([]Event, 0, h.n-first)
	for i := first; i < h.n; i++ {
		out = append(out, h.ring[i%len(h.ring)])
	}
	return out
}
