package ccl

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"cohort/ccl/wire"
)

// Timing of a probe, ns. Four sizes in turn end well within the five seconds of
// CL3.
const (
	probeStage = int64(1100e6) // time for one size
	probeRetry = int64(100e6)
	probeSizes = 4 // full, /2, /4, /8
)

// ErrNoProbeAnswer says that not even the smallest probe was answered.
var ErrNoProbeAnswer = errors.New("no probe was answered")

// MTUError is the verdict on a link that carries small packets only. All sizes
// are those of the packet on the CCL interface.
type MTUError struct {
	Peer       netip.Addr
	Configured int   // what the link is configured for
	Failing    []int // sizes that were not answered, largest first
	Passing    int   // the largest that was; 0 = none
}

// Error names the configured, the failing and the passing sizes (CL3).
func (e *MTUError) Error() string {
	fail := make([]string, len(e.Failing))
	for i, n := range e.Failing {
		fail[i] = fmt.Sprint(n)
	}
	s := fmt.Sprintf("ccl: peer %v: mtu %d is configured, but packets of %s bytes do not cross",
		e.Peer, e.Configured, strings.Join(fail, ", "))
	if e.Passing == 0 {
		return s + ": " + ErrNoProbeAnswer.Error()
	}
	return fmt.Sprintf("%s; %d do: raise the mtu of every switch port between the nodes to %d", s, e.Passing, e.Configured)
}

// Is lets errors.Is(err, ErrNoProbeAnswer) tell a silent peer from a small one.
func (e *MTUError) Is(target error) bool { return target == ErrNoProbeAnswer && e.Passing == 0 }

// Prober finds out whether packets of the full MTU cross to one peer (CL3). It
// is a pure state machine: create one when the peer has been heard, call Tick
// when it says, and give it the peer's ProbeReply messages, until Done.
type Prober struct {
	peer   netip.Addr
	mtu    int
	id     uint32
	send   func(to netip.Addr, m wire.Probe)
	began  int64
	next   int64
	stage  int
	done   bool
	result error
}

// NewProber begins at now. id is a random number: replies to an earlier
// prober's probes are not ours. send is Endpoint.Datagram.
func NewProber(now int64, peer netip.Addr, mtu int, id uint32, send func(to netip.Addr, m wire.Probe)) *Prober {
	return &Prober{peer: peer, mtu: mtu, id: id, send: send, began: now, next: now}
}

// size returns the packet size of a stage on the CCL interface.
func (p *Prober) size(stage int) int { return p.mtu >> stage }

// Done reports whether there is a verdict: nil = full-sized packets cross, else
// an *MTUError.
func (p *Prober) Done() (bool, error) { return p.done, p.result }

// Tick sends what is due and returns when it must be called again.
func (p *Prober) Tick(now int64) (next int64) {
	const never = int64(1<<63 - 1)
	if p.done {
		return never
	}
	if stage := int((now - p.began) / probeStage); stage > p.stage {
		p.stage, p.next = stage, now
	}
	if p.stage >= probeSizes {
		p.fail(probeSizes, 0)
		return never
	}
	if now >= p.next {
		inner := p.size(p.stage) - VXLANOverheadFor(p.peer)
		p.send(p.peer, wire.Probe{ID: p.id + uint32(p.stage), Size: uint16(inner)})
		p.next = now + probeRetry
	}
	return min(p.next, p.began+int64(p.stage+1)*probeStage)
}

// Reply takes an answer. The full size decides at once, also when it comes
// late; a smaller one decides against the link, because the full size has had
// its time by then.
func (p *Prober) Reply(from netip.Addr, m wire.ProbeReply) {
	stage := int(m.ID - p.id)
	if p.done || from != p.peer || stage < 0 || stage > p.stage {
		return
	}
	if int(m.Size) != p.size(stage)-VXLANOverheadFor(p.peer) {
		return
	}
	if stage == 0 {
		p.done = true
		return
	}
	p.fail(stage, p.size(stage))
}

func (p *Prober) fail(stages, passing int) {
	e := &MTUError{Peer: p.peer, Configured: p.mtu, Passing: passing}
	for i := range stages {
		e.Failing = append(e.Failing, p.size(i))
	}
	p.done, p.result = true, e
}
