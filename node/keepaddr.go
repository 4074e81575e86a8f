package node

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"cohort/config"
)

// keepEvery is the least time between two looks whether the addresses are there, so
// that somebody else's program that takes them off again and again costs little.
const keepEvery = int64(time.Second)

// addressKeeper puts back addresses that somebody else has taken off an interface (EL7):
// an administrator, a program that configures networks, or the kernel, which forgets
// those of IPv6 with the interface's IPv6, and all but the first of an IPv4 network with
// the first. The view says whose they are, and nobody else.
type addressKeeper struct {
	look   bool  // something has changed since the last look, or it failed
	next   int64 // not before
	failed bool  // the log has it
}

// due reports whether to look now, and takes it as done.
func (k *addressKeeper) due(now int64) bool {
	if !k.look || now < k.next {
		return false
	}
	k.look, k.next = false, now+keepEvery
	return true
}

// keepAddresses looks at the data interfaces after a change of addresses or links.
func (n *Node) keepAddresses(now int64) {
	if !n.keeps.due(now) {
		return
	}
	id := 0
	if n.members.view != nil {
		id = int(n.members.self)
	}
	changed, err := n.cluster.leave(n.cfg.Cluster.Interfaces, takeOff)
	errs := []error{err}
	for i := range n.cfg.Cluster.Interfaces {
		c := &n.cfg.Cluster.Interfaces[i]
		back, shared, err := putBack(c, n.cfg.Bootstrap.Name, id, n.cluster.ours)
		if err != nil {
			errs = append(errs, err)
		}
		if len(back) > 0 {
			changed = true
			n.log.Warn("addresses had been taken off; they are back", zap.String("interface", c.Name), zap.Stringers("addresses", back))
		}
		if shared {
			n.cluster.begin(now, c.ID)
		}
	}
	if err = errors.Join(errs...); err != nil {
		n.keeps.look = true
		if !n.keeps.failed {
			n.log.Error("addresses are not where they belong; it is tried every second", zap.Error(err))
		}
	}
	n.keeps.failed = err != nil
	if changed {
		if err := n.fib.ReadAddrs(); err != nil {
			n.log.Error("local addresses", zap.Error(err))
		}
		n.takeAddresses()
	}
}

// putBack adds what an interface lacks of the addresses of node name, which has this id
// (0: it is no member) and the cluster addresses if it rules. It says what that was, and
// whether cluster addresses are among it. One that is set down, or gone, waits until it
// is set up.
func putBack(c *config.Interface, name string, id int, rules bool) (back []netip.Prefix, shared bool, err error) {
	l, err := netlink.LinkByName(c.Device)
	var gone netlink.LinkNotFoundError
	switch {
	case errors.As(err, &gone):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case l.Attrs().RawFlags&unix.IFF_UP == 0:
		return nil, false, nil
	}
	list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return nil, false, err
	}
	var has []netip.Addr
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			has = append(has, ip.Unmap())
		}
	}
	var errs []error
	for _, w := range lacking(c, name, id, rules, has) {
		addr := ownAddress(w.prefix)
		if w.shared {
			addr = sharedAddress(w.prefix)
			if slices.Contains(has, w.prefix.Addr()) { // behind the node's own, again
				errs = append(errs, delAddress(l, w.prefix))
			}
		}
		if err := addAddress(l, addr); err != nil {
			errs = append(errs, err)
			continue
		}
		back, shared = append(back, w.prefix), shared || w.shared
	}
	return back, shared, errors.Join(errs...)
}

// lack is an address that an interface should have.
type lack struct {
	prefix netip.Prefix
	shared bool
}

// lacking lists what an interface with the addresses has does not have, in the order in
// which it is to be added: the kernel takes the first IPv4 address of a network for what
// it begins itself, and that is to be the node's own. So a cluster address that is there
// is in the list, too, when the node's own is not. Any address of the pool is as good as
// the one that belongs to the id; a pinned one is not.
func lacking(c *config.Interface, name string, id int, rules bool, has []netip.Addr) (list []lack) {
	pinned := localAddresses(c, name, 0)
	first := false
	for _, a := range localAddresses(c, name, id) {
		there := slices.Contains(has, a.prefix.Addr())
		if !there && !slices.ContainsFunc(pinned, func(p localAddress) bool { return p.prefix == a.prefix }) {
			there = slices.ContainsFunc(has, a.pool.Contains)
		}
		if !there {
			list = append(list, lack{prefix: a.prefix})
			first = first || a.prefix.Addr().Is4()
		}
	}
	if !rules {
		return list
	}
	for _, a := range c.ClusterAddresses() {
		if !slices.Contains(has, a.Addr()) || first && a.Addr().Is4() {
			list = append(list, lack{a, true})
		}
	}
	return list
}
