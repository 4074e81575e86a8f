package membership

import (
	"fmt"
	"math/bits"
	"strings"
	"time"

	"cohort/ccl/wire"
)

// verdict is how long failed interfaces are looked at before somebody is taken out
// for them: when a switch fails, nodes do not notice it in the same millisecond.
const verdict = int64(40 * time.Millisecond)

// mending is how long nobody is taken out because another node has an interface
// back: when the switch works again, its ports come up one after the other.
const mending = int64(3 * time.Second)

// Health tells the machine which monitored interfaces of this node have failed
// (HL2): bit i is the logical interface with the id i, the i-th of the sorted
// names. The caller has debounced it. With grace the node has just joined: it is
// not removed for them yet. The others hear of a change at once.
func (m *Machine) Health(now int64, down uint32, grace bool) {
	if m.down == down && m.grace == grace {
		return
	}
	m.wake(now)
	if m.down&^down != 0 {
		m.upAt, m.recent = now, now
	}
	m.down, m.grace, m.downAt = down, grace, now
	m.announce(now)
}

// Drain says that this node is about to leave, or takes it back: the next view
// shows it to everybody (EL10). It stays a member and goes on with what it has.
// Only a member drains.
func (m *Machine) Drain(now int64, on bool) {
	if m.view == nil || m.draining == on {
		return
	}
	m.wake(now)
	m.draining = on
	m.announce(now)
}

// announce lets everybody know, and judges at once, if that is this node's part.
func (m *Machine) announce(now int64) {
	if m.state == wire.StateInSync {
		m.heartbeat(now)
		if m.ruling() && !m.doubt.on {
			m.tickControl(now)
		}
	}
	m.rearm(now)
}

func (m *Machine) flags() (f wire.BeatFlags) {
	if m.grace {
		f |= wire.BeatGrace
	}
	if m.draining {
		f |= wire.BeatDraining
	}
	return f
}

// drainers are those of members that drain, as the next view says it.
func (m *Machine) drainers(members []wire.Member) (set uint64) {
	for i := range members {
		mem := &members[i]
		drains := m.draining
		if mem.ID != m.self.ID {
			h := m.word(mem)
			drains = h != nil && h.Flags&wire.BeatDraining != 0
		}
		if drains {
			set |= 1 << mem.ID
		}
	}
	return set
}

// drained says in words whose draining changes with a view, if m has one.
func (m *Machine) drained(v *wire.View) (news []string) {
	for i := range v.Members {
		mem := &v.Members[i]
		switch was, is := m.view.Draining&(1<<mem.ID), v.Draining&(1<<mem.ID); {
		case is > was:
			news = append(news, mem.Name+" drains")
		case is < was && m.view.Member(mem.ID) != nil:
			news = append(news, mem.Name+" drains no more")
		}
	}
	return news
}

// word is what another member last said as this life, or nil.
func (m *Machine) word(mem *wire.Member) *wire.Heartbeat {
	p := m.peers[mem.VTEP]
	if p == nil || p.member.Name == "" || !p.is(mem) {
		return nil
	}
	return p.says()
}

// failed are the interfaces that a member lacks, and since when they are ripe for
// judgement (inf: it has just joined); known is false when it has not said so in
// this life.
func (m *Machine) failed(mem *wire.Member) (down uint32, ripe int64, known bool) {
	down, ripe = m.down, m.downAt
	grace := m.grace
	if mem.ID != m.self.ID {
		h := m.word(mem)
		if h == nil || h.State != wire.StateInSync {
			return 0, inf, false
		}
		down, grace, ripe = h.Down, h.Flags&wire.BeatGrace != 0, m.peers[mem.VTEP].downAt
	}
	if grace {
		return down, inf, true
	}
	return down, ripe + verdict, true
}

// mended is when a member last had an interface back.
func (m *Machine) mended(mem *wire.Member) int64 {
	if mem.ID == m.self.ID {
		return m.upAt
	}
	if p := m.peers[mem.VTEP]; p != nil {
		return p.upAt
	}
	return never
}

