package ccl

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is the kernel's VXLAN device and two sockets on it, one for membership
// and one for state messages. One goroutine sends and receives.
type Link struct {
	cfg     LinkConfig
	dev     netlink.Link
	control *socket
	state   *socket
	epoll   int
	byHost  map[uint16]netip.Addr
	count   LinkCounters
}

// LinkCounters are totals since OpenLink.
type LinkCounters struct {
	Received    uint64 // datagrams
	UnknownPeer uint64 // whose source is not a configured peer (CL1)
	Truncated   uint64 // larger than any of ours
	Sent        uint64
	SendFull    uint64 // no room in the socket or the device
	SendTooBig  uint64 // larger than the device's MTU and not to be fragmented
	SendFailed  uint64 // anything else; LastError says what
	LastError   error
}

// OpenLink makes or adopts the VXLAN device in the calling thread's network
// namespace and opens the sockets. Errors name the interface and what it lacks.
func OpenLink(cfg LinkConfig) (*Link, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	under, err := prepareInterface(&cfg)
	if err != nil {
		return nil, err
	}
	l := &Link{cfg: cfg, epoll: -1}
	if l.dev, err = device(&cfg, under); err != nil {
		return nil, err
	}
	if err := l.SetPeers(cfg.Peers); err != nil {
		return nil, err
	}
	if err := l.openSockets(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Link) openSockets() (err error) {
	port := uint16(l.cfg.ControlPort)
	if l.control, err = newSocket(l.cfg.Name, port, true); err != nil {
		return err
	}
	if l.state, err = newSocket(l.cfg.Name, port+1, false); err != nil {
		return err
	}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("ccl: epoll: %w", err)
	}
	for _, s := range []*socket{l.control, l.state} {
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(s.fd)}
		if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, s.fd, &ev); err != nil {
			return fmt.Errorf("ccl: epoll: %w", err)
		}
	}
	return nil
}

// SetPeers replaces the peers: others are neither sent to nor heard.
func (l *Link) SetPeers(peers []netip.Addr) error {
	if err := checkAddresses(l.cfg.Address, peers); err != nil {
		return err
	}
	if err := syncPeers(l.dev, peers); err != nil {
		return err
	}
	l.byHost = make(map[uint16]netip.Addr, len(peers))
	for _, p := range peers {
		l.byHost[hostPart(p)] = p
	}
	return nil
}

// MTU returns that of the CCL interface, for EndpointConfig.
func (l *Link) MTU() int { return l.cfg.MTU }

// Name returns the name of the VXLAN device.
func (l *Link) Name() string { return l.cfg.Name }

// Running reports whether the interface below is up and has its carrier. It costs
// one system call: netlink would open a socket each time.
func (l *Link) Running() bool {
	r, err := unix.NewIfreq(l.cfg.Interface)
	if err != nil {
		return false
	}
	const up = unix.IFF_UP | unix.IFF_RUNNING
	return unix.IoctlIfreq(l.control.fd, unix.SIOCGIFFLAGS, r) == nil && r.Uint16()&up == up
}

// Takes returns the largest packet that the link sends now, outer header included: of the
// interface below and of the device somebody may have lowered the MTU. 0 when the kernel
// does not tell. It costs two system calls.
func (l *Link) Takes() int {
	mtu := func(name string) int {
		r, err := unix.NewIfreq(name)
		if err != nil || unix.IoctlIfreq(l.control.fd, unix.SIOCGIFMTU, r) != nil {
			return 0
		}
		return int(r.Uint32())
	}
	inside := mtu(l.cfg.Name)
	if inside == 0 {
		return 0
	}
	return min(mtu(l.cfg.Interface), inside+VXLANOverheadFor(l.cfg.Address.Addr()))
}

// FD returns a descriptor that polls readable while datagrams wait on either
// socket. It stays the Link's.
func (l *Link) FD() int { return l.epoll }

// Counters returns the totals.
func (l *Link) Counters() LinkCounters { return l.count }

// Receive hands waiting datagrams to f with the VTEP of their sender, and
// returns how many there were. Membership comes first, and again between any
// two batches of state (CL5). It returns when both sockets are empty or after
// limit datagrams; the slice is valid during the call of f.
func (l *Link) Receive(limit int, f func(from netip.Addr, b []byte)) (total int, err error) {
	for total < limit {
		most := min(limit-total, receiveBatch)
		n, err := l.drain(l.control, most, f)
		if err == nil && n < most {
			var m int
			m, err = l.drain(l.state, most-n, f)
			n += m
		}
		total += n
		if err != nil || n < receiveBatch {
			return total, err // both are empty, or FD is readable again
		}
	}
	return total, nil
}

// drain receives one batch of at most so many datagrams from a socket.
func (l *Link) drain(s *socket, most int, f func(from netip.Addr, b []byte)) (int, error) {
	n, err := s.receive(most)
	if err != nil {
		return 0, fmt.Errorf("ccl: device %s: receive: %w", l.cfg.Name, err)
	}
	for i := range n {
		l.count.Received++
		from, b, truncated := s.datagram(i)
		if from == netip.AddrFrom4(innerAddr(hostPart(l.cfg.Address.Addr()))) {
			continue // our own broadcast
		}
		a := from.As4()
		vtep, known := l.byHost[uint16(a[2])<<8|uint16(a[3])]
		switch {
		case !known || a[0] != 169 || a[1] != 254:
			l.count.UnknownPeer++
		case truncated:
			l.count.Truncated++
		default:
			f(vtep, b)
		}
	}
	return n, nil
}

// Send sends a state datagram that must not be fragmented to a peer, or to all
// for the zero Addr. What cannot be sent is counted and lost, as on any link.
func (l *Link) Send(to netip.Addr, b []byte) { l.send(l.state, to, b) }

// SendControl is Send for the membership class: a socket of its own, priority
// on the interface, and fragments when a message is larger than the MTU.
func (l *Link) SendControl(to netip.Addr, b []byte) { l.send(l.control, to, b) }

// Broadcast is SendControl to all peers.
func (l *Link) Broadcast(b []byte) { l.send(l.control, netip.Addr{}, b) }

func (l *Link) send(s *socket, to netip.Addr, b []byte) {
	host := uint16(0xffff)
	if to.IsValid() {
		host = hostPart(to)
		if l.byHost[host] != to {
			l.count.SendFailed++
			l.count.LastError = fmt.Errorf("ccl: send to %v: not a peer", to)
			return
		}
	}
	switch err := s.send(innerAddr(host), b); err {
	case nil:
		l.count.Sent++
	case unix.EAGAIN, unix.ENOBUFS:
		l.count.SendFull++
	case unix.EMSGSIZE:
		l.count.SendTooBig++
	default:
		l.count.SendFailed++
		l.count.LastError = err
	}
}

// Close closes the sockets and leaves the device, for the next run of the
// daemon to adopt: peers notice nothing of a quick restart.
func (l *Link) Close() error {
	var errs []error
	for _, s := range []*socket{l.control, l.state} {
		if s != nil && s.fd >= 0 {
			errs = append(errs, unix.Close(s.fd))
			s.fd = -1
		}
	}
	if l.epoll >= 0 {
		errs = append(errs, unix.Close(l.epoll))
		l.epoll = -1
	}
	return errors.Join(errs...)
}

// Remove closes the link and removes the device.
func (l *Link) Remove() error {
	err := l.Close()
	if e := netlink.LinkDel(l.dev); e != nil {
		err = errors.Join(err, fmt.Errorf("ccl: device %s: remove: %w", l.cfg.Name, e))
	}
	return err
}
