package hosts

import (
	"slices"

	"cohort/ccl/wire"
	"cohort/cluster/order"
	"cohort/packet"
)

// Output carries the messages.
type Output interface {
	// Send queues a message on the reliable channel to a member.
	Send(to wire.NodeID, m wire.Message) error
}

// Config is fixed for the life of a Machine.
type Config struct {
	Seed   [16]byte // cluster-wide secret of the rendezvous hashing
	Limit  func(pool int) int
	Output Output
	// Answer ends an Ask: the host may have one more block here, or may not. If
	// it gets none although it may, call Release.
	Answer func(pool int, host packet.Addr, granted bool)
}

// Machine is one node's part, as an asker and as a director.
type Machine struct {
	cfg     Config
	view    *wire.View
	self    wire.NodeID
	order   *order.Order
	told    bool             // Register has begun in this view
	untold  map[key]struct{} // hosts that it has not told of yet
	settled bool

	mine    map[key]int     // blocks of a host here, and grants that Answer has had
	open    map[key]bool    // asked, not answered; false: the question did not fit the link
	reask   bool            // open has such a question
	counts  map[key][]share // as director
	waiting []ask           // as director: before Settled, or when the answer did not fit the link
	stats   Stats
}

// Stats counts since the start.
type Stats struct {
	Granted uint64 // blocks granted as director
	Refused uint64 // hosts that had as many as they may, as director
}

type key struct {
	host packet.Addr
	pool uint16
}

// share is what one node has of a host's blocks.
type share struct {
	node  wire.NodeID
	count int
}

type ask struct {
	key  key
	from wire.NodeID
}

// New makes a Machine that is not a member of anything.
func New(cfg Config) *Machine {
	return &Machine{
		cfg: cfg, mine: map[key]int{}, untold: map[key]struct{}{}, open: map[key]bool{}, counts: map[key][]share{},
	}
}

// Stats returns the counters.
func (m *Machine) Stats() Stats { return m.stats }

// Here returns how many blocks a host has at this node.
func (m *Machine) Here(pool int, host packet.Addr) int { return m.mine[key{host, uint16(pool)}] }

// ApplyView makes v the membership. Register repeats the open questions.
func (m *Machine) ApplyView(v *wire.View, self wire.NodeID) {
	m.view, m.self, m.order = v, self, order.New(m.cfg.Seed, v)
	m.told, m.settled = false, false
	clear(m.untold)
	clear(m.counts)
	m.waiting = m.waiting[:0]
}

// Recut says that pools have other numbers, or units, and what hosts have here
// now; each visits them. Call it right before ApplyView. What was asked is asked
// again by the packets that wait for it.
func (m *Machine) Recut(each func(visit func(pool int, host packet.Addr, units int))) {
	clear(m.mine)
	clear(m.untold)
	clear(m.open)
	each(func(pool int, host packet.Addr, units int) { m.mine[key{host, uint16(pool)}] = units })
}

// Lost says that this node's connections are gone, and with them what hosts
// had here.
func (m *Machine) Lost() {
	m.view, m.settled = nil, false
	clear(m.mine)
	clear(m.untold)
	clear(m.open)
	m.waiting = m.waiting[:0]
}

// Register tells the directors what hosts have here, and repeats what was asked
// of nodes that had not applied the view yet. Call it once everybody has
// applied the view, before the end of this node's round; further calls in the
// same view say nothing twice.
//
// False: the link is backed up, and the round must not begin before a later call
// has told the rest, or a director would grant a host more than it may have.
func (m *Machine) Register() bool {
	if m.view == nil {
		return true
	}
	if !m.told {
		m.told = true
		for k := range m.mine {
			m.untold[k] = struct{}{}
		}
		for k := range m.open {
			m.askAgain(k)
		}
	}
	return m.tell()
}

// tell says of the hosts in untold what they have here.
func (m *Machine) tell() bool {
	for k := range m.untold {
		if !m.send(m.director(k), wire.HostUnits{Op: wire.HostHas, Pool: k.pool, Host: k.host, Count: uint16(m.mine[k])}) {
			return false
		}
		delete(m.untold, k)
	}
	return true
}

// PeerReset says that messages to and from a member were lost: its channel
// started over, and its process may be another one that counts from nothing.
// Call it before this node ends the full round that follows.
func (m *Machine) PeerReset(id wire.NodeID) {
	if m.view == nil || !m.told {
		return // Register will say it
	}
	for k := range m.mine {
		if m.director(k) == id {
			m.untold[k] = struct{}{}
		}
	}
	m.tell() // the rest with Register, before that round
	for k := range m.open {
		if m.director(k) == id {
			m.askAgain(k)
		}
	}
}

// askAgain repeats an open question; Tick does until it fits the link.
func (m *Machine) askAgain(k key) {
	m.open[k] = true // before it is sent: this node may answer itself at once
	if !m.ask(k) {
		m.open[k], m.reask = false, true
	}
}

