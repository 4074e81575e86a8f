package blocks

import "cohort/ccl/wire"

// What rests in a unit, a port whose connection has ended a moment ago, is known to
// those who saw that connection end: its owner, and who had its stub. Whoever has a
// unit has all of it. When it has no holder, what there is comes together at its
// director: from members with every round (TellRests), from a holder that departs by
// its word (sendWord). See doc.go.

// Rest is a unit in which nothing may be allocated before End.
type Rest struct {
	Unit int
	End  int64
}

// RestJournal is a Journal that also keeps until when units rest; without it, a
// process that takes over allocates from them at once. End 0: it does not rest.
type RestJournal interface {
	Journal
	Rest(unit int, end int64)
}

// RestoreRests says, after Restore, which units rest. Those that are not held, or whose
// rest is over, change nothing.
func (m *Machine) RestoreRests(list []Rest) {
	for _, r := range list {
		if r.Unit >= 0 && r.Unit < m.units && m.held.has(r.Unit) && r.End > m.now {
			m.rests[r.Unit] = r.End
		}
	}
}

// rest makes a unit rest that is about to be taken; end as in Ports.Rest.
func (m *Machine) rest(u int, end int64) {
	if end = m.cfg.Ports.Rest(u, end); end == 0 {
		return
	}
	m.rests[u] = end
	m.noteRest(u, end)
}

func (m *Machine) noteRest(u int, end int64) {
	if j, ok := m.cfg.Journal.(RestJournal); ok {
		j.Rest(u, end)
	}
}

// restOn makes a unit go on to rest before it is allocated from again: after a fence,
// a restart, or under another number.
func (m *Machine) restOn(u int) {
	switch end, rests := m.rests[u]; {
	case !rests:
	case end > m.now:
		m.cfg.Ports.Rest(u, end)
	default:
		delete(m.rests, u)
	}
}

// unrest forgets the rest of a unit that is held no more.
func (m *Machine) unrest(u int) {
	if _, rests := m.rests[u]; rests {
		delete(m.rests, u)
		m.noteRest(u, 0)
	}
}

// Entombed says that a connection in the unit has ended here whose port has not begun
// its hold-down yet. TellRests and Depart pass it on.
func (m *Machine) Entombed(u int) {
	if u >= 0 && u < m.units {
		m.entombed.set(u)
	}
}

// TellRests tells the directors of the units that nobody holds what rests there, as
// far as this node saw it end. Call it at the end of every round of re-registration:
// what ends later has its stub at the director, and what ended before is in Ports or
// was said to be Entombed. False: the link is backed up; call it again.
func (m *Machine) TellRests(now int64) bool {
	m.now = now
	if m.view == nil {
		return true
	}
	var list [wire.MaxNodes][]wire.UnitRest
	for u := range m.units {
		d := m.firsts[u][0]
		if m.holder[u] != 0 || d == m.self || d == 0 {
			continue
		}
		if left := m.left(u); left != 0 {
			list[d] = append(list[d], wire.UnitRest{Unit: uint32(u), Left: left})
		}
	}
	for id := range list {
		for l := list[id]; len(l) > 0; {
			n := min(len(l), m.restsIn())
			if m.cfg.Output.Send(wire.NodeID(id), wire.Rests{View: m.view.Tag(), Count: uint32(m.units), Units: l[:n:n]}) != nil {
				return false
			}
			l = l[n:]
		}
	}
	clear(m.entombed)
	return true
}

// restsIn is how many units one Rests has: each takes more than twice the bytes of a
// range.
func (m *Machine) restsIn() int { return max(m.cfg.MaxRanges/2, 1) }

// left is how long a port of the unit rests that this node knows of, as it travels.
func (m *Machine) left(u int) uint32 {
	if m.entombed.has(u) {
		return wire.RestWhole
	}
	const ms = 1e6
	return uint32(min((max(m.cfg.Ports.Quiet(u)-m.now, 0)+ms-1)/ms, wire.RestWhole-1))
}

// sendWord tells everybody, before this node gives its units up in order, what rests
// in them, and in those of which it has another's word. Who thaws them then has heard
// of every hold-down: this node's here, and those of members by TellRests.
func (m *Machine) sendWord() {
	msg := wire.Rests{View: m.view.Tag(), Departing: true}
	var list []wire.Rests
	for u := range m.units {
		if m.held.has(u) || m.told.has(u) {
			msg.Units = append(msg.Units, wire.UnitRest{Unit: uint32(u), Left: m.left(u)})
		}
		if len(msg.Units) == m.restsIn() || u == m.units-1 {
			msg.Count = uint32(u) + 1 - msg.First
			list = append(list, msg)
			msg.First, msg.Units = uint32(u)+1, nil
		}
	}
	for i := range m.view.Members {
		id := m.view.Members[i].ID
		for k := 0; id != m.self && k < len(list); k++ {
			if m.cfg.Output.Send(id, list[k]) != nil {
				break // what it does not hear of rests for a whole hold-down there
			}
		}
	}
}

// onRests hears what rests at a member.
func (m *Machine) onRests(from wire.NodeID, msg *wire.Rests) {
	end := min(int(msg.First+msg.Count), m.units)
	if msg.Departing {
		m.peers[from].word = true
		for u := int(msg.First); u < end; u++ {
			m.told.clear(u) // its director may have been the sender, which knows nothing of it
		}
	}
	for _, r := range msg.Units {
		u := int(r.Unit)
		if u >= end {
			break
		}
		if msg.Departing {
			m.told.set(u)
		}
		switch {
		case r.Left == wire.RestWhole:
			m.cfg.Ports.Heard(u, 0)
		case r.Left > 0:
			m.cfg.Ports.Heard(u, m.now+int64(r.Left)*1e6)
		}
	}
}

// keepWords decides before v is applied whether the words of those who departed still
// tell everything: not if a member is gone without one, for it may have thawed what
// they are about.
func (m *Machine) keepWords(v *wire.View) {
	if m.former == nil {
		return
	}
	for i := range m.former.Members {
		o := &m.former.Members[i]
		if n := v.Named(o.Name); (n == nil || n.Incarnation != o.Incarnation) && o.ID != m.self && !m.peers[o.ID].word {
			clear(m.told)
			return
		}
	}
}
