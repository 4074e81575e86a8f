package blocks

import "cohort/ccl/wire"

// State says what a unit is doing (NT11).
type State uint8

// States of a unit.
const (
	Held    State = iota // its holder should have it
	Leased               // another node should have it
	Limbo                // on its way from one node to another
	Frozen               // nobody here holds it, and somebody who is not here may
	Waiting              // nobody holds it: its director is about to thaw it, or waits for what rests in it (Cutting.RemakeAfter)
)

// String returns the name that commands show.
func (s State) String() string {
	return [...]string{"held", "leased", "limbo", "frozen", "waiting"}[s]
}

// UnitStatus is one unit as this node knows it.
type UnitStatus struct {
	State  State
	Holder wire.NodeID // 0 = nobody in the view
	Target wire.NodeID // who should hold it
	Backup wire.NodeID // second of its order: who has the stubs of the holder's own connections
	Last   string      // the holder heard of last, while there is none
}

// Status is the state of a Machine.
type Status struct {
	Lineage uint64   // 0 = not founded yet
	Settled bool     // hand-over and thaw may run
	Missing []string // nodes that are waited for: while there are any, nothing thaws
	Open    bool     // a member has not told everything, or rosters differ
	Held    int      // units this node holds
	Units   []UnitStatus
	Stats   Stats
}

// Status describes all units.
func (m *Machine) Status() Status { return m.StatusOf(0, m.units) }

// StatusOf is Status with n units from the first on, or those that there are: who asks
// about tens of thousands while packets wait asks for a part at a time.
func (m *Machine) StatusOf(first, n int) Status {
	s := Status{Lineage: m.lineage, Settled: m.settled, Held: m.held.count(), Stats: m.stats, Open: true}
	if m.view == nil {
		return s
	}
	s.Missing, s.Open = m.roster.missing(m.view), !m.agreed()
	m.look()
	s.Units = make([]UnitStatus, max(min(n, m.units-first), 0))
	for i := range s.Units {
		x, u := &s.Units[i], first+i
		x.Holder, x.Target = m.Holder(u), m.target[u]
		_, x.Backup, _ = m.Order(u)
		switch {
		case x.Holder == x.Target && x.Holder != 0:
			x.State = Held
		case x.Holder != 0:
			x.State = Leased
		case m.touched.has(u) || m.limbo.has(u) || m.seen.has(u):
			x.State = Limbo
		case s.Open || len(s.Missing) > 0:
			x.State = Frozen
		default:
			x.State = Waiting
		}
		if x.Holder == 0 {
			x.Last = m.names[m.last[u]]
		}
	}
	return s
}

// Stats returns the counters.
func (m *Machine) Stats() Stats { return m.stats }

// Held reports whether this node holds the unit. It may allocate from it if it
// is also Settled after a restart: Ports.SetHeld says so.
func (m *Machine) Held(u int) bool { return m.held.has(u) }

// Holder returns the member that holds the unit, 0 = none in this view.
func (m *Machine) Holder(u int) wire.NodeID { return m.holder[u] }

// Target returns the member that should hold the unit.
func (m *Machine) Target(u int) wire.NodeID { return m.target[u] }

// Order returns who answers for the second keys of a unit, the most
// responsible first: its holder when that is in the view, then its rendezvous
// order; 0 for a missing one. The stub of a connection lives at the first that
// does not own the connection.
func (m *Machine) Order(u int) (first, second, third wire.NodeID) {
	f := m.firsts[u]
	switch h := m.holder[u]; h {
	case 0, f[0]:
		return f[0], f[1], f[2]
	case f[1]:
		return h, f[0], f[2]
	default:
		return h, f[0], f[1]
	}
}

// Director returns the first of Order.
func (m *Machine) Director(u int) wire.NodeID {
	first, _, _ := m.Order(u)
	return first
}

// Directors appends the director of every unit to buf[:0]: the fast path's
// array.
func (m *Machine) Directors(buf []wire.NodeID) []wire.NodeID {
	buf = buf[:0]
	for u := range m.units {
		buf = append(buf, m.Director(u))
	}
	return buf
}

// Changed reports whether an Order may have changed since the last call.
func (m *Machine) Changed() bool {
	c := m.changed
	m.changed = false
	return c
}
