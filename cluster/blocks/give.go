package blocks

import "cohort/ccl/wire"

// give is a hand-over that was not confirmed yet. Its units are in limbo.
type give struct {
	msg  wire.GiveUnits
	sent int64
}

// ready reports whether units may be given to a member: it has applied this
// view, nothing that it knew is missing here, we would still know of it after
// a restart, and it stays. And we are sure that what we have is ours: who comes
// to this view may say that we were forgotten.
func (m *Machine) ready(id wire.NodeID) bool {
	if m.meeting {
		m.meeting = !m.agreed()
	}
	p := &m.peers[id]
	return !m.meeting && m.view.Member(id) != nil && p.covered >= m.units && m.sum() != 0 && m.lineage != 0 && !p.leaving
}

// handOver gives idle units to the nodes that should have them.
func (m *Machine) handOver() {
	for i := range m.cfg.Pools {
		m.handOverPool(i)
	}
}

func (m *Machine) handOverPool(pool int) {
	r := &m.cfg.Pools[pool]
	if !anyIn(m.held, m.mine, r.First, r.First+r.Units) {
		return
	}
	if l := &m.leases[pool]; !m.leaving && l.at != 0 && m.now-l.at < int64(m.cfg.LeaseFor) {
		return // short of units a moment ago: what is idle now is what it asked for
	}
	var list [wire.MaxNodes]ranger
	var last wire.NodeID
	spare, busy := false, false
	end := r.First + r.Units
	for u := m.held.next(r.First); u >= 0 && u < end; u = m.held.next(u + 1) {
		switch t := m.target[u]; {
		case !m.cfg.Ports.Idle(u):
			busy = true
		case t == m.self || !m.ready(t):
			spare = true
		default:
			list[t].add(u)
			last = t
		}
	}
	if n := len(list[last]); busy && !spare && !m.leaving && n > 0 {
		// The last idle unit of a pool that is in use here stays.
		if e := &list[last][n-1]; e.Count > 1 {
			e.Count--
		} else {
			list[last] = list[last][:n-1]
		}
	}
	for id := range list {
		m.give(wire.NodeID(id), list[id], wire.GiveUnits{Pool: uint16(pool)})
	}
}

// give passes units on: nobody allocates from them until the receiver has
// confirmed them.
func (m *Machine) give(to wire.NodeID, units []wire.UnitRange, msg wire.GiveUnits) {
	for len(units) > 0 {
		n := min(len(units), m.cfg.MaxRanges)
		msg.Units, units = append([]wire.UnitRange(nil), units[:n]...), units[n:]
		p := &m.peers[to]
		p.given++
		msg.View, msg.Seq = m.view.Tag(), p.given
		gone, _ := m.cfg.Journal.(GoneJournal)
		each(msg.Units, m.units, func(u int) {
			if gone != nil {
				gone.Gone(u)
			}
			if m.held.has(u) {
				m.release(u)
			}
			m.limbo.set(u)
			m.touched.set(u)
			m.dirty(u)
			m.stats.Given++
		})
		p.out = append(p.out, give{msg: msg, sent: m.now})
		_ = m.cfg.Output.Send(to, msg) // repeatGives
	}
}

func (m *Machine) repeatGives(id wire.NodeID, p *peer) {
	for i := range p.out {
		g := &p.out[i]
		if g.msg.View != m.view.Tag() || m.now-g.sent < int64(m.cfg.RepeatAfter) {
			continue
		}
		g.sent = m.now
		if m.cfg.Output.Send(id, g.msg) != nil {
			return
		}
	}
}

// resolve ends the limbo of gives when their receiver says, in this view, which
// one it took last. It has taken the ones before, too; one of an earlier view
// that it has not taken it never will.
func (m *Machine) resolve(p *peer, took uint64) {
	kept := p.out[:0]
	n := len(p.out)
	for i := range p.out {
		g := p.out[i]
		taken, old := g.msg.Seq <= took, g.msg.View != m.view.Tag()
		if !taken && !old {
			kept = append(kept, g)
			continue
		}
		each(g.msg.Units, m.units, m.dirty)
		if !taken {
			m.takeBack(g.msg.Units)
		}
	}
	p.out = kept
	if len(kept) == 0 {
		p.given = took
	}
	if len(kept) != n {
		m.rebuildLimbo()
	}
}

func (m *Machine) takeBack(units []wire.UnitRange) {
	each(units, m.units, func(u int) {
		m.stats.TakenBack++
		m.take(u)
	})
}

func (m *Machine) rebuildLimbo() {
	clear(m.limbo)
	for id := range m.peers {
		for i := range m.peers[id].out {
			each(m.peers[id].out[i].msg.Units, m.units, m.limbo.set)
		}
	}
}

// onGive takes units from a member of this view, each give once and in turn.
func (m *Machine) onGive(from wire.NodeID, msg *wire.GiveUnits) {
	p := &m.peers[from]
	if msg.Answer && len(msg.Units) == 0 {
		m.onAnswer(from, msg, 0)
		return
	}
	if m.departed || m.lineage == 0 || m.sum() == 0 || msg.Seq > p.took+1 {
		return // not in turn, or this node would not know its lineage after a restart: it comes again
	}
	m.dirtyHead = true // Took tells the giver
	if msg.Seq <= p.took {
		return
	}
	m.setTook(from, msg.Seq)
	n := 0
	each(msg.Units, m.units, func(u int) {
		m.take(u)
		m.stats.Taken++
		n++
	})
	if msg.Answer {
		m.stats.LeasesIn += uint64(n)
		m.onAnswer(from, msg, n)
	}
}
