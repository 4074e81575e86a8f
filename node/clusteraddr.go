package node

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"cohort/config"
)

// announcements is how often a new control node says where the cluster addresses
// are, at once and then after a pause (EL7). ARP leaves the pause to the sender;
// neighbour discovery wants it to be the retransmission timer at least, and three
// announcements at most (RFC 4861, 7.2.6 and 10).
const (
	announcements = 3
	arpEvery      = int64(300 * time.Millisecond)
	adviseEvery   = int64(time.Second)
)

// clusterAddresses are the addresses that follow the control node, as this node
// has them.
type clusterAddresses struct {
	here bool                                  // this node has them, or may have: not all could be taken off
	ours bool                                  // it is the control node
	up   [config.MaxInterfaces + 1]bool        // by id: the link of the interface
	said [config.MaxInterfaces + 1]announcings // by id
}

// announcings are those of one interface.
type announcings struct {
	arps    series // gratuitous ARP
	advices series // unsolicited neighbour advertisements
}

// move begins the announcements, at a node that has the addresses now, or ends them.
func (c *clusterAddresses) move(now int64, rules bool) {
	c.here, c.ours = c.here || rules, rules
	for id := range c.said {
		c.begin(now, uint8(id))
	}
}

// link notes how the link of an interface is. Nobody hears an announcement while it is
// down, and neighbours that still have the former control node's hardware address would
// go on with it: so they begin again when it comes up.
func (c *clusterAddresses) link(now int64, id uint8, up bool) {
	was := c.up[id]
	c.up[id] = up
	if up && !was {
		c.begin(now, id)
	}
}

func (c *clusterAddresses) begin(now int64, id uint8) {
	c.said[id] = announcings{}
	if c.ours {
		c.said[id] = announcings{newSeries(now, arpEvery), newSeries(now, adviseEvery)}
	}
}

// due says what is to be announced on an interface now, and counts it.
func (c *clusterAddresses) due(now int64, id uint8) (arp, advise bool) {
	return c.said[id].arps.due(now), c.said[id].advices.due(now)
}

// series is what is to be said several times.
type series struct {
	left  int
	next  int64 // when
	every int64 // the pause, ns
}

func newSeries(now, every int64) series {
	return series{left: announcements, next: now, every: every}
}

// due reports whether it is time, and counts.
func (s *series) due(now int64) bool {
	if s.left == 0 || now < s.next {
		return false
	}
	s.left--
	s.next = now + s.every
	return true
}

// moveClusterAddresses gives the cluster addresses to this node when it rules, and
// takes them away when it does not.
func (n *Node) moveClusterAddresses(now int64, rules bool) {
	n.cluster.move(now, rules)
	var err error
	if rules {
		err = putOn(n.cfg.Cluster.Interfaces)
	} else {
		_, err = n.cluster.leave(n.cfg.Cluster.Interfaces, takeOff)
	}
	if err != nil {
		n.log.Error("cluster address; it is tried again every second", zap.Error(err))
		n.keeps.look, n.keeps.failed = true, true // keepAddresses does
	}
	// Before anybody is told: the fast path must let in what comes to them, or an
	// answer to our own first neighbour solicitation from there is lost, and the
	// next comes a second later.
	if err := n.fib.ReadAddrs(); err != nil {
		n.log.Error("local addresses", zap.Error(err))
	}
	n.takeAddresses()
	n.announceAddresses(now)
}

// leave takes the cluster addresses off the interfaces of a node that does not rule, if
// it may have them, and reports whether it did. Until all are gone, it may have them:
// neighbours that ask for one would go on with this node (EL7).
func (c *clusterAddresses) leave(from []config.Interface, takeOff func(*config.Interface) error) (gone bool, err error) {
	if !c.here || c.ours {
		return false, nil
	}
	var errs []error
	for i := range from {
		if err := takeOff(&from[i]); err != nil {
			errs = append(errs, fmt.Errorf("interface %s: %w", from[i].Name, err))
		}
	}
	c.here = len(errs) > 0
	return !c.here, errors.Join(errs...)
}

// takeOff removes the cluster addresses from an interface, if it is there.
func takeOff(c *config.Interface) error {
	l, err := netlink.LinkByName(c.Device)
	var gone netlink.LinkNotFoundError
	switch {
	case errors.As(err, &gone):
		return nil
	case err != nil:
		return err
	}
	var errs []error
	for _, a := range c.ClusterAddresses() {
		errs = append(errs, delAddress(l, a))
	}
	return errors.Join(errs...)
}

// putOn adds the cluster addresses to the interfaces.
func putOn(to []config.Interface) error {
	var errs []error
	for i := range to {
		l, err := netlink.LinkByName(to[i].Device)
		for _, a := range to[i].ClusterAddresses() {
			if err == nil {
				err = addAddress(l, sharedAddress(a))
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("interface %s: %w", to[i].Name, err))
		}
	}
	return errors.Join(errs...)
}

// sharedAddress is a cluster address for netlink.
//
// Nothing is looked for before one of IPv6 is used (DAD): it has to answer within
// a second, the view says that it is this node's, and the control node before,
// which may live on behind a partition, must not be able to deny it by answering.
// It is deprecated from the start (RFC 4862, 5.5.4): the kernel answers for it, but
// does not choose it for what the node begins itself, whose answers would go to
// the next control node. Of IPv4 the kernel chooses the first address of a network,
// which is the node's own.
func sharedAddress(a netip.Prefix) *netlink.Addr {
	addr := ownAddress(a)
	if a.Addr().Is6() {
		addr.ValidLft, addr.PreferedLft = math.MaxUint32, 0
	}
	return addr
}

// delAddress removes a where it is there.
func delAddress(l netlink.Link, a netip.Prefix) error {
	if err := netlink.AddrDel(l, ownAddress(a)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("address %v on %s: %w", a, l.Attrs().Name, err)
	}
	return nil
}

// announceAddresses makes neighbours learn where the cluster addresses are.
func (n *Node) announceAddresses(now int64) {
	for i := range n.cfg.Cluster.Interfaces {
		c := &n.cfg.Cluster.Interfaces[i]
		arp, advise := n.cluster.due(now, c.ID)
		if !arp && !advise {
			continue
		}
		for _, a := range c.ClusterAddresses() {
			if a.Addr().Is4() && !arp || a.Addr().Is6() && !advise {
				continue
			}
			if err := n.announce(c, a.Addr()); err != nil {
				n.errors.log(now, n.log, "announce the cluster address", err)
			}
		}
	}
}
