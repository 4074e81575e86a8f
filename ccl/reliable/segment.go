package reliable

import "encoding/binary"

const (
	flagData = 0x10
	flagSack = 0x20
	kindMask = 0x0f
)

// segment is one datagram's worth of messages on its way to the peer. The
// first HeaderBytes of buf are room for the header of each transmission.
type segment struct {
	buf      []byte
	last     int // where the last message in buf begins; 0 = there is none
	messages int
	sends    int
	sentAt   int64
	bornAt   int64 // when it could first have been sent; 0 = since the last Flush, or nothing in it is urgent
	leaveAt  int64 // Config.Linger ends; 0 = has not begun
	urgent   bool  // somebody waits for a message in it
	sacked   bool  // has arrived out of order
	lost     bool  // must be sent again
}

// waits reports whether a segment without anything urgent is to wait for more.
func (s *segment) waits(now, linger int64) bool {
	if s.leaveAt == 0 || s.leaveAt > now+linger {
		s.leaveAt = now + linger
	}
	return now < s.leaveAt
}

// header is the head of a segment as read from the link.
type header struct {
	src, dst uint32
	cum      uint32
	sack     uint64
	seq      uint32
	data     bool
	batch    []byte
}

// parse reads a segment of any kind.
func parse(b []byte) (h header, err error) {
	if len(b) < 13 {
		return h, ErrMalformed
	}
	flags := b[0] &^ kindMask
	h.src = binary.BigEndian.Uint32(b[1:])
	h.dst = binary.BigEndian.Uint32(b[5:])
	h.cum = binary.BigEndian.Uint32(b[9:])
	b = b[13:]
	if flags&flagSack != 0 {
		if len(b) < 8 {
			return h, ErrMalformed
		}
		h.sack = binary.BigEndian.Uint64(b)
		b = b[8:]
	}
	if flags&flagData != 0 {
		if len(b) < 4 {
			return h, ErrMalformed
		}
		h.data, h.seq, b = true, binary.BigEndian.Uint32(b), b[4:]
		h.batch = b
	} else if len(b) != 0 {
		return h, ErrMalformed
	}
	if flags&^(flagData|flagSack) != 0 || h.src == 0 {
		return h, ErrMalformed
	}
	return h, nil
}

// writeHeader puts the header right in front of the messages in buf and
// returns the segment to be sent.
func (c *Channel) writeHeader(buf []byte, seq uint64, data bool) []byte {
	n := 13
	flags := c.cfg.Kind
	if c.held != 0 {
		flags |= flagSack
		n += 8
	}
	if data {
		flags |= flagData
		n += 4
	}
	b := buf[HeaderBytes-n:]
	b[0] = flags
	binary.BigEndian.PutUint32(b[1:], c.self)
	binary.BigEndian.PutUint32(b[5:], c.peer)
	binary.BigEndian.PutUint32(b[9:], uint32(c.expected-1))
	at := 13
	if c.held != 0 {
		binary.BigEndian.PutUint64(b[at:], c.held)
		at += 8
	}
	if data {
		binary.BigEndian.PutUint32(b[at:], uint32(seq))
	}
	return b
}

// expand finds the number nearest to base whose low bits are low.
func expand(base uint64, low uint32) uint64 {
	return base + uint64(int64(int32(low-uint32(base))))
}

// newer compares instances, which may wrap.
func newer(a, b uint32) bool { return int32(a-b) > 0 }
