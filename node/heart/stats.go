package heart

import (
	"net/netip"
	"time"

	"cohort/ccl/seal"
	"cohort/cluster/pulse"
)

// Stats is what the heart counted since it was started last.
type Stats struct {
	Realtime        bool          // it has real-time priority
	Lateness, Worst time.Duration // how late it was woken: the newest time that counts, and the longest
	Beat            int64         // when the newest beat left

	Stages [pulse.NumStages]pulse.Spread // how late beats were that came here, by stage
	LateAt [pulse.NumStages]uint64       // as pulse.Stats

	Sent, Received, Late, Asked, Answered uint64
	Lost, LateLost                        uint64
	UnknownPeer, Malformed, SendFailed    uint64
	Seal                                  seal.Counters
}

// Stats returns the totals.
func (p *Process) Stats() Stats {
	m := p.mem
	n := func(i int) uint64 { return m.counts[i].Load() }
	s := Stats{
		Realtime: m.realtime.Load() != 0, Lateness: time.Duration(m.lateness.Load()), Worst: time.Duration(m.worst.Load()), Beat: m.sent.Load(),
		Sent: n(countSent), Received: n(countReceived), Late: n(countLate), Asked: n(countAsked), Answered: n(countAnswered),
		UnknownPeer: n(countUnknown), Malformed: n(countMalformed), SendFailed: n(countFailed),
		Lost: n(countLost), LateLost: n(countLateLost),
	}
	for i := range s.Stages {
		s.Stages[i], s.LateAt[i] = m.stages[i].read(), m.lateAt[i].Load()
	}
	for r := range s.Seal {
		s.Seal[r] = m.refused[r].Load()
	}
	return s
}

// Peers returns the newest beat of every peer; At is negative where none came.
func (p *Process) Peers() map[netip.Addr]pulse.Peer {
	all := make(map[netip.Addr]pulse.Peer, len(p.cfg.Peers))
	for i, a := range p.cfg.Peers {
		b, ok := p.mem.peers[i].read()
		if !ok {
			b.At = -1
		}
		all[a] = b
	}
	return all
}
