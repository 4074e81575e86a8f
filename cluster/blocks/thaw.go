package blocks

import "cohort/ccl/wire"

// agreed reports whether every member has told us everything in this view,
// knowing what it says, and all would know the same roster after a restart.
func (m *Machine) agreed() bool {
	own := m.sum()
	if own == 0 || m.unsure || !m.covered() {
		return false
	}
	for i := range m.view.Members {
		if id := m.view.Members[i].ID; id != m.self && (m.peers[id].sum != own || m.peers[id].unsure) {
			return false
		}
	}
	return true
}

// complete reports whether everybody who may hold a unit is here.
func (m *Machine) complete() bool { return m.agreed() && len(m.roster.missing(m.view)) == 0 }

// found begins the lineage, once: at a control node whose view has everybody
// that any of its members ever met, all of them without one. Nobody holds
// anything then, so the directors thaw all units and hand them out.
func (m *Machine) found() {
	if m.lineage != 0 || !m.cfg.Found || m.view.Control != m.self || !m.complete() {
		return
	}
	m.join(uint64(m.life))
}

// join makes this node part of a lineage. What it held in another one does not
// count in this one.
func (m *Machine) join(lineage uint64) {
	m.drop()
	m.lineage = lineage
	clear(m.touched)
	for id := range m.peers {
		clear(m.peers[id].held)
		clear(m.peers[id].past)
		m.peers[id].covered, m.peers[id].sum = 0, 0
	}
	clear(m.holder)
	m.remember()
	m.changed = true
	m.tellAll()
}

// thaw brings back what nobody holds. That a unit is in neither touched nor
// seen proves it, because everybody is here; see doc.go. Only the unit's
// director does so, because it has the stubs of the connections that are left.
func (m *Machine) thaw() {
	if m.lineage == 0 || !m.complete() {
		return
	}
	m.forgetGives()
	m.look()
	var list [wire.MaxNodes]ranger
	given := false
	for i := range m.touched {
		free := ^(m.touched[i] | m.limbo[i] | m.seen[i])
		for u := i << 6; free != 0 && u < m.units; u, free = u+1, free>>1 {
			if free&1 == 0 || m.firsts[u][0] != m.self {
				continue
			}
			if !m.cfg.Ports.Idle(u) {
				m.thawInUse(u)
				continue
			}
			m.stats.Thawed++
			if t := m.target[u]; t != m.self && m.ready(t) {
				list[t].add(u)
				given = true
			} else {
				m.take(u)
			}
		}
	}
	if !given {
		return
	}
	for id := range list {
		m.give(wire.NodeID(id), list[id], wire.GiveUnits{})
	}
}

// thawInUse takes a unit that connections use whose holder is over: in a cluster
// with connections that last, it would never be idle, and after every node has been
// away once hardly a unit would be left (NT3, NT5). Everybody has registered, so this
// node knows every connection in it and will not choose their tuples: of those it cannot
// be sure of less than when it finds a unit idle. What rests there it knows if the last
// holder departed in order and told it: then the unit rests till that is over. Else for
// a whole hold-down (NT5).
//
// A unit that a new numbering made of units of several holders has lost its ports
// while these live, and know what rests there (hold-down). That is over when it has
// waited for so long.
func (m *Machine) thawInUse(u int) {
	if m.remade.has(u) {
		if m.now-m.since < m.remakeAfter {
			return
		}
		m.stats.Remade++
	} else if end := m.cfg.Ports.Quiet(u); !m.told.has(u) {
		m.rest(u, 0)
	} else if end > m.now {
		m.rest(u, end)
	}
	m.stats.Thawed++
	m.stats.InUse++
	m.take(u)
}

// forgetGives ends the limbo of what was on its way to a node that is over. Its
// director thaws it, unless somebody else has it.
func (m *Machine) forgetGives() {
	for id := range m.peers {
		p := &m.peers[id]
		if len(p.out) == 0 || m.view.Member(wire.NodeID(id)) != nil {
			continue
		}
		for i := range p.out {
			each(p.out[i].msg.Units, m.units, m.dirty)
		}
		p.out = nil
		m.rebuildLimbo()
	}
}