// ask puts a question. It says what the host has here, too: a grant or a Less that
// was lost is put right with it.
func (m *Machine) ask(k key) bool {
	return m.send(m.director(k), wire.HostUnits{Op: wire.HostAsk, Pool: k.pool, Host: k.host, Count: uint16(m.mine[k])})
}

// Settled says that all other members have registered in this view.
func (m *Machine) Settled() {
	if m.view == nil {
		return
	}
	m.Register() // what hosts have here counts too, and this node's round may be under way
	m.settled = true
	m.answerWaiting()
}

// Tick answers, and asks, what a backlog of the link has left open. Call it every 10 ms or so.
func (m *Machine) Tick() {
	if m.settled && len(m.waiting) > 0 {
		m.answerWaiting()
	}
	if m.view == nil || !m.told || !m.reask {
		return
	}
	m.reask = false
	for k, sent := range m.open {
		if !sent {
			m.askAgain(k)
		}
	}
}

func (m *Machine) answerWaiting() {
	list := m.waiting
	m.waiting = nil
	for _, a := range list {
		m.decide(a.from, a.key)
	}
}

// Ask asks for one more block for a host. While an answer is on its way it does
// nothing.
func (m *Machine) Ask(pool int, host packet.Addr) {
	k := key{host, uint16(pool)}
	if _, asked := m.open[k]; asked || m.view == nil {
		return
	}
	m.open[k] = true
	if !m.ask(k) {
		delete(m.open, k)
	}
}

// Release says that a host has one block less here: it was given back, or never
// taken after a grant.
func (m *Machine) Release(pool int, host packet.Addr) {
	k := key{host, uint16(pool)}
	if m.mine[k]--; m.mine[k] <= 0 {
		delete(m.mine, k)
	}
	if m.view != nil {
		m.send(m.director(k), wire.HostUnits{Op: wire.HostLess, Pool: k.pool, Host: k.host})
	}
}

// Message handles a message of a member.
func (m *Machine) Message(from wire.NodeID, u wire.HostUnits) {
	if m.view == nil || u.View != m.view.Tag() {
		return // the sender's registration in this view says it again
	}
	k := key{u.Host, u.Pool}
	switch u.Op {
	case wire.HostAsk:
		// Exact: messages keep their order, and no grant is on its way to who asks.
		if u.Count > 0 || m.counts[k] != nil {
			m.share(from, k).count = int(u.Count)
		}
		if !m.settled {
			if a := (ask{k, from}); !slices.Contains(m.waiting, a) {
				m.waiting = append(m.waiting, a)
			}
			return
		}
		m.decide(from, k)
	case wire.HostHas:
		// Nothing was granted yet in this view, or since the sender's channel started
		// over: everybody registers first.
		m.share(from, k).count = int(u.Count)
		m.tidy(k)
	case wire.HostLess:
		if s := m.share(from, k); s.count > 0 {
			s.count--
		}
		m.tidy(k)
	case wire.HostGrant, wire.HostRefuse:
		if _, asked := m.open[k]; !asked {
			return
		}
		delete(m.open, k)
		if u.Op == wire.HostGrant {
			m.mine[k]++
		}
		m.cfg.Answer(int(u.Pool), u.Host, u.Op == wire.HostGrant)
	}
}

// decide grants one more block to a host, if it may have it.
func (m *Machine) decide(from wire.NodeID, k key) {
	sum := 0
	for _, s := range m.counts[k] {
		sum += s.count
	}
	answer := wire.HostUnits{Op: wire.HostRefuse, Pool: k.pool, Host: k.host}
	if sum < m.cfg.Limit(int(k.pool)) {
		answer.Op = wire.HostGrant
		m.share(from, k).count++ // before it is sent: this node may ask itself again at once
	}
	switch sent := m.send(from, answer); {
	case sent && answer.Op == wire.HostGrant:
		m.stats.Granted++
	case sent:
		m.stats.Refused++
	default:
		// Who asked waits, and does not repeat it: so Tick does.
		if answer.Op == wire.HostGrant {
			m.share(from, k).count--
			m.tidy(k)
		}
		m.waiting = append(m.waiting, ask{k, from})
	}
}

// share returns a node's share of a host, made if need be.
func (m *Machine) share(node wire.NodeID, k key) *share {
	list := m.counts[k]
	for i := range list {
		if list[i].node == node {
			return &list[i]
		}
	}
	m.counts[k] = append(list, share{node: node})
	return &m.counts[k][len(list)]
}

// tidy forgets a host that has nothing.
func (m *Machine) tidy(k key) {
	for _, s := range m.counts[k] {
		if s.count != 0 {
			return
		}
	}
	delete(m.counts, k)
}

func (m *Machine) director(k key) wire.NodeID {
	return m.order.Director(packet.FlowKey{Src: k.host, SrcPort: k.pool, Proto: 255})
}

func (m *Machine) send(to wire.NodeID, u wire.HostUnits) bool {
	u.View = m.view.Tag()
	if to == m.self {
		m.Message(to, u)
		return true
	}
	return m.cfg.Output.Send(to, u) == nil
}
