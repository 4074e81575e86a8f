package ccl

import (
	"net/netip"

	"cohort/ccl/wire"
)

// Send queues m for reliable, ordered delivery to one peer; it leaves with the
// next Flush or Tick. reliable.ErrBacklog means that the peer does not keep up:
// m is not queued, and the caller resynchronises with the peer later. m does
// not escape.
func (e *Endpoint) Send(now int64, to netip.Addr, m wire.Message) error {
	if !to.IsValid() {
		return ErrNoPeer
	}
	p, err := e.peer(to)
	if err != nil {
		return err
	}
	if isControl(m) {
		return p.control.Send(m)
	}
	if mayWait(m) {
		return p.state.SendLater(m)
	}
	return p.state.Send(m)
}

// mayWait reports whether nobody waits for m.
func mayWait(m wire.Message) bool {
	switch m := m.(type) {
	case wire.Close:
		return m.Late
	case wire.Bind:
		return m.Late
	}
	return false
}

// isControl is m.Type().Control() in a form that lets m stay on the stack.
func isControl(m wire.Message) bool {
	switch m.(type) {
	case wire.Claim, wire.Grant, wire.Granted, wire.Redirect, wire.Query, wire.Owner, wire.Update, wire.Close, wire.Gone, wire.Synced,
		wire.Bind, wire.Alias, wire.Units, wire.GiveUnits, wire.WantUnits, wire.Roster, wire.HostUnits, wire.Rests,
		wire.Kept, wire.Delegate, wire.Report, wire.Lease:
		return false
	}
	return true
}

// Datagram queues m for one peer, or for all when to is the zero Addr. It may
// be lost or overtaken, and a message larger than a datagram is left to the
// fragments of IP. A wire.Probe is sent at once in a packet of exactly its Size.
func (e *Endpoint) Datagram(now int64, to netip.Addr, m wire.Message) error {
	if probe, ok := m.(wire.Probe); ok {
		e.probe(to, probe)
		return nil
	}
	b := &e.all
	if to.IsValid() {
		p, err := e.peer(to)
		if err != nil {
			return err
		}
		b = &p.direct
	}
	if full := b.add(m, e.payload); full != nil {
		e.emit(to, full, e.cfg.OutputControl)
	}
	return nil
}

// probe fills a packet up to the size that the probe names: CL3 is about the
// inner IP packet, which must not be fragmented, so it takes the way of data.
func (e *Endpoint) probe(to netip.Addr, m wire.Probe) {
	b := wire.Append([]byte{kindDatagram}, m)
	if n := int(m.Size) - udpOverhead - e.sealer.Overhead() - len(b); n > 0 {
		b = append(b, make([]byte, n)...)
	}
	e.emit(to, b, e.cfg.Output)
}

// emit seals a payload and hands it to an output.
func (e *Endpoint) emit(to netip.Addr, payload []byte, output func(netip.Addr, []byte)) {
	e.out = e.sealer.Seal(e.out[:0], to, payload)
	e.count.SentDatagrams++
	e.count.SentBytes += uint64(len(e.out))
	output(to, e.out)
}

// flushDatagrams sends the unreliable batches: they are membership messages.
func (e *Endpoint) flushDatagrams(now int64) {
	if b := e.all.take(now); b != nil {
		e.emit(netip.Addr{}, b, e.cfg.OutputControl)
	}
	for _, p := range e.order {
		if b := p.direct.take(now); b != nil {
			e.emit(p.addr, b, e.cfg.OutputControl)
		}
	}
}

// Flush sends what is queued: membership messages first, then state. Call it
// once after a pass of work, and again at Due.
func (e *Endpoint) Flush(now int64) {
	e.flushDatagrams(now)
	for _, p := range e.order {
		p.control.Flush(now)
	}
	for _, p := range e.order {
		p.state.Flush(now)
	}
	e.findDue()
}

// FlushAll is Flush that keeps nothing back for EndpointConfig.Pace: what follows
// must not be heard before, or nothing follows.
func (e *Endpoint) FlushAll(now int64) {
	for _, p := range e.order {
		p.state.Hurry()
	}
	e.Flush(now)
}

// findDue finds when state that waits is to leave: what is for several peers at about
// the same time leaves together, with the last of it.
func (e *Endpoint) findDue() {
	const none = int64(1<<63 - 1)
	e.due = none
	for _, p := range e.order {
		e.due = min(e.due, p.state.Due())
	}
	if e.due == none {
		return
	}
	end := e.due + e.cfg.Pace/2
	for _, p := range e.order {
		if d := p.state.Due(); d <= end {
			e.due = max(e.due, d)
		}
	}
}

// Due returns when state that Flush has kept back for EndpointConfig.Pace is to
// leave; math.MaxInt64 = none is. Flush sends it then.
func (e *Endpoint) Due() int64 { return e.due }

// Tick runs retransmission and acknowledgement timers, flushes, and returns
// the time of the next timer; math.MaxInt64 = none.
func (e *Endpoint) Tick(now int64) (next int64) {
	e.flushDatagrams(now)
	next = 1<<63 - 1
	for _, p := range e.order {
		next = min(next, p.control.Tick(now))
	}
	for _, p := range e.order {
		next = min(next, p.state.Tick(now))
	}
	e.findDue()
	return next
}
