package ccl

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// control is room for the one control message that a socket of stamps gets: when
// the kernel took the datagram from the link, by the wall clock.
type control struct {
	header unix.Cmsghdr
	at     unix.Timespec
}

// stamp has the kernel tell when datagrams arrive, from here on.
func (s *socket) stamp() error {
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("ccl: socket: time stamps: %w", err)
	}
	s.stamps = make([]control, receiveBatch)
	for i := range s.messages {
		s.messages[i].hdr.Control = (*byte)(unsafe.Pointer(&s.stamps[i]))
	}
	return nil
}

// age is how long the kernel has had datagram i at wall, nanoseconds since 1970. It
// is 0 where the kernel did not say, or the wall clock was set back since.
func (s *socket) age(i int, wall int64) int64 {
	c := &s.stamps[i]
	if s.messages[i].hdr.Controllen < uint64(unsafe.Sizeof(*c)) || c.header.Level != unix.SOL_SOCKET || c.header.Type != unix.SO_TIMESTAMPNS {
		return 0
	}
	return max(wall-c.at.Nano(), 0)
}
