package membership

import (
	"fmt"

	"cohort/ccl/wire"
)

// follow is what a member knows about control nodes other than itself.
type follow struct {
	lost   bool   // our control node is missing
	apart  uint64 // who goes on with it and without us, a bit for each id: another side
	orphan int64  // since when the cluster goes on elsewhere without us
	behind int64  // since when a newer view of our control node exists
	merge  *peer  // better control node that we ask for admission (EL5)
	begun  int64  // when that began
	next   int64  // next look at it
}

// heartbeat says that this node lives, what it has applied and whom it hears
// (HL1), and renews the lease.
func (m *Machine) heartbeat(now int64) {
	m.beatAt, m.nextBeat = now, now+m.period
	if m.follow.lost {
		m.nextBeat = now + m.urgent
	}
	m.out.Broadcast(m.hello(now))
}

func (m *Machine) hello(now int64) wire.Heartbeat {
	h := wire.Heartbeat{
		From: m.self, State: wire.StateInSync,
		Term: m.view.Term, Epoch: m.view.Epoch, Control: m.view.Control, Prepared: m.prepared,
		Down: m.down, Narrow: m.narrow.own, Flags: m.flags(),
	}
	if m.doubt.on {
		h.State = wire.StateJoining
	}
	for i := range m.view.Members {
		if mem := &m.view.Members[i]; m.alive(now, mem) {
			h.Alive |= 1 << mem.ID
		}
	}
	return h
}

// onHeartbeat is where a node learns of views and of control nodes.
func (m *Machine) onHeartbeat(now int64, p *peer, h *wire.Heartbeat) {
	if !Sane(h.Term, h.Epoch) || !m.identify(now, p, h.From) {
		return
	}
	if p.beatAt != never && (&wire.View{Term: p.beat.Term, Epoch: p.beat.Epoch}).Newer(&wire.View{Term: h.Term, Epoch: h.Epoch}) {
		return // overtaken on the way (CL6): a life's views only get newer; it lives, and what it says is over
	}
	news := p.beatAt == never || p.beat.Down != h.Down || p.beat.Flags != h.Flags || p.beat.Narrow != h.Narrow
	if p.beatAt != never && p.beat.Down&^h.Down != 0 {
		p.upAt, m.recent = now, now
	}
	if news {
		p.downAt = now
	}
	p.beat, p.beatAt = *h, now
	if h.State == wire.StateInSync {
		m.note(h.Term, h.Epoch)
	}
	switch m.state {
	case wire.StateElection, wire.StateJoining:
		if rules(h) {
			m.meet(now, p)
		} else if h.State == wire.StateInSync {
			m.ruled(now, p)
		}
		return
	}
	if m.narrow.any || h.Narrow != 0 {
		m.weigh(now)
	}
	m.answerDoubt(now, p, h)
	m.settleDoubt(now, p, h)
	m.catchUp(now, p, h)
	m.reply(now, p, h)
	if rules(h) && h.Term != m.view.Term && !m.lags(h) {
		m.rival(now, p)
	}
	if m.ruling() {
		m.counted(now, p, h)
		if (m.prepared != 0 || news) && !m.doubt.on {
			m.tickControl(now)
		}
		return
	}
	m.watchControl(now, p, h)
	if m.follow.lost || p.addr == m.view.Member(m.view.Control).VTEP {
		m.lookAgain(now)
	}
}

// lookAgain is called when a message may have changed who must rule.
func (m *Machine) lookAgain(now int64) {
	if !m.doubt.on {
		m.tickFollow(now)
	}
}

// lookUp notices at once when a message showed that the control node, or the
// one that we ask for admission, is gone: it left, or lives another life.
func (m *Machine) lookUp(now int64) {
	if m.state == wire.StateJoining {
		m.tickJoining(now)
	}
	if m.state == wire.StateInSync && !m.ruling() && !m.follow.lost && !m.alive(now, m.view.Member(m.view.Control)) {
		m.lookAgain(now)
	}
}

// lags reports whether a heartbeat is of a member that has not got our newer view
// yet: the former control node, after a promotion, is no rival.
func (m *Machine) lags(h *wire.Heartbeat) bool {
	mem := m.view.Named(h.From.Name)
	return h.Term < m.view.Term && mem != nil && sameLife(mem, &h.From)
}

