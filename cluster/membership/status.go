package membership

import (
	"net/netip"
	"time"

	"cohort/ccl/wire"
)

// Status is what `show cluster info`, `history` and `health` print. It shares
// nothing with the machine but the immutable view.
type Status struct {
	Self       wire.Member
	State      wire.NodeState
	Control    bool   // this node is the control node
	Doubt      bool   // member, but waiting for the cluster's confirmation
	Refused    string // why the control node does not admit us, while joining
	Merging    string // name of the control node whose side we ask for admission
	View       *wire.View
	Running    uint64   // checksum of the configuration that runs here
	Prepared   uint64   // ... of another one that this node is ready for, 0 = none
	Unready    []string // members that are not, and that the change waits for
	LeaseUntil int64
	Peers      []PeerStatus   // by address
	Narrow     []NarrowStatus // members whose links do not carry full-sized packets (CL3)
	Events     []Event        // oldest first
	Strangers  uint64         // messages from addresses that are not configured
	Malformed  uint64         // messages that made no sense
}

// PeerStatus is what this node knows about one configured address.
type PeerStatus struct {
	Addr      netip.Addr
	Member    wire.Member    // as it last named itself; ID as in our view, 0 outside
	State     wire.NodeState // of its newest heartbeat
	Heard     bool           // ever
	LastHeard time.Duration  // ago
	Alive     bool           // heard within the hold time, in the life of our view
	Applied   bool           // shows the view that we have
	HearsUs   bool           // its newest heartbeat counts this node as alive
}

// Status reports the machine at time now.
func (m *Machine) Status(now int64) Status {
	s := Status{
		Self: m.self, State: m.state, Control: m.ruling(), Doubt: m.doubt.on,
		Refused: m.joining.refused, View: m.view, LeaseUntil: m.LeaseUntil(now),
		Events: m.history.list(), Strangers: m.strangers, Malformed: m.refused,
		Running: m.running, Prepared: m.prepared, Unready: m.unready(),
		Narrow: m.narrowStatus(),
	}
	if m.follow.merge != nil {
		s.Merging = m.follow.merge.member.Name
	}
	for _, p := range m.order {
		s.Peers = append(s.Peers, m.peerStatus(now, p))
	}
	return s
}

func (m *Machine) peerStatus(now int64, p *peer) PeerStatus {
	s := PeerStatus{Addr: p.addr, Member: p.member, Heard: p.last != never}
	s.Member.ID = 0
	if s.Heard {
		s.LastHeard = time.Duration(now - p.last)
	}
	h := p.says()
	if h != nil {
		s.State = h.State
		s.HearsUs = m.self.ID != 0 && h.Alive&(1<<m.self.ID) != 0
	}
	if m.view == nil {
		return s
	}
	for i := range m.view.Members {
		mem := &m.view.Members[i]
		if mem.VTEP != p.addr {
			continue
		}
		if p.member.Name == "" {
			s.Member = *mem
		}
		s.Member.ID = mem.ID
		s.Alive = m.alive(now, mem)
		s.Applied = m.shows(p)
	}
	return s
}

// Ignored counts what changed nothing: messages that made no sense, and those from
// addresses that are not configured.
func (m *Machine) Ignored() (senseless, strangers uint64) { return m.refused, m.strangers }

// NameAt returns the name that the node at a peer's address last gave itself, or "".
func (m *Machine) NameAt(a netip.Addr) string {
	if p := m.peers[a]; p != nil {
		return p.member.Name
	}
	return ""
}

// HeardOf returns how long ago an authenticated packet came from the node that
// last gave itself this name; false when that is longer than the hold time, or
// never was.
func (m *Machine) HeardOf(now int64, name string) (ago time.Duration, ok bool) {
	for _, p := range m.order {
		if p.member.Name == name && p.last != never && now-p.last < int64(m.cfg.Hold) {
			return time.Duration(now - p.last), true
		}
	}
	return 0, false
}
