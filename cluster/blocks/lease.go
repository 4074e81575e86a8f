package blocks

import (
	"slices"

	"cohort/ccl/wire"
)

// lease is a Want of one pool (NT3). Holders are asked one after another, those
// with the most to give first, so that nearly always one round trip is enough.
type lease struct {
	active   bool
	fresh    bool // units have come, and who waited for them has not tried yet
	count    int
	at       int64       // of the newest Want, 0 = never
	until    int64       // give up
	to       wire.NodeID // asked now, 0 = nobody
	deadline int64       // of its answer
	asked    uint64      // bit per node: asked in this round
	refused  uint64      // bit per node: has nothing
	left     [wire.MaxNodes]uint16
}

// restart begins the round again: the view has changed.
func (l *lease) restart() { l.to, l.asked, l.refused, l.deadline = 0, 0, 0, 0 }

// Want asks for count more idle units of a pool; Config.Answered says how many
// came. A second Want while one is open adds nothing but its count, if larger.
func (m *Machine) Want(now int64, pool, count int) {
	m.now = now
	if pool < 0 || pool >= len(m.leases) || count <= 0 {
		return
	}
	l := &m.leases[pool]
	l.at = now
	if l.active {
		l.count = max(l.count, count)
		return
	}
	l.active, l.count, l.until = true, count, now+int64(m.cfg.WantFor)
	l.restart()
	m.askNext(pool)
}

// askNext asks the next holder, or ends the Want.
func (m *Machine) askNext(pool int) {
	l := &m.leases[pool]
	if m.view == nil || m.departed {
		m.endLease(pool, 0)
		return
	}
	r := &m.cfg.Pools[pool]
	best, most, open := wire.NodeID(0), 0, false
	for i := range m.view.Members {
		id := m.view.Members[i].ID
		p := &m.peers[id]
		if id == m.self || l.refused>>id&1 != 0 {
			continue
		}
		if p.covered < m.units {
			open = true
			continue
		}
		n := countIn(p.held, r.First, r.First+r.Units)
		if n == 0 {
			continue
		}
		open = true
		if l.left[id] != 0 {
			n = int(l.left[id]) // one more than it could give when it was asked last
		}
		if l.asked>>id&1 == 0 && n > most {
			best, most = id, n
		}
	}
	switch {
	case best != 0:
		l.to, l.asked, l.deadline = best, l.asked|1<<best, m.now+int64(m.cfg.AskTimeout)
		_ = m.cfg.Output.Send(best, wire.WantUnits{View: m.view.Tag(), Pool: uint16(pool), Count: uint16(min(l.count, maxLease))})
	case open && m.now < l.until:
		l.to, l.asked, l.deadline = 0, 0, m.now+int64(m.cfg.AskTimeout)
	default:
		m.endLease(pool, 0)
	}
}

// maxLease is how many units one answer has at most.
const maxLease = 64

func (m *Machine) endLease(pool, got int) {
	l := &m.leases[pool]
	if !l.active {
		return
	}
	l.active, l.fresh = false, got > 0
	l.restart()
	if m.cfg.Answered != nil {
		m.cfg.Answered(pool, got)
	}
}

func (m *Machine) tickLease(pool int) {
	l := &m.leases[pool]
	l.fresh = false
	if l.active && m.now >= l.deadline {
		m.askNext(pool)
	}
}

// onWant gives idle units away: first those that the asker should have anyway,
// then those that this node has on loan, then its own, to the last one. Not what a
// lease has just brought: who waits here tries it first. Two nodes that are both short
// would pass on the last unit to each other for ever, each asking for it back in the
// datagram that brings it, and nobody would ever use it.
func (m *Machine) onWant(from wire.NodeID, pool, count int) {
	if pool >= len(m.leases) || !m.settled || !m.ready(from) || m.leases[pool].fresh {
		return // what is idle is not known: the asker turns to others, and comes back
	}
	msg := wire.GiveUnits{View: m.view.Tag(), Answer: true, Pool: uint16(pool)}
	var classes [3][]int
	idle := 0
	if r := &m.cfg.Pools[pool]; !m.leases[pool].active {
		for u := m.held.next(r.First); u >= 0 && u < r.First+r.Units; u = m.held.next(u + 1) {
			if !m.cfg.Ports.Idle(u) {
				continue
			}
			idle++
			class := 1
			switch m.target[u] {
			case from:
				class = 0
			case m.self:
				class = 2
			}
			if len(classes[class]) < maxLease {
				classes[class] = append(classes[class], u)
			}
		}
	}
	if idle == 0 {
		m.stats.Refused++
		_ = m.cfg.Output.Send(from, msg)
		return
	}
	list := slices.Concat(classes[:]...)
	list = list[:min(len(list), max(count, 1), maxLease)]
	slices.Sort(list)
	var units ranger
	for _, u := range list {
		units.add(u)
	}
	msg.Left = uint16(idle - len(list))
	m.stats.LeasesOut += uint64(len(list))
	m.give(from, units, msg)
}

// onAnswer ends a Want, or tries the next holder.
func (m *Machine) onAnswer(from wire.NodeID, msg *wire.GiveUnits, got int) {
	pool := int(msg.Pool)
	if pool >= len(m.leases) {
		return
	}
	l := &m.leases[pool]
	l.left[from] = msg.Left + 1
	switch {
	case got > 0:
		m.endLease(pool, got)
	case l.active && l.to == from:
		l.refused |= 1 << from
		m.askNext(pool)
	}
}
