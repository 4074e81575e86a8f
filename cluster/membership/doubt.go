package membership

import (
	"fmt"

	"cohort/ccl/wire"
)

// doubt is the state of a member that did not run for a while (a restarted
// daemon, a stopped process): others may have removed it and adopted its
// connections. Until it knows better it neither renews its lease nor judges
// others by their silence, which may be its own deafness.
type doubt struct {
	on    bool
	since int64
	from  int64 // believe heartbeats from here on; earlier ones may be old
	asked int64
}

// Resume continues a membership that a restarted daemon found in its state
// (HL5): v was the view and id this node's id, with the incarnation of the
// configuration. Nothing is applied again. The machine asks the cluster at
// once whether v still holds; until then LeaseUntil is 0 and the lease that
// the former process left runs on by itself. A node that drained goes on saying so;
// the caller takes it back with Drain if nobody wants it any more. If the cluster has gone on
// without this node, Fenced follows.
func (m *Machine) Resume(now int64, v *wire.View, id wire.NodeID) error {
	switch {
	case m.state != wire.StateDisabled:
		return fmt.Errorf("membership: resume while %s", StateName(m.state))
	case v == nil || !validView(v):
		return fmt.Errorf("membership: resume: the saved view is not valid")
	case !m.named(v) || v.Named(m.self.Name).ID != id:
		return fmt.Errorf("membership: resume: this life of %s is not member %d of the saved view", m.self.Name, id)
	case v.Config != m.running:
		return fmt.Errorf("membership: resume: %s", m.unfit(v))
	}
	m.view, m.self.ID = v, id
	m.draining = v.Drains(id) // until the caller takes it back (Drain)
	m.note(v.Term, v.Epoch)
	for i := range v.Members {
		m.remember(v.Members[i].Name, v.Members[i].ID)
	}
	m.become(now, wire.StateInSync, fmt.Sprintf("view %s: resumed after a restart", ViewName(v.Term, v.Epoch)))
	m.enterDoubt(now, now)
	m.heartbeat(now)
	m.rearm(now)
	return nil
}

// enterDoubt begins the doubt. Everybody gets a full hold time to be heard.
func (m *Machine) enterDoubt(now, from int64) {
	m.doubt = doubt{on: true, since: now, from: from, asked: now}
	for _, p := range m.order {
		p.last, p.hearsMe = now, now
	}
	m.follow.lost, m.follow.apart, m.follow.orphan, m.follow.behind = false, 0, never, never
	m.follow.merge, m.follow.next = nil, inf
}

// tickDoubt ends the doubt when nobody objected for the hold time: a live
// cluster answers a heartbeat that shows an old view at once.
func (m *Machine) tickDoubt(now int64) {
	if !m.doubt.on {
		return
	}
	if len(m.order) == 0 || now-m.doubt.since >= m.hold {
		m.believe(now, "nobody objects")
		return
	}
	if now >= m.doubt.from && m.doubt.asked < m.doubt.from {
		m.doubt.asked = now
		m.heartbeat(now)
	}
}

func (m *Machine) nextDoubt() int64 {
	if m.doubt.asked < m.doubt.from {
		return m.doubt.from
	}
	return m.doubt.since + m.hold
}

// answerDoubt tells a member that asks (a heartbeat in state joining) that its
// view still holds. Nodes with a newer view answer by sending that.
func (m *Machine) answerDoubt(now int64, p *peer, h *wire.Heartbeat) {
	if h.State != wire.StateJoining || m.doubt.on || h.Term != m.view.Term || h.Epoch != m.view.Epoch {
		return
	}
	if (m.ruling() || h.From.ID == h.Control) && now-p.sent >= m.resend/5 {
		p.sent = now
		m.out.Send(p.addr, m.hello(now))
	}
}

// settleDoubt ends the doubt by evidence: the control node, or for the control
// node any member, still lives in the view that has this node.
func (m *Machine) settleDoubt(now int64, p *peer, h *wire.Heartbeat) {
	if !m.doubt.on || now < m.doubt.from || h.State != wire.StateInSync ||
		h.Term != m.view.Term || h.Epoch != m.view.Epoch {
		return
	}
	mem := m.view.Member(h.From.ID)
	if mem == nil || !sameLife(mem, &h.From) {
		return
	}
	if m.ruling() || h.From.ID == h.Control {
		m.believe(now, p.member.Name+" confirms")
	}
}

// believe ends the doubt.
func (m *Machine) believe(now int64, why string) {
	m.doubt = doubt{}
	m.tell(now, "membership still holds: %s", why)
	m.heartbeat(now)
}

// wake is called by every input. Time in which this process did not run is not
// the silence of others; and if it was long enough for the lease to expire,
// the membership is in doubt.
func (m *Machine) wake(now int64) {
	late := now - m.due
	if late <= m.slack || m.state == wire.StateDisabled || m.state == wire.StateFenced {
		return
	}
	forgive := func(t *int64) {
		if *t != never && *t != inf {
			*t = min(*t+late, now)
		}
	}
	for _, p := range m.order {
		forgive(&p.last)
		forgive(&p.hearsMe)
		forgive(&p.restarted)
	}
	forgive(&m.follow.orphan)
	forgive(&m.follow.behind)
	if m.election.deadline != inf {
		m.election.deadline += late
	}
	if m.election.quick != inf {
		m.election.quick += late
	}
	m.due = now
	if m.state == wire.StateInSync && !m.doubt.on && now > m.assured()+m.lease {
		m.tell(now, "did not run for %v", round(now-m.assured()))
		m.enterDoubt(now, now+m.slack)
	}
}

// LeaseUntil is the time until which this node may forward without being asked
// again: 0.6 hold times after its last heartbeat, or in the fast profile after the
// newest round (Attended). 0 means: do not renew. It
// never ends a lease that was given; only Fenced does. The argument why this is
// enough is in the package's comment.
func (m *Machine) LeaseUntil(now int64) int64 {
	if m.state != wire.StateInSync || m.doubt.on || now > m.assured()+m.lease {
		return 0
	}
	return m.assured() + m.lease
}
