package blocks

import "cohort/ccl/wire"

// dirty notes that others must hear about the unit.
func (m *Machine) dirty(u int) {
	if m.dirtyLo >= m.dirtyHi {
		m.dirtyLo, m.dirtyHi = u, u+1
		return
	}
	m.dirtyLo, m.dirtyHi = min(m.dirtyLo, u), max(m.dirtyHi, u+1)
}

func (m *Machine) clean() { m.dirtyLo, m.dirtyHi, m.dirtyHead = 0, 0, false }

// flush announces what changed, at the end of every call: a lease is of no use
// before the others know where its return packets belong.
func (m *Machine) flush() {
	if m.view == nil || m.dirtyLo >= m.dirtyHi && !m.dirtyHead {
		m.clean()
		return
	}
	list := m.announcement(m.dirtyLo, max(m.dirtyLo, m.dirtyHi))
	m.clean()
	for i := range m.view.Members {
		if id := m.view.Members[i].ID; id != m.self && !m.peers[id].stale {
			m.send(id, list)
		}
	}
}

// tellAll announces everything to everybody.
func (m *Machine) tellAll() {
	list := m.announcement(0, m.units)
	for i := range m.view.Members {
		if id := m.view.Members[i].ID; id != m.self {
			m.send(id, list)
		}
	}
	m.clean()
}

// tell announces everything to one member.
func (m *Machine) tell(id wire.NodeID) { m.send(id, m.announcement(0, m.units)) }

// announcement describes the units from lo to hi, in as many messages as that
// takes, at least one.
func (m *Machine) announcement(lo, hi int) (list []wire.Units) {
	head := wire.Units{View: m.view.Tag(), Lineage: m.lineage, Geometry: m.geometry, Sum: m.sum()}
	if m.leaving {
		head.Flags |= wire.UnitsLeaving
	}
	if m.unsure {
		head.Flags |= wire.UnitsUnsure
	}
	msg := head
	msg.First = uint32(lo)
	for u := lo; u < hi; {
		v := m.held.next(u)
		for _, past := range []bitset{m.touched, m.limbo} {
			if w := past.next(u); w >= 0 && (v < 0 || w < v) {
				v = w
			}
		}
		if v < 0 || v >= hi {
			break
		}
		kind := &msg.Past
		if m.held.has(v) {
			kind = &msg.Held
		}
		(*ranger)(kind).add(v)
		u = v + 1
		if len(msg.Held)+len(msg.Past) == m.cfg.MaxRanges {
			msg.Count = uint32(u) - msg.First
			list = append(list, msg)
			msg = head
			msg.First = uint32(u)
		}
	}
	msg.Count = uint32(hi) - msg.First
	return append(list, msg)
}

// send sends an announcement to one member, completed with what is between the
// two.
func (m *Machine) send(id wire.NodeID, list []wire.Units) {
	p := &m.peers[id]
	for i := range list {
		msg := list[i]
		msg.Took = p.took
		switch {
		case i < len(list)-1:
			msg.Flags |= wire.UnitsUnsure
		case p.covered < m.units:
			msg.Flags |= wire.UnitsAsk
		}
		if m.cfg.Output.Send(id, msg) != nil {
			p.stale = true
			return
		}
	}
}

// repeat says again what may not have arrived.
func (m *Machine) repeat() {
	head := m.announcement(0, 0)
	for i := range m.view.Members {
		id := m.view.Members[i].ID
		p := &m.peers[id]
		switch {
		case id == m.self:
			continue
		case p.stale:
			p.stale = false
			m.tell(id)
		case p.covered < m.units:
			m.send(id, head)
		}
		if p.sum != 0 && m.sum() != 0 && p.sum != m.sum() {
			m.sendRoster(id)
		}
		m.repeatGives(id, p)
	}
}

// onUnits takes an announcement of this view.
func (m *Machine) onUnits(from wire.NodeID, msg *wire.Units) {
	p := &m.peers[from]
	if msg.Lineage != m.lineage {
		if msg.Lineage == 0 || m.lineage != 0 && msg.Lineage > m.lineage {
			// It will join ours as soon as it hears of it.
			if msg.Flags&wire.UnitsAsk != 0 {
				m.tell(from)
			}
			return
		}
		m.join(msg.Lineage)
	}
	if leaving := msg.Flags&wire.UnitsLeaving != 0; leaving != p.leaving {
		p.leaving = leaving
		m.share()
	}
	m.resolve(p, msg.Took)
	m.claims(from, p, msg)
	if before := p.covered; int(msg.First) <= before {
		p.covered = max(before, min(int(msg.First+msg.Count), m.units))
		if before < m.units && p.covered == m.units {
			m.sendRoster(from) // it is in this view now, and listens
		}
	}
	p.unsure = msg.Flags&wire.UnitsUnsure != 0
	m.becomeSure()
	if p.sum != msg.Sum {
		p.sum = msg.Sum
		if own := m.sum(); p.sum != 0 && own != 0 && p.sum != own {
			m.sendRoster(from)
		}
	}
	if msg.Flags&wire.UnitsAsk != 0 {
		m.tell(from)
	}
}

// becomeSure ends the doubt that a hitless restart leaves: which of what the
// former process gave away in this view has arrived? Everybody has answered to
// this process, so that has either been taken, and is among their claims, or
// never will be, because its channels are no more. Without a GoneJournal
// anything that others claim may be of it.
func (m *Machine) becomeSure() {
	if !m.unsure || !m.covered() {
		return
	}
	m.unsure = false
	m.look()
	for i, w := range m.seen {
		if m.gone != nil {
			w &= m.gone[i]
		}
		m.touched[i] |= w
	}
	m.gone = nil
	m.dirtyLo, m.dirtyHi, m.dirtyHead = 0, m.units, true
}

// claims takes over what a member says about the units of a window.
func (m *Machine) claims(from wire.NodeID, p *peer, msg *wire.Units) {
	first, end := int(msg.First), min(int(msg.First+msg.Count), m.units)
	held := newBitset(m.units)
	each(msg.Held, m.units, held.set)
	for u := held.next(first); u >= 0 && u < end; u = held.next(u + 1) {
		if !p.held.has(u) {
			p.held.set(u)
			m.remade.clear(u)
			m.told.clear(u)
			m.last[u] = m.name(from)
			if !m.held.has(u) && m.holder[u] != from {
				m.holder[u] = from
				m.changed = true
			}
		}
	}
	for u := p.held.next(first); u >= 0 && u < end; u = p.held.next(u + 1) {
		if !held.has(u) {
			p.held.clear(u)
			if m.holder[u] == from {
				m.holder[u] = m.findHolder(u)
				m.changed = true
			}
		}
	}
	for u := p.past.next(first); u >= 0 && u < end; u = p.past.next(u + 1) {
		p.past.clear(u)
	}
	each(msg.Past, m.units, p.past.set)
}

// look collects in seen what others say that they hold or had in this view.
func (m *Machine) look() {
	clear(m.seen)
	for i := range m.view.Members {
		if id := m.view.Members[i].ID; id != m.self {
			p := &m.peers[id]
			for i := range m.seen {
				m.seen[i] |= p.held[i] | p.past[i]
			}
		}
	}
}

// covered reports whether every member has told us everything in this view.
func (m *Machine) covered() bool {
	for i := range m.view.Members {
		if id := m.view.Members[i].ID; id != m.self && m.peers[id].covered < m.units {
			return false
		}
	}
	return true
}
