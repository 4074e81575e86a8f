package nat

import "cohort/flowtable"

// A mapping takes whatever comes to its port, from any remote. So it does not get a port
// that a connection gave up a moment ago, whichever remote that had: a late packet would
// reach the mapping's host (RFC 6888, REQ-8; 8 c lets another remote have the port only
// where filtering keeps this one out). The exact keys that wait do not tell that of a
// port, so pools with mappings keep until when each of their ports rests.

// exclusive says that mappings take ports of a pool, from now on.
func (p *Ports) exclusive(pool int) {
	if p.pools[pool].exclusive {
		return
	}
	p.pools[pool].exclusive = true
	p.eachWaiting(func(unit int, w *waiting) {
		if int(p.g.pool[p.units[unit].address]) == pool {
			p.restPort(unit, w)
		}
	})
}

// eachWaiting visits the keys in hold-down that lie in a unit.
func (p *Ports) eachWaiting(visit func(unit int, w *waiting)) {
	for i := range p.waiting.count {
		w := &p.waiting.ring[(p.waiting.first+i)&uint32(len(p.waiting.ring)-1)]
		if unit, ok := p.g.UnitOf(w.key); ok && w.end != dead {
			visit(unit, w)
		}
	}
}

// restPort notes until when the port of a key rests, where mappings ask for it.
func (p *Ports) restPort(unit int, w *waiting) {
	u := &p.units[unit]
	c, counted := u.class(w.key.Proto)
	if !counted || !p.pools[p.g.pool[u.address]].exclusive {
		return
	}
	if u.ports[c] == nil {
		u.ports[c] = newPortSet(int(u.size))
	}
	u.ports[c].rest(int(w.key.DstPort-u.first), w.end)
}

// rest makes a port rest; ends of one port never come before earlier ones, but by a
// change of the time that ports rest for.
func (s *portSet) rest(port int, end int64) {
	if s.rests == nil {
		s.rests = make([]uint32, s.size)
	}
	s.rests[port] = flowtable.TickOf(end) + 1
}

// resting reports whether a port of the set, which may be nil, rests; all ports of its
// unit do not from quiet on. What was noted 26 days ago or more seems to lie ahead, and
// further than that.
func (s *portSet) resting(port int, now, quiet int64) bool {
	if s == nil || s.rests == nil || s.rests[port] == 0 || quiet <= now {
		return false
	}
	left := int32(s.rests[port] - flowtable.TickOf(now))
	return left > 0 && int64(left) <= (quiet-now)>>flowtable.TickShift+2
}
