package membership

import (
	"math/bits"
	"strings"

	"cohort/ccl/wire"
)

// narrows is what a member knows about links that carry small packets only (CL3).
type narrows struct {
	own   uint64                // members that this node does not reach with full-sized packets
	pairs [wire.MaxNodes]uint64 // by member: with whom, either of the two says so
	any   bool
	ripe  int64 // when the control node may judge; inf: nothing to judge
}

// settle is how long narrow links are looked at before a member is taken out for
// them: three tenths of the hold time, in which everybody has looked again.
func (m *Machine) settle() int64 { return m.hold * 3 / 10 }

// Narrow tells the machine which members small packets of this node reach and
// full-sized ones do not, a bit for each id. The others hear of a change at once.
func (m *Machine) Narrow(now int64, set uint64) {
	if m.narrow.own == set || m.state != wire.StateInSync {
		return
	}
	m.wake(now)
	m.narrow.own = set
	m.weigh(now)
	m.announce(now)
}

// weigh collects what all members say of their links. Words of another view do not
// count: an id may be another node's there. A link is one when either end says so:
// a cable may swallow what goes one way only.
func (m *Machine) weigh(now int64) {
	was := m.narrow
	n := &m.narrow
	n.pairs, n.any = [wire.MaxNodes]uint64{}, false
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		says := m.narrow.own
		if mem.ID != m.self.ID {
			says = 0
			if p := m.peers[mem.VTEP]; p != nil && m.shows(p) && m.alive(now, mem) {
				says = p.beat.Narrow
			}
		}
		for says &^= 1 << mem.ID; says != 0; says &= says - 1 {
			if id := wire.NodeID(bits.TrailingZeros64(says)); m.view.Member(id) != nil {
				n.pairs[mem.ID] |= 1 << id
				n.pairs[id] |= 1 << mem.ID
				n.any = true
			}
		}
	}
	more, mended := false, false
	for id := range n.pairs {
		more = more || n.pairs[id]&^was.pairs[id] != 0
		mended = mended || was.pairs[id]&^n.pairs[id] != 0
	}
	switch {
	case !n.any:
		n.ripe = inf
	case mended: // ports of a switch come back one after the other
		n.ripe = now + mending
	case more && (!was.any || now >= n.ripe):
		n.ripe = now + m.settle()
	}
}

// staying are the members that nothing is known against, a bit for each.
func (m *Machine) staying(now int64) (set uint64) {
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		if p := m.peers[mem.VTEP]; m.departed(now, mem) == "" && (p == nil || p.evict == "" || p.evictFor == wire.CauseLink) {
			set |= 1 << mem.ID
		}
	}
	return set
}

// narrowed are the members that have to go because full-sized packets do not cross
// their links, a bit for each: the one with the most narrow links first, as long as
// another one that stays has fewer; not for a single link between two data nodes,
// which either end may be to blame for. So when the whole switch carries small
// packets only, nobody is better off and all stay (EL9); Status shows it. Of two
// nodes the control node stays, as if the other one had just come to join.
func (m *Machine) narrowed(now int64) (set uint64) {
	if !m.cfg.RemoveNarrow || !m.narrow.any || now < m.narrow.ripe || m.view == nil {
		return 0
	}
	stay := m.staying(now)
	two := bits.OnesCount64(stay) == 2
	for {
		worst := m.mostNarrow(stay)
		if worst == nil || !m.outdone(worst, stay, two) {
			return set
		}
		set |= 1 << worst.ID
		stay &^= 1 << worst.ID
		two = false
	}
}

// mostNarrow is the member of stay that is to go first, if one is: by the number of
// its narrow links within stay, not the control node, the one of worse priority.
func (m *Machine) mostNarrow(stay uint64) (worst *wire.Member) {
	most := 0
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		links := m.narrow.pairs[mem.ID] & stay
		n := bits.OnesCount64(links)
		if stay&(1<<mem.ID) == 0 || n == 0 || n < most {
			continue
		}
		if n == most && (mem.ID == m.view.Control || worst.ID != m.view.Control && better(mem, worst)) {
			continue
		}
		worst, most = mem, n
	}
	if worst == nil || m.narrow.pairs[worst.ID]&stay&(1<<m.view.Control) == 0 && 2*most <= bits.OnesCount64(stay)-1 {
		return nil
	}
	return worst
}

// outdone reports whether a member of stay is better off than mem: it has fewer
// narrow links, and no failed interface that mem does not have as well. Of two
// members, the control node need not have fewer.
func (m *Machine) outdone(mem *wire.Member, stay uint64, two bool) bool {
	down, _, _ := m.failed(mem)
	for i := range m.view.Members {
		o := &m.view.Members[i]
		has, _, known := m.failed(o)
		if o.ID == mem.ID || stay&(1<<o.ID) == 0 || !known || has&^down != 0 {
			continue
		}
		if m.links(o.ID, stay) < m.links(mem.ID, stay) || two && o.ID == m.view.Control {
			return true
		}
	}
	return false
}

// links counts the narrow links of a member to those of a set.
func (m *Machine) links(id wire.NodeID, set uint64) int {
	return bits.OnesCount64(m.narrow.pairs[id] & set)
}

// narrowTo says why a member has to go because of its link.
func (m *Machine) narrowTo(mem *wire.Member) string {
	return "its control link does not carry full-sized packets: not to or from " + m.namesOf(m.narrow.pairs[mem.ID])
}

// namesOf names members.
func (m *Machine) namesOf(set uint64) string {
	var names []string
	for i := range m.view.Members {
		if mem := &m.view.Members[i]; set&(1<<mem.ID) != 0 {
			names = append(names, mem.Name)
		}
	}
	return strings.Join(names, ", ")
}

// NarrowStatus is what is known about the links of one member.
type NarrowStatus struct {
	Name string
	To   string // the members that full-sized packets do not reach, or come from
	All  bool   // nobody is better off: the switch, rather than this member's link
}

// narrowStatus lists the members with narrow links.
func (m *Machine) narrowStatus() (list []NarrowStatus) {
	if m.view == nil || !m.narrow.any {
		return nil
	}
	n := len(m.view.Members) - 1
	all := true
	for i := range m.view.Members {
		all = all && bits.OnesCount64(m.narrow.pairs[m.view.Members[i].ID]) == n
	}
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		if set := m.narrow.pairs[mem.ID]; set != 0 {
			list = append(list, NarrowStatus{Name: mem.Name, To: m.namesOf(set), All: all})
		}
	}
	return list
}