// older reports whether the heartbeat's view is older than ours.
func (m *Machine) older(h *wire.Heartbeat) bool {
	return m.view.Newer(&wire.View{Term: h.Term, Epoch: h.Epoch})
}

// catchUp sends our view to whoever shows an older one: the control node at
// once, other members when that did not help for a heartbeat or two. Nodes that
// were removed learn it this way, even if they do not hear the control node.
func (m *Machine) catchUp(now int64, p *peer, h *wire.Heartbeat) {
	if !m.older(h) {
		p.lagging = never
		return
	}
	if p.lagging == never {
		p.lagging = now
	}
	wait, pause := m.period, m.period
	if m.ruling() {
		wait, pause = 0, m.resend/5
	}
	if !m.doubt.on && now-p.lagging >= wait && now-p.sent >= pause {
		m.sendView(now, p)
	}
}

// counted notes, on the control node, that a member hears it.
func (m *Machine) counted(now int64, p *peer, h *wire.Heartbeat) {
	if h.Term == m.view.Term && h.Alive&(1<<m.self.ID) != 0 {
		p.hearsMe = now
	}
}

// rival is another control node. The better one keeps the role; the nodes of
// the other side ask it for admission and go on until they have it (EL5).
func (m *Machine) rival(now int64, p *peer) {
	switch {
	case m.doubt.on:
		return
	case p == m.follow.merge:
		m.askMerge(p)
		return
	case !better(&p.member, m.view.Member(m.view.Control)):
		return
	}
	if t := m.follow.merge; t != nil && t.ruling() && !m.silent(now, t) && !m.preferred(now, p, t) {
		return
	}
	m.mergeInto(now, p)
}

// mergeInto starts to ask p for admission.
func (m *Machine) mergeInto(now int64, p *peer) {
	m.follow.merge, m.follow.next, m.follow.begun = p, now, now
	m.tell(now, "merging into the side of %s", p.member.Name)
	m.heartbeat(now) // p learns our term before it makes its next view
	m.tickMerge(now)
	if m.follow.merge == p {
		m.askMerge(p)
	}
}

// askMerge asks for admission, again at every heartbeat of the better control node: so
// that all of a side ask in the same moment, and none of them is taken alone from
// those that still follow its control node.
func (m *Machine) askMerge(p *peer) { m.out.Send(p.addr, m.joinRequest()) }

// tickMerge looks whether there still is somebody to merge into.
func (m *Machine) tickMerge(now int64) {
	t := m.follow.merge
	if t == nil || now < m.follow.next {
		return
	}
	if m.silent(now, t) || !t.ruling() || t.left == t.member.Incarnation {
		m.follow.merge, m.follow.next = nil, inf
		return
	}
	m.unheard(now, t, m.follow.begun)
	m.follow.next = now + m.resend
}

// watchControl compares our control node's heartbeat with our view.
func (m *Machine) watchControl(now int64, p *peer, h *wire.Heartbeat) {
	ruler := m.view.Member(m.view.Control)
	if p.addr != ruler.VTEP || !p.is(ruler) || h.Control != h.From.ID || now < m.doubt.from || m.follow.apart != 0 {
		return
	}
	switch newer := (&wire.View{Term: h.Term, Epoch: h.Epoch}).Newer(m.view); {
	case !newer:
		m.follow.behind = never
	case h.Term == m.view.Term && m.forsaken(now, h.Alive): // its view was lost on the way
		m.desert(now, h.Alive|1<<h.From.ID)
	case m.follow.behind == never:
		m.follow.behind = now
	}
}

// tickFollow watches the control node and takes its place when it is the duty
// of this node (EL4).
func (m *Machine) tickFollow(now int64) {
	ruler := m.view.Member(m.view.Control)
	p := m.peers[ruler.VTEP]
	switch {
	case m.follow.behind != never && now-m.follow.behind >= m.hold:
		m.fence(now, "no view of "+ruler.Name+" arrives any more")
	case m.alive(now, ruler) && p.movedOn(ruler, m.view.Term):
		m.orphaned(now, p.beat.Term, ruler.Name+" follows another control node")
	case m.alive(now, ruler):
		m.follow.lost, m.follow.orphan = false, never
		m.ask(now, p, ruler.ID)
	default:
		m.succeed(now, ruler, p)
	}
}

