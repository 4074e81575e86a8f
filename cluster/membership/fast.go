package membership

import (
	"fmt"
	"net/netip"
	"time"

	"cohort/ccl/wire"
	"cohort/cluster/pulse"
)

// Times of the fast profile (HL7), nanoseconds.
const (
	fastUrgent = int64(25 * time.Millisecond) // bound of Machine.urgent
	fastResend = int64(50 * time.Millisecond) // and of Machine.resend
	fastLook   = int64(5 * time.Millisecond)  // between two looks at who is silent
	fastDoubt  = int64(5 * time.Millisecond)  // for what was on its way when this node woke
	pulseWorry = pulse.Deadline * 2 / 3       // silence of beats after which a node is about to be silent
)

// Attended tells the machine until when the pulse of this node has taken all that
// had arrived. Silence of beats is counted up to there and not up to now: who did
// not listen cannot call others silent. Tell it in every round of the event loop
// that counts as its progress in beats, before the beats of that time: the lease is
// counted from there, as the others do when they call the loop stuck.
func (m *Machine) Attended(now, at int64) {
	m.wake(now)
	m.attended, m.round = max(m.attended, at), now
}

// assured is when the others last learned, or will learn from beats, that this node
// is there: its newest heartbeat, and in the fast profile the newest round.
func (m *Machine) assured() int64 {
	if m.cfg.Fast {
		return max(m.beatAt, m.round)
	}
	return m.beatAt
}

// Beat tells the machine what the pulse of this node knows of a peer: its newest
// beat (HL7). A life that beats is dead when its beats are missing; one that never
// did, or says that it is about to be started again, after the hold time. Ignored
// without Config.Fast, and from strangers.
func (m *Machine) Beat(from netip.Addr, b pulse.Peer) {
	p := m.peers[from]
	if !m.cfg.Fast || p == nil || b.At < 0 {
		return
	}
	// What went round lives, as if it had sent a message then (HL1). A beat itself
	// does not count here: it comes from a process beside the event loop.
	if b.Progress > p.last || b.Life == p.member.Incarnation && b.At > p.pulse {
		m.hearAgain(m.round, p)
	}
	p.last = max(p.last, b.Progress)
	switch {
	case b.Life != p.member.Incarnation:
	case b.Hold:
		p.pulse = never
	default:
		p.pulse = max(p.pulse, b.At)
		p.absent = false
	}
}

// pulseless reports whether the beats of p are missing. Any other authenticated
// packet counts as well as a beat (HL1).
func (m *Machine) pulseless(p *peer) bool {
	return p.pulse != never && m.attended-max(p.pulse, p.last) >= pulse.Deadline
}

// silence says in words why a node counts as silent.
func (m *Machine) silence(now int64, p *peer) string {
	switch {
	case m.pulseless(p):
		return fmt.Sprintf("no beat for %v", round(m.attended-p.pulse))
	case p.pulse != never && now-p.pulse < m.hold:
		return fmt.Sprintf("its event loop stands still for %v", round(now-p.last))
	}
	return fmt.Sprintf("silent for %v", round(now-p.last))
}

// Lapsed tells the machine that the lease ended although LeaseUntil allowed a later
// one: this node as a whole did not run, and others may have acted (HL5). It asks
// before it goes on. The caller has handled all messages that waited: those that
// come from now on count.
func (m *Machine) Lapsed(now int64) {
	m.wake(now)
	if m.state != wire.StateInSync || m.doubt.on {
		return
	}
	m.tell(now, "did not run for longer than its lease")
	m.enterDoubt(now, now+fastDoubt)
	m.rearm(now)
}
