package reliable

import "math/bits"

// Receive takes a segment from the peer. Messages whose turn has come are
// delivered before it returns. It sends nothing: call Flush after the batch.
// The caller guarantees that b came from the peer's current session.
func (c *Channel) Receive(now int64, b []byte) error {
	h, err := parse(b)
	if err != nil {
		return err
	}
	if !c.meet(now, &h) {
		return nil
	}
	if h.dst == c.self {
		c.acknowledged(now, expand(c.una, h.cum), h.sack)
	}
	if h.data {
		c.arrived(now, expand(c.expected, h.seq), h.batch)
	}
	return nil
}

// meet compares instances and reports whether the segment belongs to the
// present ones.
func (c *Channel) meet(now int64, h *header) bool {
	switch {
	case c.peer == 0:
		c.peer = h.src
	case newer(h.src, c.peer):
		// The peer started over. If its former instance had heard of ours,
		// part of what we sent may be lost with it: start over too.
		if c.bound != 0 {
			c.stats.Resets++
			c.start()
			c.peer = h.src
			c.ackAt = now
			c.cfg.Reset()
		} else {
			c.startReceiving()
			c.peer = h.src
		}
	case h.src != c.peer:
		c.stats.Stale++
		return false
	}
	switch h.dst {
	case c.self:
		c.bound = c.peer
	case 0: // has not heard of us yet
	default: // speaks to a former instance: tell it
		c.stats.Stale++
		c.ackAt = now
		return false
	}
	return true
}

// acknowledged handles cum, the last segment the peer has in order, and sack,
// the later ones.
func (c *Channel) acknowledged(now int64, cum uint64, sack uint64) {
	if cum+1 < c.una || cum >= c.next {
		return // reordered, or nonsense
	}
	acked := int(cum + 1 - c.una)
	for _, s := range c.queue[:acked] {
		if !s.sacked && s.sends == 1 {
			c.rtt.sample(now - s.sentAt)
		}
		c.bytes -= len(s.buf) - HeaderBytes
		c.messages -= s.messages
		c.acked += uint64(s.messages)
		c.lags.add(now, now-s.bornAt, s.messages)
		c.release(s)
	}
	if acked > 0 {
		n := copy(c.queue, c.queue[acked:])
		clear(c.queue[n:])
		c.queue = c.queue[:n]
		c.una = cum + 1
		c.grow(acked)
		c.rtt.progress()
		c.rtoAt = never
		if c.next != c.una {
			c.rtoAt = now + c.rtt.timeout()
		}
	}
	if sack != 0 {
		c.selective(now, sack)
	}
}

// grow opens the congestion window: by one for each segment below ssthresh, by
// one a window above.
func (c *Channel) grow(acked int) {
	if c.cwnd >= c.ssthresh {
		acked = min(acked, 1)
	}
	c.cwnd = min(c.cwnd+acked, Window)
}

// selective marks segments una+1+i for which bit i is set, and as lost those
// that three later ones have overtaken.
func (c *Channel) selective(now int64, sack uint64) {
	flight := int(c.next - c.una)
	top := bits.Len64(sack) // index of the highest one that arrived
	if top >= flight {
		return // nonsense
	}
	for i := 1; i <= top; i++ {
		s := c.queue[i]
		if sack&(1<<(i-1)) == 0 || s.sacked {
			continue
		}
		if s.sends == 1 {
			c.rtt.sample(now - s.sentAt)
		}
		s.sacked, s.lost = true, false
	}
	patience := c.rtt.smoothed + c.rtt.smoothed/4
	lost := false
	for i, s := range c.queue[:top] {
		if s.sacked || s.lost || top-i < dupThreshold || s.sends > 1 && now-s.sentAt < patience {
			continue
		}
		s.lost, lost = true, true
	}
	if lost && c.una >= c.recover {
		c.recover = c.next
		c.ssthresh = max(c.cwnd/2, minWindow)
		c.cwnd = c.ssthresh
	}
}

// arrived puts segment seq in its place and delivers what has become complete.
func (c *Channel) arrived(now int64, seq uint64, batch []byte) {
	switch {
	case seq < c.expected:
		c.stats.Duplicates++
		c.ackAt = now // the acknowledgement was lost
		return
	case seq > c.expected+Window:
		return // beyond any window: not from a well-behaved peer
	case seq > c.expected:
		c.hold(now, seq, batch)
		return
	}
	c.unacked++
	c.ackAt = min(c.ackAt, now+ackDelay)
	self := c.self
	ready := c.advance()
	c.cfg.Deliver(batch)
	for ready && self == c.self { // Deliver may restart the channel
		slot := &c.waiting[c.expected%Window]
		b := *slot
		*slot = nil
		ready = c.advance()
		c.cfg.Deliver(b)
		c.freeBuf = append(c.freeBuf, b)
	}
}

// advance steps past a segment that is about to be delivered and reports
// whether the next one is waiting.
func (c *Channel) advance() (ready bool) {
	c.expected++
	ready = c.held&1 != 0
	c.held >>= 1
	return ready
}

// hold keeps a segment whose turn has not come.
func (c *Channel) hold(now int64, seq uint64, batch []byte) {
	bit := uint64(1) << (seq - c.expected - 1)
	c.ackAt = now // the peer should know of the gap
	if c.held&bit != 0 {
		c.stats.Duplicates++
		return
	}
	c.stats.OutOfOrder++
	c.held |= bit
	var b []byte
	if n := len(c.freeBuf); n > 0 {
		b, c.freeBuf = c.freeBuf[n-1], c.freeBuf[:n-1]
	} else {
		b = make([]byte, 0, c.cfg.Payload)
	}
	c.waiting[seq%Window] = append(b[:0], batch...)
}
