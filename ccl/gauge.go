package ccl

import (
	"net/netip"
	"time"

	"cohort/ccl/wire"
)

// The rounds of a Gauge.
const (
	gaugeProof = 4  // rounds in a row in which only the small packet came back: the path is narrow
	gaugeHurry = 24 // rounds after which an answer is not waited for so eagerly any more

	// gaugeFloor is the shortest round: a busy peer's answer takes that long.
	gaugeFloor = int64(25 * time.Millisecond)

	// gaugeSmall is the smallest inner packet that a round sends: it has room for
	// a probe under its seal.
	gaugeSmall = 128
)

// Gauge goes on proving that packets of the full MTU cross to a member, after a
// Prober has shown that once (CL3). A switch that loses its jumbo setting, or a
// tunnel that takes another way, swallows large packets and nothing else: nobody
// falls silent.
//
// While all is well it sends one full-sized probe each third of the hold time.
// When one is not answered it sends pairs, one of full size and a small one, by
// the same queue: a pair of which only the small one is answered speaks for a
// narrow path, one that is lost altogether for nothing. So loss, or a peer that
// is dead, is not mistaken for a narrow path. Four such pairs in a row, a fifth of
// a hold time, are the verdict; one full-sized answer takes it back.
//
// It is a pure state machine: call Tick when it says, and give it the peer's
// ProbeReply messages.
type Gauge struct {
	peer        netip.Addr
	mtu         int
	calm, round int64
	send        func(to netip.Addr, m wire.Probe)

	id, oldest uint32 // of the newest probe, and of the first since something is wrong
	next       int64  // when the next round begins, or the present one ends
	open       bool   // a round is under way
	pairs      bool   // rounds are pairs
	small      bool   // the peer has answered the small one of this round
	rounds     int    // since something is wrong
	missed     int    // of them in a row, with nothing but the small one answered
}

// NewGauge begins a third of the hold time after now. send is Endpoint.Datagram.
func NewGauge(now int64, peer netip.Addr, mtu int, hold int64, send func(to netip.Addr, m wire.Probe)) *Gauge {
	return &Gauge{
		peer: peer, mtu: mtu, calm: hold / 3, round: max(hold/20, gaugeFloor), send: send,
		id:   1 << 31, // far from those of a Prober
		next: now + hold/3,
	}
}

// Narrow reports whether only small packets cross.
func (g *Gauge) Narrow() bool { return g.missed >= gaugeProof }

// Err names the sizes when the path is narrow; otherwise nil.
func (g *Gauge) Err() error {
	if !g.Narrow() {
		return nil
	}
	return &MTUError{Peer: g.peer, Configured: g.mtu, Failing: []int{g.mtu}, Passing: g.smallSize() + VXLANOverheadFor(g.peer)}
}

func (g *Gauge) fullSize() int { return g.mtu - VXLANOverheadFor(g.peer) }
func (g *Gauge) smallSize() int {
	return max(g.mtu>>(probeSizes-1)-VXLANOverheadFor(g.peer), gaugeSmall)
}

// Hurry makes the Gauge look now, closely: somebody else has seen a narrow path.
func (g *Gauge) Hurry(now int64) {
	if g.pairs {
		return
	}
	g.alarm()
	g.begin(now)
}

// Tick does what is due and returns when it must be called again.
func (g *Gauge) Tick(now int64) (next int64) {
	switch {
	case now < g.next:
	case !g.open:
		g.begin(now)
	case now-g.next > g.round:
		g.begin(now) // nobody listened in time: that says nothing about the path
	default:
		g.judge(now)
	}
	return g.next
}

func (g *Gauge) begin(now int64) {
	g.id++
	g.open, g.small = true, false
	g.next = now + g.round
	g.send(g.peer, wire.Probe{ID: g.id, Size: uint16(g.fullSize())})
	if g.pairs {
		g.send(g.peer, wire.Probe{ID: g.id, Size: uint16(g.smallSize())})
	}
}

// judge ends a round without an answer of full size.
func (g *Gauge) judge(now int64) {
	if !g.pairs {
		g.alarm()
		g.begin(now)
		return
	}
	g.rounds++
	if g.small {
		g.missed++
	}
	if g.rounds < gaugeHurry {
		g.begin(now)
		return
	}
	g.open, g.next = false, now+g.calm-g.round
}

func (g *Gauge) alarm() { g.pairs, g.rounds, g.oldest = true, 0, g.id }

// Reply takes an answer. One of full size says that all is well, also when it
// comes late.
func (g *Gauge) Reply(now int64, from netip.Addr, m wire.ProbeReply) {
	since := g.id
	if g.pairs {
		since = g.oldest
	}
	switch {
	case from != g.peer || m.ID < since || m.ID > g.id:
	case int(m.Size) == g.fullSize():
		g.open, g.pairs, g.missed = false, false, 0
		g.next = now + g.calm
	case int(m.Size) == g.smallSize() && m.ID == g.id:
		g.small = true
	}
}
