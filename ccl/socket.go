package ccl

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	receiveBatch  = 32
	receiveBuffer = 20 << 10 // larger than any datagram an Endpoint makes
	socketBuffer  = 4 << 20

	controlPriority = 6    // SO_PRIORITY: the interactive band
	controlTOS      = 0xc0 // DSCP CS6, network control (RFC 4594)
	stateTOS        = 0xa0 // DSCP CS5, signalling: before data, behind membership
)

// socket is a UDP socket on the VXLAN device. Its system calls use memory that
// it keeps, so that nothing is allocated for a datagram. Go's scheduler does not hear of
// them: on a busy machine it would take the processor away in the middle, and wake two
// threads for that. None of them sleeps, unless the kernel is out of memory: what must stop
// everybody (a garbage collection) waits for its end.
type socket struct {
	fd   int
	port uint16
	to   unix.RawSockaddrInet4

	messages [receiveBatch]mmsghdr
	vectors  [receiveBatch]unix.Iovec
	names    [receiveBatch]unix.RawSockaddrInet4
	buffers  [receiveBatch][]byte
	stamps   []control // of the messages; nil: they have none
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// newSocket opens a socket that sees and sends only through the device.
// Membership messages get priority and may be fragmented; state messages must
// not be, because that is what the MTU probe is about.
func newSocket(dev string, port uint16, control bool) (*socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("ccl: socket: %w", err)
	}
	s := &socket{fd: fd, port: port}
	if err := s.configure(dev, control); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("ccl: socket %s port %d: %w", dev, port, err)
	}
	for i := range s.messages {
		s.buffers[i] = make([]byte, receiveBuffer)
		s.vectors[i].Base = &s.buffers[i][0]
		s.vectors[i].SetLen(receiveBuffer)
		h := &s.messages[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&s.names[i]))
		h.Iov = &s.vectors[i]
		h.SetIovlen(1)
	}
	s.to.Family = unix.AF_INET
	s.to.Port = port<<8 | port>>8
	return s, nil
}

func (s *socket) configure(dev string, control bool) error {
	set := func(level, option, value int) error { return unix.SetsockoptInt(s.fd, level, option, value) }
	if err := unix.SetsockoptString(s.fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, dev); err != nil {
		return fmt.Errorf("bind to device: %w", err)
	}
	if err := set(unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
		return fmt.Errorf("broadcast: %w", err)
	}
	// Best effort: without CAP_NET_ADMIN the system's limit holds.
	_ = set(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer)
	_ = set(unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer)
	discover, tos := unix.IP_PMTUDISC_PROBE, stateTOS // DF, whatever the route's MTU is said to be
	if control {
		discover, tos = unix.IP_PMTUDISC_DONT, controlTOS
	}
	if err := set(unix.IPPROTO_IP, unix.IP_TOS, tos); err != nil {
		return fmt.Errorf("tos: %w", err)
	}
	if control {
		if err := set(unix.SOL_SOCKET, unix.SO_PRIORITY, controlPriority); err != nil {
			return fmt.Errorf("priority: %w", err)
		}
	}
	if err := set(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, discover); err != nil {
		return fmt.Errorf("path mtu: %w", err)
	}
	return unix.Bind(s.fd, &unix.SockaddrInet4{Port: int(s.port)})
}

// send sends one datagram without waiting.
func (s *socket) send(inner [4]byte, b []byte) error {
	s.to.Addr = inner
	for {
		_, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&s.to)), unsafe.Sizeof(s.to))
		if e == 0 {
			return nil
		}
		if e != unix.EINTR {
			return e
		}
	}
}

// receive fills at most so many buffers, of receiveBatch; 0 = nothing there.
func (s *socket) receive(most int) (n int, err error) {
	for i := range most {
		s.messages[i].hdr.Namelen = unix.SizeofSockaddrInet4
		if s.stamps != nil {
			s.messages[i].hdr.SetControllen(int(unsafe.Sizeof(control{})))
		}
	}
	r, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.messages[0])), uintptr(most),
		unix.MSG_DONTWAIT, 0, 0)
	switch e {
	case 0:
		return int(r), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	return 0, e
}

// datagram returns what receive put into buffer i.
func (s *socket) datagram(i int) (from netip.Addr, b []byte, truncated bool) {
	m := &s.messages[i]
	return netip.AddrFrom4(s.names[i].Addr), s.buffers[i][:m.len], m.hdr.Flags&unix.MSG_TRUNC != 0
}
