package reliable

import "errors"

// Errors of Send and Receive.
var (
	ErrBacklog   = errors.New("reliable: queue of the peer is full")
	ErrTooLarge  = errors.New("reliable: message larger than a segment")
	ErrMalformed = errors.New("reliable: malformed segment")
)

// Bounds of the protocol.
const (
	Window      = 64 // segments in flight, and waiting to be put in order
	HeaderBytes = 1 + 4 + 4 + 4 + 8 + 4

	minWindow    = 4
	startWindow  = 16
	ackDelay     = int64(1e6)
	ackEvery     = 8
	dupThreshold = 3
	minRTO       = int64(5e6)
	startRTO     = int64(20e6)
	maxRTO       = int64(500e6)
	never        = int64(1<<63 - 1)
)

// Config of a Channel.
type Config struct {
	Kind       uint8 // 1..15: first half byte of every segment, tells channels apart
	Payload    int   // bytes of a segment at most, header included
	QueueBytes int   // bytes of messages that are not acknowledged; 0 = 1 MiB

	// Pace is the least time between two segments that are not full, in ns; 0 = no
	// such bound. What is sent after a silence of that long leaves at once; under
	// load a message waits for others to share its segment, Pace at most.
	Pace int64

	// Linger is how long messages of SendLater wait for others, in ns; 0 = not at all.
	Linger int64

	// NewInstance returns a number that it has not returned before and that
	// is larger than those before (modulo 2^32), never 0.
	NewInstance func() uint32

	Emit    func(segment []byte) // sends; the slice is free after the call
	Deliver func(batch []byte)   // takes messages in order; likewise
	Reset   func()               // the peer started over, the queue is lost; may be nil
}

// Stats are the figures of one channel.
type Stats struct {
	RTT             int64 // smoothed, ns; 0 = unknown
	UnackedMessages int   // sent or waiting
	UnackedBytes    int
	Segments        int // sent or waiting
	InFlight        int // of them sent
	CongestionLimit int // segments
	SentSegments    uint64
	SentAcks        uint64 // of segments, those that carry no messages
	SentMessages    uint64
	SentBytes       uint64 // of segments, headers included, repeated ones too
	Retransmits     uint64
	Timeouts        uint64
	Duplicates      uint64 // segments received again
	OutOfOrder      uint64 // segments received before their turn
	Stale           uint64 // segments of a former instance
	Backlogs        uint64 // messages that Send refused
	Resets          uint64
}
