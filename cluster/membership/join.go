package membership

import (
	"fmt"

	"cohort/ccl/wire"
)

// joining is the state of a node that asks a control node for admission.
type joining struct {
	target  *peer
	life    wire.Incarnation // of the target
	begun   int64            // when it was asked first
	next    int64            // next Join
	refused string           // the last reason (EL8)
}

// meet is called when p has shown that it is a control node and this node has
// none.
func (m *Machine) meet(now int64, p *peer) {
	if p.left == p.member.Incarnation {
		return // an old message of a node that has left
	}
	switch m.state {
	case wire.StateElection:
	case wire.StateJoining:
		t := m.joining.target
		if t == p || !m.silent(now, t) && t.ruling() && !m.preferred(now, p, t) {
			return
		}
	default:
		return
	}
	m.joining = joining{target: p, life: p.member.Incarnation, begun: now, next: now}
	m.become(now, wire.StateJoining, "asking control node "+p.member.Name)
	m.tickJoining(now)
}

// ruling reports whether the last thing p said of itself is that it rules. A
// control node that has answered an election but sent no heartbeat yet counts.
func (p *peer) ruling() bool { return p.beatAt == never || rules(&p.beat) }

func (m *Machine) tickJoining(now int64) {
	t := m.joining.target
	switch {
	case m.silent(now, t):
		m.elect(now, "control node "+t.member.Name+" is silent")
		return
	case t.member.Incarnation != m.joining.life:
		m.elect(now, "control node "+t.member.Name+" restarted")
		return
	case t.left == m.joining.life:
		m.elect(now, "control node "+t.member.Name+" left")
		return
	}
	if m.joining.refused == "" {
		m.unheard(now, t, m.joining.begun)
	}
	if now >= m.joining.next {
		m.joining.next = now + m.period
		m.out.Send(t.addr, m.joinRequest())
	}
}

// joinRequest carries what the control node checks. A node that is a member of
// another side's view sends the id that it has there.
func (m *Machine) joinRequest() wire.Join {
	return wire.Join{
		From: m.self, Cluster: m.cfg.Cluster, Version: m.cfg.Version,
		DataMTU: m.cfg.DataMTU, Interfaces: m.cfg.Interfaces, Config: m.running, Prepared: m.prepared, Tier: m.cfg.Tier,
	}
}

// onJoinRefused shows the reason. A node that wanted to merge its side into a
// better one and may not is out: two sides that cannot become one must not both
// go on (EL5).
func (m *Machine) onJoinRefused(now int64, p *peer, r *wire.JoinRefused) {
	switch {
	case m.state == wire.StateJoining && p == m.joining.target:
		m.joining.next = now + int64(m.cfg.ElectionInterval)
		if m.joining.refused != r.Reason {
			m.joining.refused = r.Reason
			m.tell(now, "%s refused: %s", p.member.Name, r.Reason)
		}
	case m.state == wire.StateInSync && p == m.follow.merge:
		m.fence(now, fmt.Sprintf("%s refused to merge: %s", p.member.Name, r.Reason))
	}
}

// onView takes a view, whoever relays it (EL6).
func (m *Machine) onView(now int64, p *peer, v *wire.View) {
	if !validView(v) {
		m.refused++
		return
	}
	m.note(v.Term, v.Epoch)
	if m.state == wire.StateElection || m.state == wire.StateJoining {
		if m.named(v) && m.unfit(v) == "" {
			m.adopt(now, v, "joined "+v.Member(v.Control).Name)
		}
		return
	}
	if !v.Newer(m.view) {
		return
	}
	ruler := m.view.Member(m.view.Control)
	switch why := m.unfit(v); {
	case m.named(v) && why != "":
		m.fence(now, why)
	case m.named(v) && v.Named(m.self.Name).ID == m.self.ID:
		m.adopt(now, v, m.difference(v))
	case m.named(v):
		m.fence(now, fmt.Sprintf("id %d was given to somebody else while we were apart", m.self.ID))
	case v.Term == m.view.Term && m.forsaken(now, membersOf(v)), sameLife(v.Member(v.Control), ruler) && m.severed(now, membersOf(v)):
		m.desert(now, membersOf(v))
	case m.deserted(v.Member(v.Control)):
		// It went on alone; what it does then is another side's matter.
	case v.Term == m.view.Term, !m.ruling() && sameLife(v.Member(v.Control), ruler):
		m.fence(now, fmt.Sprintf("removed from the cluster by %s in view %s", ruler.Name, ViewName(v.Term, v.Epoch)))
	case m.doubt.on:
		m.fence(now, fmt.Sprintf("view %s was made without this node while it did not run", ViewName(v.Term, v.Epoch)))
	}
	// Else it is the view of another side; heartbeats decide who joins whom.
}

// sameLife reports whether two entries are one incarnation of one node.
func sameLife(a, b *wire.Member) bool { return a.Name == b.Name && a.Incarnation == b.Incarnation }

// adopt applies a view made by another node.
func (m *Machine) adopt(now int64, v *wire.View, cause string) {
	was := m.ruling()
	cause = fmt.Sprintf("view %s: %s", ViewName(v.Term, v.Epoch), cause)
	if was {
		cause += "; no longer control node"
	}
	m.control = control{due: inf}
	m.apply(now, v, cause)
	m.heartbeat(now)
}
