package ccl

import (
	"net/netip"

	"cohort/ccl/reliable"
	"cohort/ccl/seal"
)

// Counters are totals of an Endpoint since it was made.
type Counters struct {
	SentDatagrams, SentBytes         uint64 // sealed, without UDP and IP
	ReceivedDatagrams, ReceivedBytes uint64
	ReceivedMembership               uint64 // messages
	Malformed                        uint64 // payloads of unknown kind or shape
	BadMessages                      uint64 // batches with a message that does not decode
	UnknownMessages                  uint64 // types this version does not know
	TooManyPeers                     uint64
	Overtaken                        uint64 // heartbeats that arrived after a newer one
	Resets                           uint64
	Seal                             seal.Counters // by reason
	LastError                        error         // of the last bad message
}

// PeerStats tell how one peer is doing.
type PeerStats struct {
	LastHeard int64 // time of the last authenticated datagram
	Proven    bool  // its session has proved itself
	Control   reliable.Stats
	State     reliable.Stats
}

// Lag returns how many state messages the peer has not acknowledged.
func (s *PeerStats) Lag() int { return s.State.UnackedMessages }

// Counters returns the totals.
func (e *Endpoint) Counters() Counters {
	c := e.count
	c.Seal = e.sealer.Counters()
	c.UnknownMessages = e.dec.Unknown
	return c
}

// Stats returns the figures of one peer; false when it is not known.
func (e *Endpoint) Stats(a netip.Addr) (PeerStats, bool) {
	p := e.peers[a]
	if p == nil {
		return PeerStats{}, false
	}
	return PeerStats{LastHeard: p.heard, Proven: p.proven, Control: p.control.Stats(), State: p.state.Stats()}, true
}

// StateTotals returns what the channels of state messages to all known peers have sent:
// messages, segments, and of these acknowledgements and repetitions, nothing else.
func (e *Endpoint) StateTotals() (t reliable.Stats) {
	for _, p := range e.order {
		s := p.state.Stats()
		t.SentMessages += s.SentMessages
		t.SentSegments += s.SentSegments
		t.SentAcks += s.SentAcks
		t.Retransmits += s.Retransmits
	}
	return t
}

// Peers returns the addresses that are known, by first contact.
func (e *Endpoint) Peers() []netip.Addr {
	list := make([]netip.Addr, len(e.order))
	for i, p := range e.order {
		list[i] = p.addr
	}
	return list
}

// Progress returns how far the state messages to a peer have come; false when it is
// not known. It costs one look-up.
func (e *Endpoint) Progress(a netip.Addr) (reliable.Progress, bool) {
	p := e.peers[a]
	if p == nil {
		return reliable.Progress{}, false
	}
	return p.state.Progress(), true
}

// Replication returns for how long the oldest state message to a peer has been
// waiting for its acknowledgement, in ns, 0 = none waits, and adds the times that
// those of the last minute took to l.
func (e *Endpoint) Replication(now int64, a netip.Addr, l *reliable.Lags) (oldest int64) {
	p := e.peers[a]
	if p == nil {
		return 0
	}
	p.state.AddLags(now, l)
	return p.state.Waiting(now)
}
