package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// What can be wrong with bytes from the link. Errors from Decode and Decoder
// wrap one of them and name the message type.
var (
	ErrTruncated = errors.New("truncated")
	ErrTrailing  = errors.New("body longer than its fields")
	ErrOversized = errors.New("body longer than any message may be")
	ErrValue     = errors.New("value out of range")

	// ErrUnknown comes with a valid rest: skip the message and go on.
	ErrUnknown = errors.New("unknown message type")

	// ErrEmpty says that nothing but padding is left.
	ErrEmpty = errors.New("no message left")
)

// split takes the next message off b, padding skipped.
func split(b []byte) (t Type, body, rest []byte, err error) {
	for len(b) > 0 && b[0] == byte(TypePadding) {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, nil, nil, ErrEmpty
	}
	t = Type(b[0])
	n, w := binary.Uvarint(b[1:])
	switch {
	case w == 0:
		return t, nil, nil, ErrTruncated
	case w < 0 || n > MaxBody:
		return t, nil, nil, ErrOversized
	case uint64(len(b)-1-w) < n:
		return t, nil, nil, ErrTruncated
	}
	body = b[1+w : 1+w+int(n)]
	return t, body, b[1+w+int(n):], nil
}

// Decode reads the first message of b and returns it as a value together with
// the bytes behind it. On ErrUnknown rest is still valid; ErrEmpty ends a
// batch; after any other error rest is nil. Of several Granted in one, rest begins with
// those that are left. It allocates; see Decoder.
func Decode(b []byte) (m Message, rest []byte, err error) {
	t, body, rest, err := split(b)
	if err == ErrEmpty {
		return nil, nil, err
	}
	if err != nil {
		return nil, nil, fmt.Errorf("wire: %v: %w", t, err)
	}
	r := reader{b: body}
	var c Decoder
	m = c.read(t, &r)
	whole, last := r, c.granted
	for t == TypeGranted && whole.more(&last) {
	}
	if next := c.granted; t == TypeGranted && whole.err == nil && r.more(&next) {
		left := binary.AppendUvarint([]byte{byte(t)}, uint64(4+len(r.b)))
		left = append(append(appendSerial(left, next.Serial), flag(next.Bound)), r.b...)
		return m, append(left, rest...), nil
	}
	if m == nil && r.err == nil {
		return nil, rest, fmt.Errorf("wire: %v: %w", t, ErrUnknown)
	}
	if err := r.end(); err != nil {
		return nil, nil, fmt.Errorf("wire: %v: %w", t, err)
	}
	return m, rest, nil
}

// end reports what is wrong with a body that has been read to its end.
func (r *reader) end() error {
	if r.err == nil && len(r.b) != 0 {
		return ErrTrailing
	}
	return r.err
}
