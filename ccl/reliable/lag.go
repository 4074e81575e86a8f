package reliable

import "math/bits"

// Replication lag (MG9) is the time from the first chance to send a message until
// the peer has acknowledged it: what waits for the window counts. It is taken per
// segment, from its oldest message, when the acknowledgement arrives, so that it
// costs nothing per message and needs no timer.

const (
	lagStep   = int64(10e9)                  // one slice of the history
	lagSlices = 6                            // of a minute, the one under way included
	lagParts  = 4                            // buckets of one power of two
	lagFrom   = 10                           // bits: the first bucket is for less than 2^10 ns
	lagTo     = 36                           // bits: the last one for 2^36 ns (69 s) and more
	lagCount  = (lagTo-lagFrom)*lagParts + 1 // buckets
)

// Lags is a distribution of replication lags, in messages. The zero value is
// empty.
type Lags struct {
	counts [lagCount]uint64
	total  uint64
}

// bucketOf returns the bucket of a lag in ns.
func bucketOf(lag int64) int {
	if lag < 1<<lagFrom {
		return 0
	}
	if lag >= 1<<lagTo {
		return lagCount - 1
	}
	n := bits.Len64(uint64(lag)) - 1 // lagFrom..lagTo-1
	part := int(lag>>(n-2)) & (lagParts - 1)
	return (n-lagFrom)*lagParts + part + 1
}

// bucketEnd returns the lag in ns that no lag of a bucket reaches.
func bucketEnd(b int) int64 {
	n, part := (b-1)/lagParts+lagFrom, (b-1)%lagParts
	if b == 0 {
		return 1 << lagFrom
	}
	return int64(lagParts+part+1) << (n - 2)
}

// Count returns the number of messages.
func (l *Lags) Count() uint64 { return l.total }

// Quantile returns the lag in ns that the share q (0 to 1) of the messages did not
// exceed, rounded up by at most a quarter, and 0 if there were none.
func (l *Lags) Quantile(q float64) int64 {
	if l.total == 0 {
		return 0
	}
	want := max(uint64(q*float64(l.total)+0.5), 1)
	seen := uint64(0)
	for b, n := range l.counts {
		if seen += n; seen >= want {
			return bucketEnd(b)
		}
	}
	return bucketEnd(lagCount - 1)
}

// history is the lags of the last minute in slices that are reused.
type history struct {
	slices [lagSlices][lagCount]uint32
	of     [lagSlices]int64 // which step a slice is of
}

func (h *history) add(now, lag int64, messages int) {
	step := now / lagStep
	i := step % lagSlices
	if h.of[i] != step {
		h.of[i], h.slices[i] = step, [lagCount]uint32{}
	}
	h.slices[i][bucketOf(lag)] += uint32(messages)
}

func (h *history) addTo(now int64, l *Lags) {
	step := now / lagStep
	for i := range h.slices {
		if step-h.of[i] >= lagSlices {
			continue
		}
		for b, n := range h.slices[i] {
			l.counts[b] += uint64(n)
			l.total += uint64(n)
		}
	}
}

// AddLags adds the lags of the messages that were acknowledged in the last 50 to 60
// seconds to l.
func (c *Channel) AddLags(now int64, l *Lags) { c.lags.addTo(now, l) }

// Waiting returns for how long, in ns, the oldest message that is not acknowledged
// has been waiting; 0 when there is none.
func (c *Channel) Waiting(now int64) int64 {
	if c.messages == 0 || c.queue[0].bornAt == 0 {
		return 0 // or queued in this very pass
	}
	return max(now-c.queue[0].bornAt, 1)
}

// Progress is how far the messages of one instance of a channel have come. Another
// Instance means that what was queued before is lost or unknown to the peer.
type Progress struct {
	Instance    uint32
	Sent, Acked uint64 // messages queued, and acknowledged by the peer
}

// Progress returns how far this end's messages have come.
func (c *Channel) Progress() Progress {
	return Progress{Instance: c.self, Sent: c.acked + uint64(c.messages), Acked: c.acked}
}

// born notes the time for segments that were opened since the last call. What nobody
// waits for counts from when it leaves.
func (c *Channel) born(now int64) {
	for i := len(c.queue) - 1; i >= 0 && c.queue[i].bornAt == 0; i-- {
		if s := c.queue[i]; s.urgent {
			s.bornAt = now
		}
	}
}
