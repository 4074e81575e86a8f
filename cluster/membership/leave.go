package membership

import (
	"time"

	"cohort/ccl/wire"
)

// goodbye repeats a Leave that may be lost; nobody acknowledges it.
type goodbye struct {
	from  wire.Member
	left  int
	again int64
}

const (
	goodbyes     = 3
	goodbyePause = int64(50 * time.Millisecond)
)

// Leave ends the membership on purpose. The node must not forward any more; the
// caller stops that first, or drains. The others take over at once instead of
// after the hold time. The state is disabled afterwards, for this reason; Rejoin
// comes back.
func (m *Machine) Leave(now int64, why string) {
	if m.state == wire.StateDisabled {
		return
	}
	if m.view != nil {
		m.goodbye = goodbye{from: m.self, left: goodbyes, again: now}
	}
	m.reset()
	m.become(now, wire.StateDisabled, why)
	m.tickGoodbye(now)
	m.rearm(now)
}

// PlanRestart is called by a daemon right before it stops in order to be
// started again (HL5). It tells the others once more that this node lives and
// returns the lease for the time without a daemon: 0.9 hold times, longer than
// a crash leaves, because the heartbeat is sent three times and its time is
// known. 0: this node may not forward anyway. The machine must not be used
// afterwards; the next process calls Resume.
func (m *Machine) PlanRestart(now int64) (until int64) {
	m.wake(now)
	if m.LeaseUntil(now) == 0 {
		return 0
	}
	for range 3 {
		m.out.Broadcast(m.hello(now))
	}
	return now + m.hold*9/10
}

func (m *Machine) tickGoodbye(now int64) {
	if m.goodbye.left == 0 || now < m.goodbye.again {
		return
	}
	m.goodbye.left--
	m.goodbye.again = now + goodbyePause
	m.out.Broadcast(wire.Leave{From: m.goodbye.from})
}

func (g *goodbye) next() int64 {
	if g.left == 0 {
		return inf
	}
	return g.again
}