// movedOn reports whether this life of mem is a member of a view of a newer
// term, and not of its own.
func (p *peer) movedOn(mem *wire.Member, term uint32) bool {
	h := p.says()
	return h != nil && p.is(mem) && h.State == wire.StateInSync && h.Term > term && h.Control != h.From.ID
}

// succeed decides who follows a missing control node. All members that hear
// each other must miss it: while one of them hears it, a second control node
// would be a rival. Then the best of them takes the role, with a new term and a
// view of those that are there.
func (m *Machine) succeed(now int64, ruler *wire.Member, p *peer) {
	if !m.follow.lost {
		m.follow.lost = true
		m.tell(now, "control node %s is missing: %s", ruler.Name, m.missing(now, ruler, p))
		m.heartbeat(now)
	}
	survivors := []wire.Member{m.self}
	newTerm, wait := uint32(0), false
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		if mem.ID == m.self.ID || mem.ID == ruler.ID || !m.alive(now, mem) {
			continue
		}
		if h := m.peers[mem.VTEP].says(); h != nil {
			if h.State == wire.StateInSync && h.Term > m.view.Term {
				newTerm = max(newTerm, h.Term)
				continue
			}
			same := h.Term == m.view.Term && h.State == wire.StateInSync
			wait = wait || same && (better(mem, &m.self) || h.Alive&(1<<ruler.ID) != 0)
		}
		survivors = append(survivors, *mem)
	}
	switch {
	case newTerm != 0 && (m.follow.orphan == never || now-m.follow.orphan < m.hold || len(survivors) == 1):
		m.orphaned(now, newTerm, "the others follow a new control node")
	case !wait:
		cause := fmt.Sprintf("control node: %s is gone, best of %d left", ruler.Name, len(survivors))
		m.promote(now, survivors, cause)
	}
}

// missing says why the control node counts as gone.
func (m *Machine) missing(now int64, ruler *wire.Member, p *peer) string {
	switch {
	case p == nil:
		return "its address is not among the peers"
	case m.follow.apart != 0:
		return "it goes on without those that hear each other"
	case p.left == ruler.Incarnation:
		return "left"
	case !p.is(ruler):
		return "restarted"
	}
	return m.silence(now, p)
}

// promote makes this node the control node of the survivors of its view.
func (m *Machine) promote(now int64, survivors []wire.Member, cause string) {
	for i := range survivors {
		if p := m.peers[survivors[i].VTEP]; p != nil {
			p.hearsMe, p.lagging, p.join, p.evict = now, never, nil, ""
		}
	}
	m.publish(now, survivors, m.view.Members, cause)
}

// orphaned is the state of a member whose cluster has made a view of term
// without it. It asks to be taken along, keeping its connections; after the
// hold time it is out.
func (m *Machine) orphaned(now int64, term uint32, why string) {
	if m.follow.orphan == never {
		m.follow.orphan = now
	}
	if now-m.follow.orphan >= m.hold {
		m.fence(now, why)
		return
	}
	if m.follow.merge != nil {
		return
	}
	for _, p := range m.order {
		if h := p.says(); h != nil && rules(h) && h.Term >= term && !m.silent(now, p) {
			m.mergeInto(now, p)
			return
		}
	}
}

// nextFollow is the earliest time at which tickFollow could find something new
// by time alone.
func (m *Machine) nextFollow() int64 {
	if m.follow.lost {
		return inf // every urgent heartbeat looks again
	}
	next := inf
	if m.follow.behind != never {
		next = m.follow.behind + m.hold
	}
	if m.follow.orphan != never {
		next = min(next, m.follow.orphan+m.hold)
	}
	if p := m.peers[m.view.Member(m.view.Control).VTEP]; p != nil {
		return min(next, p.last+m.hold, m.nextAsk(p))
	}
	return never
}
