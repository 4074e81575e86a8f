package membership

import (
	"fmt"
	"time"

	"cohort/ccl/wire"
)

// election is the state of a node that knows no control node (EL1).
type election struct {
	started  int64
	nextAsk  int64 // next election request
	deadline int64 // take the role when no better answer has come until then
	quick    int64 // when Config.QuickWait ends
	hurry    bool  // it has ended
}

// elect begins an election.
func (m *Machine) elect(now int64, cause string) {
	m.reset()
	m.election = election{
		started: now, nextAsk: now, deadline: now + int64(m.cfg.ElectionWait), quick: inf,
	}
	if m.mode == Create {
		m.election.quick = now + int64(m.cfg.ElectionInterval)
	} else if m.cfg.QuickWait > 0 {
		m.election.quick = now + int64(m.cfg.QuickWait)
	}
	m.become(now, wire.StateElection, cause)
	m.tickElection(now)
}

func (m *Machine) tickElection(now int64) {
	if now >= m.election.nextAsk {
		m.election.nextAsk = now + int64(m.cfg.ElectionInterval)
		if m.mode != Join { // members are heard without asking, and it is no candidate
			m.out.Broadcast(m.request())
		}
	}
	if now >= m.election.quick {
		m.election.quick, m.election.hurry = inf, true
	}
	m.decide(now)
}

func (m *Machine) request() wire.ElectionRequest {
	return wire.ElectionRequest{From: m.self, Cluster: m.cfg.Cluster}
}

func (m *Machine) nextElection() int64 {
	return min(m.election.nextAsk, m.election.deadline, m.election.quick)
}

// onElectionRequest answers everybody who asks, so that the asker learns that
// a better candidate or a cluster exists, and that we hear it.
func (m *Machine) onElectionRequest(now int64, p *peer, r *wire.ElectionRequest) {
	if r.Cluster != m.cfg.Cluster || !m.identify(now, p, r.From) {
		return
	}
	if m.state == wire.StateElection && m.mode == Join {
		return
	}
	reply := wire.ElectionReply{From: m.self}
	switch {
	case m.view != nil:
		reply.Control, reply.Term, reply.Epoch = m.view.Control, m.view.Term, m.view.Epoch
	case m.state == wire.StateJoining:
		reply.Control = m.joining.target.member.ID
	}
	m.out.Send(p.addr, reply)
	if m.state != wire.StateElection {
		return
	}
	m.candidate(now, p)
	// It has not heard us yet, or its answer was lost: ask it now instead of
	// at the next interval.
	if now-p.answered >= m.fresh() && now-p.pinged >= int64(m.cfg.ElectionInterval) {
		p.pinged = now
		m.out.Send(p.addr, m.request())
	}
	m.decide(now)
}

func (m *Machine) onElectionReply(now int64, p *peer, r *wire.ElectionReply) {
	if !Sane(r.Term, r.Epoch) || !m.identify(now, p, r.From) {
		return
	}
	if m.state != wire.StateElection {
		return
	}
	if r.Control == 0 {
		p.answered = now
		m.candidate(now, p)
		m.decide(now)
		return
	}
	m.note(r.Term, r.Epoch)
	m.ruled(now, p)
	if r.From.ID == r.Control && r.Term != 0 {
		m.meet(now, p)
	}
}

// candidate restarts the wait when p is better than this node.
func (m *Machine) candidate(now int64, p *peer) {
	if better(&p.member, &m.self) {
		m.election.deadline = now + int64(m.cfg.ElectionWait)
	}
}

// ruled notes that p knows a control node, even if that is not heard here. A
// node that hears members does not make a cluster beside theirs.
func (m *Machine) ruled(now int64, p *peer) {
	p.answered = never
	m.election.deadline = now + int64(m.cfg.ElectionWait)
}

// fresh is how long an election reply counts.
func (m *Machine) fresh() int64 { return 3 * int64(m.cfg.ElectionInterval) }

// decide takes the control role when the rules say so: nobody better answered
// for the whole wait, or everybody has answered and nobody is better.
func (m *Machine) decide(now int64) {
	if m.mode == Join {
		m.election.deadline = inf
		return
	}
	if now >= m.election.deadline {
		m.form(now, fmt.Sprintf("no better answer for %v", m.cfg.ElectionWait))
		return
	}
	present := 0
	for _, p := range m.order {
		switch {
		case now-p.answered < m.fresh():
			if better(&p.member, &m.self) {
				return
			}
			present++
		case p.absent, m.election.hurry && p.last < m.election.started:
		default:
			return
		}
	}
	m.form(now, fmt.Sprintf("best of all %d nodes that are there", present+1))
}

// form makes a cluster of one; the others join it.
func (m *Machine) form(now int64, cause string) {
	m.self.ID = m.freeID(m.self.Name, &[wire.MaxNodes]bool{})
	m.publish(now, []wire.Member{m.self}, nil, "control node: "+cause)
}

// round shortens a duration for texts.
func round(d int64) time.Duration { return time.Duration(d).Round(10 * time.Millisecond) }
