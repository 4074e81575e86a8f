package fib

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"

	"cohort/packet"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// eventBuffer is the socket's receive buffer in bytes: a routing daemon that
// changes a full table sends some hundred thousand events at once.
const eventBuffer = 8 << 20

// watcher follows the kernel's events on one socket, so that they come in the
// order in which they happened.
type watcher struct {
	socket *nl.NetlinkSocket
	done   sync.WaitGroup
}

func subscribe() (*watcher, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_NEXTHOP)
	if err != nil {
		return nil, fmt.Errorf("fib: follow netlink: %w", err)
	}
	_ = s.SetReceiveBufferSize(eventBuffer, true) // smaller is only slower: overflow resyncs
	return &watcher{socket: s}, nil
}

func (w *watcher) run(t *Table) {
	w.done.Add(1)
	go func() {
		defer w.done.Done()
		for {
			msgs, _, err := w.socket.Receive()
			switch {
			case err == nil:
				t.apply(msgs)
			case errors.Is(err, unix.ENOBUFS):
				t.reread()
			case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			default:
				return // closed
			}
		}
	}()
}

func (w *watcher) close() {
	w.socket.Close()
	w.done.Wait()
}

// apply brings the table up to date with a batch of events.
func (t *Table) apply(msgs []syscall.NetlinkMessage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	var c Changes
	for i := range msgs {
		m := &msgs[i]
		switch m.Header.Type {
		case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
			if n, err := netlink.NeighDeserialize(m.Data); err == nil && t.neigh(n, m.Header.Type == unix.RTM_DELNEIGH) {
				c.NextHops = true
			}
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			if t.link(m) {
				// The kernel removes the routes of a link that goes down
				// without a word about each of them.
				c.Links, c.NextHops, c.Routes = true, true, true
			}
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			// Rare, and one address may be on several interfaces: read all.
			if locals, err := t.kernel.addrs(); err == nil {
				t.locals = locals
			}
			c.Addrs, c.Routes = true, true
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE, unix.RTM_NEWRULE, unix.RTM_DELRULE,
			unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
			c.Routes = true
		}
	}
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

// link applies one link event and reports whether a data interface changed.
func (t *Table) link(m *syscall.NetlinkMessage) bool {
	h := unix.NlMsghdr{Type: m.Header.Type}
	l, err := netlink.LinkDeserialize(&h, m.Data)
	if err != nil || t.links[l.Attrs().Index] == nil {
		return false
	}
	state := t.links[l.Attrs().Index]
	was := *state
	state.set(l.Attrs())
	if m.Header.Type == unix.RTM_DELLINK {
		state.Up = false
	}
	if *state == was {
		return false
	}
	t.refreshLink(state.Ifindex)
	return true
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

// reread reads everything again after the kernel dropped events.
func (t *Table) reread() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.stats.Resyncs++
	_ = t.resync() // what cannot be read now comes with its next event
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

// addrs reads the host's IPv4 addresses without loopback.
func (k *kernel) addrs() (map[netip.Addr]int, error) {
	list, err := k.handle.AddrList(nil, unix.AF_INET)
	if err != nil {
		return nil, fmt.Errorf("fib: read addresses: %w", err)
	}
	all := make(map[netip.Addr]int)
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && !ip.IsLoopback() {
			all[ip.Unmap()]++
		}
	}
	return all, nil
}
