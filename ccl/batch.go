package ccl

import "cohort/ccl/wire"

// resendWithin is how old the last datagram may be that a peer gets once more
// after it refused us, ns.
const resendWithin = int64(1e9)

// batch collects unreliable messages for one destination. The first byte of
// buf is the kind.
type batch struct {
	buf  []byte
	last []byte // sent last, kept for a peer that could not accept it yet
	at   int64  // when
}

// add appends m. When the result is longer than limit, what was there before m
// is returned to be sent first.
func (b *batch) add(m wire.Message, limit int) (full []byte) {
	if len(b.buf) == 0 {
		b.buf = append(b.buf, kindDatagram)
	}
	n := len(b.buf)
	b.buf = wire.Append(b.buf, m)
	if len(b.buf) <= limit || n == 1 {
		return nil
	}
	full = append([]byte(nil), b.buf[:n]...)
	b.buf = append(b.buf[:1], b.buf[n:]...)
	return full
}

// take empties the batch; nil when there is nothing in it.
func (b *batch) take(now int64) []byte {
	if len(b.buf) == 0 {
		return nil
	}
	b.last = append(b.last[:0], b.buf...)
	b.at = now
	b.buf = b.buf[:0]
	return b.last
}

// recent returns the last datagram if it is young enough to matter.
func (b *batch) recent(now int64) []byte {
	if len(b.last) == 0 || now-b.at > resendWithin {
		return nil
	}
	return b.last
}
