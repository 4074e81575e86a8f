package blocks

import (
	"time"

	"cohort/ccl/wire"
)

// Part is a row of units: Count of them from First on.
type Part struct{ First, Count int }

// Cutting is another numbering of the units (NT7).
type Cutting struct {
	Pools []Range
	Cut   uint32
	Names []uint64
	// From says what every unit is made of: the units of the numbering before
	// that were everything it is. Count 0: of something that was in no unit.
	From []Part
	// RemakeAfter is how long after Settled a unit that was made of several
	// holders' may be thawed in use: the longest hold-down that may be under way.
	RemakeAfter time.Duration
}

// CutJournal is a Journal that must be told when units get other numbers: it
// forgets what is held, and hears of it again.
type CutJournal interface {
	Journal
	Recut(cut uint32)
}

// Recut gives the units other numbers. Call it right before ApplyView, when the
// view to come is the first of this node's life that has this numbering: who has
// a view has its numbering (doc.go). Ports must have it already, with nothing held.
//
// What was held stays held as far as it makes up whole new units, and so with
// what is on its way. The rest is nobody's, and its directors thaw it.
func (m *Machine) Recut(now int64, c Cutting) {
	m.now = now
	for i := range m.leases {
		m.endLease(i, 0)
	}
	m.cfg.Pools, m.cfg.Cut, m.cfg.Names = c.Pools, c.Cut, c.Names
	m.gone = nil // of the numbering before
	m.remakeAfter = int64(c.RemakeAfter)
	n := m.cfg.units()
	held, last := m.held, m.last
	m.units, m.geometry, m.sharer = n, m.cfg.geometry(), newSharer(m.cfg.Seed, c.Pools, c.Names, n)
	m.touched, m.seen, m.mine, m.limbo = newBitset(n), newBitset(n), newBitset(n), newBitset(n)
	m.holder, m.last, m.target = make([]wire.NodeID, n), make([]uint16, n), make([]wire.NodeID, n)
	m.firsts, m.leases = make([][3]wire.NodeID, n), make([]lease, len(c.Pools))
	m.rests = movedRests(c.From, m.rests)
	m.entombed, m.told = newBitset(n), newBitset(n)
	m.held, m.remade = moved(c.From, held), newBitset(n)
	kept := moved(c.From, held)
	for id := range m.peers {
		p := &m.peers[id]
		if p.held != nil {
			p.held, p.past = moved(c.From, p.held), newBitset(n)
			for i := range kept {
				kept[i] |= p.held[i]
			}
		}
		for i := range p.out {
			p.out[i].msg.Units = movedRanges(c.From, p.out[i].msg.Units, len(held)*64)
		}
	}
	for u, from := range c.From {
		if from.Count > 0 {
			m.last[u] = last[from.First]
		}
		if from.Count > 1 && !kept.has(u) {
			m.remade.set(u)
		}
	}
	m.rebuildLimbo()
	m.clean()
	m.changed = true
	m.note()
}

// note tells the journal and the allocator what is held, from the beginning.
func (m *Machine) note() {
	if j, ok := m.cfg.Journal.(CutJournal); ok {
		j.Recut(m.cfg.Cut)
	}
	for u := m.held.next(0); u >= 0; u = m.held.next(u + 1) {
		if m.cfg.Journal != nil {
			m.cfg.Journal.Hold(u, true)
		}
		if end, rests := m.rests[u]; rests {
			m.noteRest(u, end)
		}
		if !m.paused {
			m.restOn(u)
			m.cfg.Ports.SetHeld(u, true)
		}
	}
}

// moved returns the units that are wholly made of members of s.
func moved(from []Part, s bitset) bitset {
	to := newBitset(len(from))
	for u, p := range from {
		if p.Count > 0 && countIn(s, p.First, p.First+p.Count) == p.Count {
			to.set(u)
		}
	}
	return to
}

// movedRests returns until when the units rest of which a part rests.
func movedRests(from []Part, rests map[int]int64) map[int]int64 {
	to := map[int]int64{}
	if len(rests) == 0 {
		return to
	}
	for u, p := range from {
		for old := p.First; old < p.First+p.Count; old++ {
			if end, rest := rests[old]; rest {
				to[u] = max(to[u], end)
			}
		}
	}
	return to
}

// movedRanges does the same with ranges of fewer than units.
func movedRanges(from []Part, list []wire.UnitRange, units int) (r ranger) {
	s := newBitset(units)
	each(list, units, s.set)
	to := moved(from, s)
	for u := to.next(0); u >= 0; u = to.next(u + 1) {
		r.add(u)
	}
	return r
}
