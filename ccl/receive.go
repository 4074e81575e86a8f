package ccl

import (
	"net/netip"

	"cohort/ccl/seal"
	"cohort/ccl/wire"
)

// Receive handles one datagram that came from a VTEP. Messages are delivered
// before it returns; handshake replies are sent at once, everything else with
// the next Flush. What is refused is counted, see Counters.
func (e *Endpoint) Receive(now int64, from netip.Addr, datagram []byte) {
	e.count.ReceivedDatagrams++
	e.count.ReceivedBytes += uint64(len(datagram))
	o, reason := e.sealer.Open(now, from, datagram)
	if o.Response != nil {
		e.emit(from, o.Response, e.cfg.OutputControl)
	}
	if o.Challenge != nil {
		e.emit(from, o.Challenge, e.cfg.OutputControl)
	}
	if reason != seal.Accepted && !o.Resend {
		return
	}
	p, err := e.peer(from)
	if err != nil {
		e.count.TooManyPeers++
		return
	}
	p.heard = now
	if e.cfg.Heard != nil {
		e.cfg.Heard(from)
	}
	if reason == seal.Accepted {
		p.proven = true
		e.arriving, e.sender, e.counter = len(datagram), p, o.Counter
		e.payloadFrom(now, p, o.Payload)
		return
	}
	e.greet(now, p, o)
}

// greet follows a handshake: the peer is new, has lost everything, or did not
// know us until now.
func (e *Endpoint) greet(now int64, p *peer, o seal.Opened) {
	if o.Restarted {
		p.control.Restart()
		p.state.Restart()
		e.reset(p)
	}
	if o.Proved {
		p.proven, p.beat = true, 0 // counters begin anew
	}
	p.control.Resend()
	p.state.Resend()
	if b := e.all.recent(now); b != nil {
		e.emit(p.addr, b, e.cfg.OutputControl)
	}
	if b := p.direct.recent(now); b != nil {
		e.emit(p.addr, b, e.cfg.OutputControl)
	}
}

// payloadFrom handles what was under the seal.
func (e *Endpoint) payloadFrom(now int64, p *peer, b []byte) {
	var err error
	switch b[0] & 0xf {
	case kindDatagram:
		if b[0] != kindDatagram {
			e.count.Malformed++
			return
		}
		e.deliver(p.addr, b[1:])
	case kindControl:
		err = p.control.Receive(now, b)
	case kindState:
		err = p.state.Receive(now, b)
	default:
		e.count.Malformed++
	}
	if err != nil {
		e.count.Malformed++
	}
}

// deliver decodes a batch.
func (e *Endpoint) deliver(from netip.Addr, b []byte) {
	if err := e.dec.Batch(from, b, &e.handler); err != nil {
		e.count.BadMessages++
		e.count.LastError = err
	}
}

// dispatch passes messages to the caller's Handler, but answers probes itself, and
// keeps back heartbeats that were overtaken.
type dispatch struct {
	wire.Handler
	e *Endpoint
}

// HandleMembership implements wire.Handler.
func (d *dispatch) HandleMembership(from netip.Addr, m wire.Message) {
	d.e.count.ReceivedMembership++
	if probe, ok := m.(wire.Probe); ok {
		size := d.e.arriving + udpOverhead
		_ = d.e.Datagram(0, from, wire.ProbeReply{ID: probe.ID, Size: uint16(size)})
		return
	}
	if _, beat := m.(wire.Heartbeat); beat {
		// Each heartbeat says all: one that a newer one has overtaken would take back what
		// that has said, until the next (CL6).
		if d.e.counter < d.e.sender.beat {
			d.e.count.Overtaken++
			return
		}
		d.e.sender.beat = d.e.counter
	}
	d.Handler.HandleMembership(from, m)
}
