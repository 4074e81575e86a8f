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

// Peers returns the addresses that are known, by first contact.
func (e *Endpoint) Peers() []netip.Addr {
	list := make([]netip.Addr, len(e.order))
	for i, p := range e.order {
		list[i] = p.addr
	}
	return list
}
