package reliable

import (
	"cohort/ccl/wire"
)

// slack is room behind a full segment, so that the message that does not fit
// any more can be encoded before it moves to the next one.
const slack = 128

// Channel is one end of the reliable connection with one peer. It belongs to
// one goroutine.
type Channel struct {
	cfg Config

	// Instances: ours, the peer's (0 = not heard of), and the peer's that is
	// known to have heard of ours (0 = none).
	self, peer, bound uint32

	// Sending. queue[i] has number una+i; those below next have been sent.
	queue     []*segment
	una, next uint64
	bytes     int // of messages in queue
	messages  int
	acked     uint64 // messages of this instance that the peer has
	lags      history
	cwnd      int
	ssthresh  int
	recover   uint64 // end of the flight in which a loss was last answered
	rtt       rtt
	rtoAt     int64 // never = no timer
	paceAt    int64 // a new segment that is not full leaves then at the earliest
	dueAt     int64 // when the one that waits for that leaves; never = none does

	// Receiving. waiting[n % Window] holds segment n > expected.
	expected uint64
	waiting  [Window][]byte
	held     uint64 // bit i: segment expected+1+i is in waiting
	ackAt    int64  // never = nothing to acknowledge
	unacked  int    // segments received since the last acknowledgement sent

	free    []*segment
	freeBuf [][]byte
	ackBuf  [HeaderBytes]byte
	stats   Stats
}

// New returns the end of a channel to a peer that may not exist yet.
func New(cfg Config) *Channel {
	if cfg.QueueBytes == 0 {
		cfg.QueueBytes = 1 << 20
	}
	if cfg.Reset == nil {
		cfg.Reset = func() {}
	}
	c := &Channel{cfg: cfg}
	c.start()
	return c
}

// start begins a new instance with empty queues and an unknown peer.
func (c *Channel) start() {
	c.self, c.peer, c.bound = c.cfg.NewInstance(), 0, 0
	for i, s := range c.queue {
		c.release(s)
		c.queue[i] = nil
	}
	c.queue = c.queue[:0]
	c.una, c.next, c.bytes, c.messages, c.acked = 1, 1, 0, 0, 0
	c.cwnd, c.ssthresh, c.recover = startWindow, Window, 0
	c.rtt.restart()
	c.rtoAt, c.dueAt = never, never
	c.startReceiving()
}

// startReceiving forgets what came from the peer's former instance.
func (c *Channel) startReceiving() {
	for i, b := range c.waiting {
		if b != nil {
			c.freeBuf = append(c.freeBuf, b)
			c.waiting[i] = nil
		}
	}
	c.expected, c.held, c.ackAt, c.unacked = 1, 0, never, 0
}

// Restart begins a new instance because the caller knows that the peer has
// started over (a new session) or wants to forget it. Reset is not called.
func (c *Channel) Restart() {
	c.stats.Resets++
	c.start()
}

// Used reports whether anything was ever exchanged in this instance.
func (c *Channel) Used() bool { return c.peer != 0 || len(c.queue) != 0 || c.next != 1 }

// Stats returns the figures of now.
func (c *Channel) Stats() Stats {
	s := c.stats
	s.RTT = c.rtt.smoothed
	s.UnackedMessages, s.UnackedBytes = c.messages, c.bytes
	s.Segments, s.InFlight, s.CongestionLimit = len(c.queue), int(c.next-c.una), c.cwnd
	return s
}

// Send queues a message. It leaves with the next Flush that the window allows.
// ErrBacklog: the queue is full; the message is not queued. m does not escape.
func (c *Channel) Send(m wire.Message) error {
	s, err := c.add(m)
	if err == nil {
		s.urgent = true
	}
	return err
}

// SendLater is Send for a message that nobody waits for: it leaves with the next one of
// Send, with a full segment, or Config.Linger after the next Flush.
func (c *Channel) SendLater(m wire.Message) error {
	_, err := c.add(m)
	return err
}

// add queues a message and returns the segment that it is in.
func (c *Channel) add(m wire.Message) (*segment, error) {
	if c.bytes >= c.cfg.QueueBytes {
		c.stats.Backlogs++
		return nil, ErrBacklog
	}
	s := c.open()
	n := len(s.buf)
	if s.last != 0 {
		if b, ok := wire.Extend(s.buf, s.last, m); ok && len(b) <= c.cfg.Payload {
			s.buf = b
			c.added(s, n)
			return s, nil
		} else if ok {
			s.buf[s.last+1]-- // it does not fit
		}
	}
	s.buf = wire.Append(s.buf, m)
	if len(s.buf) > c.cfg.Payload {
		tail := s.buf[n:]
		if HeaderBytes+len(tail) > c.cfg.Payload {
			s.buf = s.buf[:n]
			return nil, ErrTooLarge
		}
		next := c.append()
		next.buf = append(next.buf, tail...)
		s.buf = s.buf[:n]
		s, n = next, HeaderBytes
	}
	s.last = n
	c.added(s, n)
	return s, nil
}

