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

// kernel asks rtnetlink over a socket of its own. Not safe for concurrent use.
type kernel struct{ handle *netlink.Handle }

func openKernel() (*kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("fib: open netlink: %w", err)
	}
	if err := h.SetSocketTimeout(requestTimeout); err != nil {
		h.Close()
		return nil, fmt.Errorf("fib: netlink timeout: %w", err)
	}
	return &kernel{h}, nil
}

func (k *kernel) close() { k.handle.Close() }

// route returns the interface and the neighbour a packet for dst goes to. The
// lookup is that of a packet of the host's own: forwarding is off on a node.
func (k *kernel) route(dst packet.Addr) (ifindex int, via packet.Addr, err error) {
	routes, err := k.handle.RouteGet(net.IP(dst[:]))
	if err != nil {
		if refuses(err) {
			return 0, via, errNoRoute
		}
		return 0, via, fmt.Errorf("fib: route to %s: %w", dst, err)
	}
	if len(routes) == 0 || routes[0].Type != unix.RTN_UNICAST {
		return 0, via, errNoRoute // local, broadcast, multicast: not for forwarding
	}
	r := routes[0]
	switch gw := r.Gw.To4(); {
	case r.Via != nil:
		return 0, via, errNoRoute // an IPv4 route over an IPv6 neighbour (RFC 5549)
	case gw != nil:
		via = packet.Addr(gw)
	default:
		via = dst
	}
	return r.LinkIndex, via, nil
}

// refuses tells the kernel's answers "no" from failures: unreachable and
// missing routes, prohibit, blackhole.
func refuses(err error) bool {
	for _, e := range []error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.ESRCH, unix.ENETDOWN} {
		if errors.Is(err, e) {
			return true
		}
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
