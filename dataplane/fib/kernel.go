package fib

import (
	"errors"
	"fmt"
	"net"
	"time"

	"cohort/packet"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// errNoRoute: the kernel answered, and the answer is that it does not forward
// there.
var errNoRoute = errors.New("no route")

// requestTimeout bounds every request; the kernel answers in microseconds.
const requestTimeout = time.Second

// kernel asks rtnetlink over sockets of its own. Not safe for concurrent use.
type kernel struct {
	handle *netlink.Handle // for links, addresses and neighbours
	asks   int             // for routes
	seq    uint32
	req    request
	buf    []byte
}

func openKernel() (*kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("fib: open netlink: %w", err)
	}
	if err := h.SetSocketTimeout(requestTimeout); err != nil {
		h.Close()
		return nil, fmt.Errorf("fib: netlink timeout: %w", err)
	}
	fd, err := openRoute()
	if err != nil {
		h.Close()
		return nil, err
	}
	return &kernel{handle: h, asks: fd, buf: make([]byte, datagramSize)}, nil
}

func (k *kernel) close() {
	k.handle.Close()
	_ = unix.Close(k.asks)
}

// match returns the route that dst takes, with the prefix it has in its table;
// errNoRoute also for a route that refuses. The question is that of a packet of
// the host's own: forwarding is off on a node. So no source, mark or interface
// plays a part, and type of service is 0.
//
// It is the route as configured (RTM_F_FIB_MATCH), without what the kernel
// learned about the one address: a router follows no redirects (RFC 1812
// 5.2.7.2), and path MTUs are not ours.
func (k *kernel) match(dst packet.Addr) (routeMsg, error) {
	return k.ask(dst, unix.RTM_F_LOOKUP_TABLE|unix.RTM_F_FIB_MATCH)
}

// path returns the one next hop that the kernel chooses for dst.
func (k *kernel) path(dst packet.Addr) (routeMsg, error) {
	return k.ask(dst, unix.RTM_F_LOOKUP_TABLE)
}

func (k *kernel) ask(dst packet.Addr, flags uint32) (r routeMsg, err error) {
	k.seq++
	k.req.set(dst, flags, k.seq)
	if err := unix.Sendto(k.asks, k.req[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return r, fmt.Errorf("fib: ask for a route to %s: %w", dst, err)
	}
	for done := false; !done; {
		n, rerr := receive(k.asks, k.buf, 0)
		if rerr != nil {
			return r, fmt.Errorf("fib: route to %s: %w", dst, rerr)
		}
		messages(k.buf[:n], func(h unix.NlMsghdr, body []byte) bool {
			if h.Seq != k.seq {
				return true // answers a question that was given up
			}
			done = true
			r, err = answered(h, body)
			return false
		})
	}
	if err != nil && err != errNoRoute {
		err = fmt.Errorf("fib: route to %s: %w", dst, err)
	}
	return r, err
}

// answered reads the answer to a question for a route.
func answered(h unix.NlMsghdr, body []byte) (routeMsg, error) {
	if h.Type == unix.NLMSG_ERROR {
		if e := errno(body); !refuses(e) {
			return routeMsg{}, e
		}
		return routeMsg{}, errNoRoute
	}
	r, ok := parseRoute(body)
	switch {
	case h.Type != unix.RTM_NEWROUTE || !ok:
		return r, unix.EBADMSG
	case r.kind != unix.RTN_UNICAST: // local, broadcast, multicast: not for forwarding
		return r, errNoRoute
	}
	return r, nil
}

// refuses tells the kernel's answers "no" from failures: unreachable and
// missing routes, prohibit, blackhole.
func refuses(e unix.Errno) bool {
	switch e {
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.ESRCH, unix.ENETDOWN:
		return true
	}
	return false
}

// use tells the kernel that a packet was sent to the neighbour (NTF_USE). For
// a neighbour the caller knows of nothing it only makes a new entry: there may
// be a permanent one whose event is still on its way, and NTF_USE would take
// the permanence away. If there is an entry, its event is all that is missing.
func (k *kernel) use(key hopKey, known bool) error {
	n := &netlink.Neigh{
		LinkIndex: key.ifindex,
		Family:    unix.AF_INET,
		State:     netlink.NUD_NONE,
		Flags:     netlink.NTF_USE,
		IP:        net.IP(key.addr[:]),
	}
	if known {
		return k.handle.NeighSet(n)
	}
	if err := k.handle.NeighAdd(n); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}
