package membership

import (
	"math"
	"net/netip"

	"cohort/ccl/wire"
)

// never and always-later stand for times that were not or will not be. Half of
// the range keeps sums and differences from overflowing.
const (
	never int64 = math.MinInt64 / 2
	inf   int64 = math.MaxInt64 / 2
)

// peer is what this node knows about one configured address.
type peer struct {
	addr   netip.Addr
	last   int64 // last authenticated packet
	back   int64 // when something came from it after it had been quiet
	absent bool  // the transport says nobody is there
	pulse  int64 // newest beat of this life; never while the pulse does not judge it (HL7)

	// From the newest message in which it named itself.
	member    wire.Member // Name "" until then
	restarted int64       // when its incarnation changed
	left      wire.Incarnation
	deaf      int64 // until when it counts as one that does not hear this node, see unheard

	// Its newest heartbeat in this incarnation.
	beat   wire.Heartbeat
	beatAt int64

	// Questions after missing heartbeats.
	asked int64 // it, by this node
	told  int64 // this node, by it, and answered

	// Election.
	answered int64 // last election reply to this node
	pinged   int64 // last election request sent to it alone

	// Control node's side.
	join     *wire.Join // admitted by the next view
	evict    string     // told to go, for this reason
	evictFor wire.Cause
	evicted  int64         // when it was told last
	downAt   int64         // since when its heartbeats show the failed interfaces that they show
	upAt     int64         // when they last showed one less
	removed  *wire.Removed // what it is told with the view that is without it
	hearsMe  int64         // last heartbeat that counted this node as alive
	sent     int64         // last view or heartbeat sent to it alone
	lagging  int64         // since when its heartbeats show an older view
}

func newPeer(a netip.Addr) *peer {
	return &peer{
		addr: a, last: never, pulse: never, restarted: never, deaf: never, beatAt: never, asked: never, told: never, answered: never,
		pinged: never, back: never, hearsMe: never, sent: never, lagging: never, evicted: never, upAt: never,
	}
}

// is reports whether the life that speaks from this address is mem's.
func (p *peer) is(mem *wire.Member) bool {
	return p.member.Name == "" || p.member.Incarnation == mem.Incarnation
}

// says returns the newest heartbeat, or nil when there is none of this life.
func (p *peer) says() *wire.Heartbeat {
	if p.beatAt == never {
		return nil
	}
	return &p.beat
}

// rules reports whether the heartbeat comes from the control node of its view.
func rules(h *wire.Heartbeat) bool {
	return h.State == wire.StateInSync && h.Control != 0 && h.From.ID == h.Control
}

// Heard tells the machine that an authenticated packet of any kind came from
// a peer's daemon (HL1). Data frames do not count: a dead daemon's fast path
// may still send them. It is cheap enough for every packet.
func (m *Machine) Heard(now int64, from netip.Addr) { m.heard(now, from) }

// heard returns the peer, or nil for a stranger.
func (m *Machine) heard(now int64, from netip.Addr) *peer {
	p := m.peers[from]
	if p == nil {
		m.strangers++
		return nil
	}
	m.wake(now)
	m.hearAgain(now, p)
	p.last = now
	p.absent = false
	return p
}

// hearAgain notes that something comes from a peer that was about to be silent.
func (m *Machine) hearAgain(now int64, p *peer) {
	if p.last != never && m.quiet(now, p) {
		p.back = now
	}
}

// Absent tells the machine that nobody can be at a peer's address (the
// transport had an unreachable answer). It only shortens elections; a packet
// from the peer takes it back.
func (m *Machine) Absent(now int64, addr netip.Addr) {
	p := m.peers[addr]
	if p == nil {
		return
	}
	m.wake(now)
	p.absent = true
	if m.state == wire.StateElection {
		m.decide(now)
	}
	m.rearm(now)
}

// identify learns who speaks from p's address. It refuses names and numbers
// that no configured node can have.
func (m *Machine) identify(now int64, p *peer, who wire.Member) bool {
	if who.VTEP != p.addr || who.Name == "" || who.Incarnation == 0 ||
		who.Priority < 1 || who.Priority > 100 || who.ID >= wire.MaxNodes {
		m.refused++
		return false
	}
	if p.member.Name != "" && p.member.Incarnation != who.Incarnation {
		p.restarted, p.pulse, p.deaf = now, never, never
		p.beatAt, p.answered, p.hearsMe, p.lagging = never, never, never, never
		p.join, p.evict, p.upAt = nil, "", never
	}
	p.member = who
	return true
}

// silent reports whether nothing came from p for the hold time, or none of the
// beats that it sends (HL7).
func (m *Machine) silent(now int64, p *peer) bool { return now-p.last >= m.hold || m.pulseless(p) }

// alive reports whether this life of a member was heard within the hold time.
// Restarted and departed members are dead at once.
func (m *Machine) alive(now int64, mem *wire.Member) bool {
	if mem.Name == m.self.Name && mem.Incarnation == m.self.Incarnation {
		return true
	}
	p := m.peers[mem.VTEP]
	return p != nil && p.is(mem) && p.left != mem.Incarnation && !m.silent(now, p) && !m.deserted(mem)
}

// ask makes sure, before a member counts as dead, that its heartbeats were not
// merely lost: it is sent a heartbeat that says so, and answers at once. The control
// node asks one that it hears, too, when that has not said for as long that it hears
// the control node.
func (m *Machine) ask(now int64, p *peer, id wire.NodeID) {
	if now < m.nextAsk(p) {
		return
	}
	p.asked = now
	h := m.hello(now)
	h.Alive &^= 1 << id
	m.out.Send(p.addr, h)
}

func (m *Machine) nextAsk(p *peer) int64 {
	good := p.last
	if m.ruling() {
		good = min(good, p.hearsMe)
	}
	return max(good+m.worry, p.asked+m.urgent)
}

// reply answers a member of our view whose heartbeat says that it does not
// hear us. Such a heartbeat may be a mere question, and says nothing of what has come
// since. So the control node, which removes who does not hear it, asks in turn: the
// answer is that this one has arrived.
func (m *Machine) reply(now int64, p *peer, h *wire.Heartbeat) {
	if h.Term == m.view.Term && h.Epoch == m.view.Epoch && h.Alive&(1<<m.self.ID) == 0 && now-p.told >= m.urgent/2 {
		p.told = now
		answer := m.hello(now)
		if m.ruling() {
			answer.Alive &^= 1 << h.From.ID
		}
		m.out.Send(p.addr, answer)
	}
}

// better orders candidates (EL1, EL2). Addresses break the tie of nodes that
// were given the same name by mistake, so that they never rule side by side.
func better(a, b *wire.Member) bool {
	if a.Better(*b) {
		return true
	}
	return !b.Better(*a) && a.VTEP.Less(b.VTEP)
}
