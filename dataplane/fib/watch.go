package fib

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"cohort/packet"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// eventBuffer is the socket's receive buffer in bytes: a routing daemon that
// changes a full table sends some hundred thousand events at once.
const eventBuffer = 8 << 20

// watcher follows the kernel's events on one socket, so that they come in the
// order in which they happened. They are received with the table locked: what is
// not in the socket any more has been applied.
type watcher struct {
	file *os.File
	conn syscall.RawConn
	fd   int
	buf  []byte
	done sync.WaitGroup
}

func subscribe() (*watcher, error) {
	f, err := openEvents(unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_NEXTHOP, unix.RTNLGRP_IPV4_NETCONF)
	if err != nil {
		return nil, err
	}
	w := &watcher{file: f, buf: make([]byte, datagramSize)}
	if w.conn, err = f.SyscallConn(); err == nil {
		err = w.conn.Control(func(fd uintptr) { w.fd = int(fd) })
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("fib: follow netlink: %w", err)
	}
	return w, nil
}

// run receives until close. Each turn takes the lock once for one datagram.
func (w *watcher) run(t *Table) {
	w.done.Go(func() {
		for {
			err := w.conn.Read(func(uintptr) bool {
				t.mu.Lock()
				defer t.mu.Unlock()
				return t.closed || t.receive()
			})
			if err != nil || t.isClosed() {
				return
			}
		}
	})
}

func (w *watcher) close() {
	_ = w.file.Close()
	w.done.Wait()
}

// pending tells whether there are events that the table has not seen, or the
// loss of some. Called with the table's lock, before close.
func (w *watcher) pending() bool {
	fds := [1]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds[:], 0)
	return n != 0 || err != nil
}

// receive takes one datagram of events and applies it; false when there is
// none. Called with mu held.
func (t *Table) receive() bool {
	n, err := receive(t.watcher.fd, t.watcher.buf, unix.MSG_DONTWAIT)
	switch err {
	case nil:
		t.apply(t.watcher.buf[:n])
	case unix.ENOBUFS:
		t.reread()
	case unix.EAGAIN:
		return false
	}
	return true
}

func (t *Table) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// apply brings the table up to date with a datagram of events. Called with mu
// held.
func (t *Table) apply(b []byte) {
	var c Changes
	messages(b, func(h unix.NlMsghdr, body []byte) bool {
		switch h.Type {
		case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
			if n, err := netlink.NeighDeserialize(body); err == nil && t.neigh(n, h.Type == unix.RTM_DELNEIGH) {
				c.NextHops = true
			}
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			// The kernel removes the routes of a link that goes down without a
			// word about each of them.
			data, routes := t.link(&h, body)
			c.Links, c.NextHops, c.Routes = c.Links || data, c.NextHops || data, c.Routes || routes
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			// Rare, and one address may be on several interfaces: read all.
			if locals, err := t.kernel.addrs(); err == nil {
				t.locals = locals
			}
			c.Addrs = true
			// An IPv6 address brings no route of ours. Its family is the first byte.
			c.Routes = c.Routes || len(body) > 0 && body[0] == unix.AF_INET
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			t.noteRoute(body, h.Flags, h.Type == unix.RTM_DELROUTE)
			c.Routes = true
		case unix.RTM_NEWRULE:
			t.noteRule(body)
			c.Routes = true
		case unix.RTM_DELRULE, unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP,
			unix.RTM_NEWNETCONF: // ignore_routes_with_linkdown
			c.Routes = true
		}
		return true
	})
	t.signal(c)
}

// neigh applies one neighbour and reports whether an entry changed.
func (t *Table) neigh(n *netlink.Neigh, gone bool) bool {
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok || !addr.Unmap().Is4() || t.links[n.LinkIndex] == nil {
		return false
	}
	key := hopKey{n.LinkIndex, packet.AddrFrom(addr)}
	if gone {
		delete(t.neighs, key)
	} else {
		v := neighbour{state: n.State}
		copy(v.mac[:], n.HardwareAddr)
		if len(n.HardwareAddr) != len(v.mac) {
			v.state &^= usable // nothing to send to
		}
		t.neighs[key] = v
	}
	nh, used := t.hops[key]
	if !used {
		return false
	}
	changed := t.refresh(nh)
	if gone && t.keys[nh].known {
		t.probe(nh) // collected by the kernel, but we still use it
	}
	return changed
}

// link applies one link event and reports whether a data interface changed, and
// whether routes over any interface may have.
func (t *Table) link(h *unix.NlMsghdr, body []byte) (data, routes bool) {
	l, err := netlink.LinkDeserialize(h, body)
	if err != nil {
		return false, false
	}
	gone := h.Type == unix.RTM_DELLINK
	state := t.links[l.Attrs().Index]
	if state == nil {
		return false, t.other(l.Attrs(), gone)
	}
	was := *state
	state.set(l.Attrs())
	if gone {
		state.Up = false
	}
	if *state == was {
		return false, false
	}
	t.refreshLink(state.Ifindex)
	return true, true
}

// other notes the state of a link that is no data interface: routes over it
// come and go with it too.
func (t *Table) other(a *netlink.LinkAttrs, gone bool) (changed bool) {
	flags := a.RawFlags & (unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP)
	if gone {
		flags = 0
	}
	changed = t.others[a.Index] != flags
	if t.others[a.Index] = flags; flags == 0 {
		delete(t.others, a.Index)
	}
	return changed
}

func (s *LinkState) set(a *netlink.LinkAttrs) {
	s.Up = a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0
	s.MTU = a.MTU
	copy(s.MAC[:], a.HardwareAddr)
}

func (t *Table) refreshLink(ifindex int) {
	for key, nh := range t.hops {
		if key.ifindex == ifindex {
			t.refresh(nh)
		}
	}
}

// reread reads everything again after the kernel dropped events. Called with mu
// held.
func (t *Table) reread() {
	t.stats.Resyncs++
	_ = t.resync() // what cannot be read now comes with its next event
	t.readPrefixes()
	t.signal(Changes{Routes: true, NextHops: true, Addrs: true, Links: true})
}

// resync reads links, addresses and neighbours, and refreshes every entry.
func (t *Table) resync() error {
	links, err := t.kernel.handle.LinkList()
	if err != nil {
		return fmt.Errorf("fib: read links: %w", err)
	}
	for _, s := range t.links {
		s.Up = false
	}
	for _, l := range links {
		if s := t.links[l.Attrs().Index]; s != nil {
			s.set(l.Attrs())
		} else {
			t.other(l.Attrs(), false)
		}
	}
	locals, err := t.kernel.addrs()
	if err != nil {
		return err
	}
	t.locals = locals
	t.neighs = make(map[hopKey]neighbour)
	for ifindex := range t.links {
		ns, err := t.kernel.handle.NeighList(ifindex, unix.AF_INET)
		if err != nil {
			return fmt.Errorf("fib: read neighbours: %w", err)
		}
		for i := range ns {
			t.neigh(&ns[i], false)
		}
	}
	for _, nh := range t.hops { // also those whose neighbour is gone
		t.refresh(nh)
	}
	return nil
}

// addrs reads the host's addresses; see LocalAddrs.
func (k *kernel) addrs() (map[netip.Addr]int, error) {
	list, err := k.handle.AddrList(nil, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("fib: read addresses: %w", err)
	}
	all := make(map[netip.Addr]int)
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); ok && !ip.IsLoopback() && !(ip.Is6() && ip.IsLinkLocalUnicast()) {
			all[ip]++
		}
	}
	return all, nil
}