// handicap says why a member has to go because of its interfaces, or is empty: it
// has failed ones, and another member that stays has all that it has, and more.
// So "only if others still have it" (HL2); and whatever fails wherever, and
// whoever judges first, a node that nobody is better off than is left (EL9).
func (m *Machine) handicap(now int64, mem *wire.Member) string {
	down, ripe, _ := m.failed(mem)
	if down == 0 || now < ripe {
		return ""
	}
	for i := range m.view.Members {
		other := &m.view.Members[i]
		has, _, known := m.failed(other)
		if now < m.mended(other)+mending {
			continue
		}
		if other.ID == mem.ID || !known || has == down || has&^down != 0 || m.links(other.ID, ^uint64(0)) > m.links(mem.ID, ^uint64(0)) {
			continue
		}
		if p := m.peers[other.VTEP]; m.departed(now, other) == "" && (p == nil || p.evict == "") {
			return fmt.Sprintf("%s failed, %s has %s", m.interfaces(down), other.Name, m.rest(down, has))
		}
	}
	return ""
}

// dismiss tells a member that has to go so, until it has. It stops forwarding and
// leaves; only then is there a view without it. So nobody adopts its connections
// while it still forwards, and if it does not hear this, or is dead or stopped, it
// is removed like any silent member, when its lease is over (HL5).
func (m *Machine) dismiss(now int64, p *peer, mem *wire.Member) {
	own := p.evict == "" || p.evictFor == wire.CauseInterface || p.evictFor == wire.CauseLink
	switch why := m.handicap(now, mem); {
	case !own: // others' reasons stay as they are
	case why != "":
		p.evict, p.evictFor = why, wire.CauseInterface
	case m.narrowed(now)&(1<<mem.ID) != 0:
		p.evict, p.evictFor = m.narrowTo(mem), wire.CauseLink
	default:
		p.evict = ""
	}
	if p.evict == "" || now < p.evicted+m.urgent {
		return
	}
	p.evicted = now
	m.out.Send(p.addr, wire.Removed{
		Life: mem.Incarnation, Term: m.view.Term, Epoch: m.view.Epoch, Cause: p.evictFor, Reason: p.evict,
	})
}

// nextDismissal is when dismiss has something to do by time alone.
func (m *Machine) nextDismissal(now int64, p *peer, mem *wire.Member) int64 {
	switch h := p.says(); {
	case p.evict != "":
		return p.evicted + m.urgent
	case m.narrowed(now)&(1<<mem.ID) != 0:
		return never
	case h == nil || h.Down == 0:
		return inf
	case now < p.downAt+verdict:
		return p.downAt + verdict
	case now < m.recent+mending:
		return m.recent + mending
	case m.handicap(now, mem) != "":
		return never
	}
	return inf
}

// withdraw takes the control node itself out of its cluster when another member
// is better off; the best of the others takes over.
func (m *Machine) withdraw(now int64) bool {
	if why := m.handicap(now, &m.self); why != "" {
		m.eject(now, wire.CauseInterface, why)
		return true
	}
	if m.narrowed(now)&(1<<m.self.ID) != 0 {
		m.eject(now, wire.CauseLink, m.narrowTo(&m.self))
		return true
	}
	return false
}

// rest names those of down that are not in has.
func (m *Machine) rest(down, has uint32) string {
	switch {
	case down&has != 0:
		return strings.TrimPrefix(m.interfaces(down&^has), "interface ")
	case bits.OnesCount32(down) == 1:
		return "it"
	}
	return "them"
}

// interfaces names a set of them.
func (m *Machine) interfaces(set uint32) string {
	var names []string
	for id := 1; id < 32; id++ {
		switch {
		case set&(1<<id) == 0:
		case id <= len(m.cfg.Interfaces):
			names = append(names, m.cfg.Interfaces[id-1])
		default:
			names = append(names, fmt.Sprint(id))
		}
	}
	if len(names) == 1 {
		return "interface " + names[0]
	}
	return "interfaces " + strings.Join(names, ", ")
}

// onRemoved is the control node's word that this node has to go, or why it is not
// in a newer view.
func (m *Machine) onRemoved(now int64, p *peer, r *wire.Removed) {
	if m.view == nil || m.ruling() || r.Life != m.self.Incarnation || r.Cause >= wire.NumCauses || r.Reason == "" {
		return
	}
	ruler := m.view.Member(m.view.Control)
	next := wire.View{Term: r.Term, Epoch: r.Epoch}
	if p.addr != ruler.VTEP || !p.is(ruler) || !Sane(r.Term, r.Epoch) || m.view.Newer(&next) {
		return
	}
	m.note(r.Term, r.Epoch)
	if r.Cause == wire.CauseNode && m.severed(now, 1<<m.view.Control) {
		return // the view comes next, and says who is on which side
	}
	why := fmt.Sprintf("removed from the cluster by %s: %s", ruler.Name, r.Reason)
	if r.Cause == wire.CauseOperator {
		m.expel(now, why)
		return
	}
	m.eject(now, r.Cause, why)
}