// added counts a message that has made a segment longer than n.
func (c *Channel) added(s *segment, n int) {
	s.messages++
	c.messages++
	c.bytes += len(s.buf) - n
	c.stats.SentMessages++
}

// open returns the last segment when it has not been sent yet, or a new one.
func (c *Channel) open() *segment {
	if n := len(c.queue); n > int(c.next-c.una) {
		return c.queue[n-1]
	}
	return c.append()
}

func (c *Channel) append() *segment {
	var s *segment
	if n := len(c.free); n > 0 {
		s, c.free = c.free[n-1], c.free[:n-1]
		*s = segment{buf: s.buf[:HeaderBytes]}
	} else {
		s = &segment{buf: make([]byte, HeaderBytes, c.cfg.Payload+slack)}
	}
	c.queue = append(c.queue, s)
	return s
}

// release keeps the memory of a window's worth of segments and leaves the rest
// of a past backlog to the collector.
func (c *Channel) release(s *segment) {
	if len(c.free) < Window {
		c.free = append(c.free, s)
	}
}

// Flush sends what the window allows: lost segments, then new ones, then an
// acknowledgement if one is due and nothing carried it.
func (c *Channel) Flush(now int64) {
	if len(c.queue) > 0 {
		c.born(now)
		c.transmit(now)
	}
	if c.ackAt <= now || c.unacked >= ackEvery {
		c.stats.SentAcks++
		c.emit(c.writeHeader(c.ackBuf[:], 0, false))
	}
}

func (c *Channel) transmit(now int64) {
	c.dueAt = never
	flight := int(c.next - c.una)
	pipe := 0
	for _, s := range c.queue[:flight] {
		if !s.sacked && !s.lost {
			pipe++
		}
	}
	for i, s := range c.queue[:flight] {
		if pipe >= c.cwnd {
			return
		}
		if s.lost {
			c.stats.Retransmits++
			c.sendSegment(now, s, c.una+uint64(i))
			pipe++
		}
	}
	for flight < len(c.queue) && flight < Window && pipe < c.cwnd {
		s := c.queue[flight]
		if len(s.buf) == HeaderBytes {
			return // opened for a message that was refused
		}
		if flight == len(c.queue)-1 { // there is room for more in it
			if !s.urgent && s.waits(now, c.cfg.Linger) {
				c.dueAt = s.leaveAt
				return
			}
			if now < c.paceAt && c.paceAt <= now+c.cfg.Pace {
				c.dueAt = c.paceAt
				return
			}
		}
		c.paceAt = now + c.cfg.Pace
		c.sendSegment(now, s, c.next)
		c.next++
		flight++
		pipe++
	}
}

func (c *Channel) sendSegment(now int64, s *segment, seq uint64) {
	if s.bornAt == 0 {
		s.bornAt = now // nothing in it was in a hurry
	}
	s.lost = false
	s.sends++
	s.sentAt = now
	if c.rtoAt == never {
		c.rtoAt = now + c.rtt.timeout()
	}
	c.emit(c.writeHeader(s.buf, seq, true))
}

// emit sends; every segment acknowledges everything.
func (c *Channel) emit(b []byte) {
	c.ackAt, c.unacked = never, 0
	c.stats.SentSegments++
	c.stats.SentBytes += uint64(len(b))
	c.cfg.Emit(b)
}

// Tick runs the timers, flushes, and returns when it wants to be called again
// at the latest; math.MaxInt64 = only after Send or Receive.
func (c *Channel) Tick(now int64) (next int64) {
	if c.rtoAt <= now {
		c.stats.Timeouts++
		c.rtt.backoff()
		c.ssthresh, c.cwnd = max(c.cwnd/2, minWindow), minWindow
		c.recover = c.next
		c.markLost(c.next)
		c.rtoAt = now + c.rtt.timeout()
	}
	c.Flush(now)
	return min(c.rtoAt, c.ackAt, c.dueAt)
}

// Hurry makes the next Flush send everything that the window allows, whatever
// Config.Pace and Config.Linger say.
func (c *Channel) Hurry() {
	c.paceAt = 0
	for _, s := range c.queue[c.next-c.una:] {
		s.urgent = true
	}
}

// Due returns when a segment that Flush has kept back for Config.Pace or Linger leaves;
// math.MaxInt64 = there is none. Call Flush then.
func (c *Channel) Due() int64 { return c.dueAt }

// Resend sends again, with the next Flush, everything that has not been
// acknowledged: the peer has refused it so far.
func (c *Channel) Resend() { c.markLost(c.next) }

// markLost schedules every segment below end that has not arrived.
func (c *Channel) markLost(end uint64) {
	for i := c.una; i < end; i++ {
		if s := c.queue[i-c.una]; !s.sacked {
			s.lost = true
		}
	}
}
