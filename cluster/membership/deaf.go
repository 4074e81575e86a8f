package membership

import (
	"math/bits"

	"cohort/ccl/wire"
)

// A control node that hears nobody cannot know whether the others are dead, behind a
// cut, or hear it very well while its own receiver is broken. It goes on alone in all
// three cases (EL5, EL9), and its view says so. In the third case the others read
// that. If it drops more of those that hear each other than it keeps, they do not
// obey: to them it is gone, and they elect. So a node that fails alone does not take
// the cluster with it.

// quiet reports whether nothing came from p for two thirds of the time after which it
// is silent: it has been asked by now.
func (m *Machine) quiet(now int64, p *peer) bool {
	return now-p.last >= m.worry || p.pulse != never && m.attended-max(p.pulse, p.last) >= pulseWorry
}

// deafened reports whether the control node should wait before it removes who is
// silent, because all others are about to be: they were heard last at different
// moments of a heartbeat period. One view that drops them all lets them see that they
// are all meant; the first of several would fence its members one by one. The wait is
// a third of the hold time at most.
func (m *Machine) deafened(now int64) bool {
	waits := false
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		p := m.peers[mem.VTEP]
		if mem.ID == m.self.ID || p == nil || p.left == mem.Incarnation {
			continue
		}
		if !m.quiet(now, p) {
			return false
		}
		waits = waits || !m.silent(now, p)
	}
	return waits
}

// forsaken reports whether our control node, whose next view keeps these members, an
// id each, hears none of those that hear each other. They must be more than it keeps:
// of two nodes the control node goes on, and who alone is not heard must go.
func (m *Machine) forsaken(now int64, keeps uint64) bool {
	if m.ruling() || m.doubt.on || m.follow.apart != 0 {
		return false
	}
	dropped := 0
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		if keeps&(1<<mem.ID) == 0 && (mem.ID == m.self.ID || m.mutual(now, mem)) {
			dropped++
		}
	}
	return keeps&(1<<m.self.ID) == 0 && dropped > bits.OnesCount64(keeps)
}

// mutual reports whether this node and another member hear each other.
func (m *Machine) mutual(now int64, mem *wire.Member) bool {
	h := m.word(mem)
	return h != nil && m.alive(now, mem) && h.Term == m.view.Term && h.Alive&(1<<m.self.ID) != 0
}

// desert lets the control node, and those that it keeps, an id each, count as gone from
// now on, and looks who follows it.
func (m *Machine) desert(now int64, keeps uint64) {
	m.follow.apart, m.follow.behind = keeps, never
	m.tickFollow(now)
}

// deserted reports whether mem is of the side that our control node went on with.
func (m *Machine) deserted(mem *wire.Member) bool {
	if m.follow.apart == 0 || m.view == nil {
		return false
	}
	was := m.view.Member(mem.ID)
	return m.follow.apart&(1<<mem.ID) != 0 && was != nil && sameLife(mem, was)
}

// membersOf are the ids of a view's members, a bit for each.
func membersOf(v *wire.View) (set uint64) {
	for i := range v.Members {
		set |= 1 << v.Members[i].ID
	}
	return set
}
