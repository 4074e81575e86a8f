package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"cohort/config"
)

// announcements is how often a new control node says where the cluster addresses
// are, and announceEvery the time between; the first is said at once (EL7).
const (
	announcements = 3
	announceEvery = int64(300 * time.Millisecond)
)

// clusterAddresses are the addresses that follow the control node, as this node
// has them.
type clusterAddresses struct {
	here bool  // this node has them
	left int   // announcements to make
	next int64 // when
}

// moveClusterAddresses gives the cluster addresses to this node when it rules, and
// takes them away when it does not.
func (n *Node) moveClusterAddresses(now int64, rules bool) {
	for i := range n.cfg.Cluster.Interfaces {
		c := &n.cfg.Cluster.Interfaces[i]
		l, err := netlink.LinkByName(c.Device)
		if err == nil && rules {
			err = addAddress(l, c.ClusterAddress)
		} else if err == nil {
			err = delAddress(l, c.ClusterAddress)
		}
		if err != nil {
			n.log.Error("cluster address", zap.String("interface", c.Name), zap.Error(err))
		}
	}
	n.cluster = clusterAddresses{here: rules}
	if rules {
		n.cluster.left, n.cluster.next = announcements, now
		n.announceAddresses(now)
	}
}

// announceAddresses makes neighbours learn where the cluster addresses are.
func (n *Node) announceAddresses(now int64) {
	if n.cluster.left == 0 || now < n.cluster.next {
		return
	}
	n.cluster.left--
	n.cluster.next = now + announceEvery
	for i := range n.cfg.Cluster.Interfaces {
		if err := n.announce(&n.cfg.Cluster.Interfaces[i]); err != nil {
			n.errors.log(now, n.log, "announce the cluster address", err)
		}
	}
}

// delAddress removes a where it is there.
func delAddress(l netlink.Link, a netip.Prefix) error {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), 32)}}
	if err := netlink.AddrDel(l, addr); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("address %v on %s: %w", a, l.Attrs().Name, err)
	}
	return nil
}

// announce sends a gratuitous ARP request for the cluster address of an interface.
// Its socket is kept: the kernel takes 10 ms and more to close one, and the loop
// would stand still for that, before the others have the view.
func (n *Node) announce(c *config.Interface) error {
	dev, err := net.InterfaceByName(c.Device)
	if err != nil {
		return fmt.Errorf("interface %s: %w", c.Name, err)
	}
	if len(dev.HardwareAddr) != 6 || dev.Flags&net.FlagRunning == 0 {
		return nil // nobody hears it
	}
	if n.arp < 0 {
		if n.arp, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("interface %s: %w", c.Name, err)
		}
	}
	to := &unix.SockaddrLinklayer{Protocol: 0x0608, Ifindex: dev.Index, Halen: 6} // ETH_P_ARP, in network order
	return unix.Sendto(n.arp, gratuitousARP([6]byte(dev.HardwareAddr), c.ClusterAddress.Addr().As4()), 0, to)
}

// gratuitousARP is the announcement of RFC 5227, section 3: a broadcast request
// whose sender and target address are both addr.
func gratuitousARP(mac [6]byte, addr [4]byte) []byte {
	b := make([]byte, 0, 42)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	b = append(b, mac[:]...)
	for _, field := range []uint16{0x0806, 1, 0x0800, 6<<8 | 4, 1} { // ARP; Ethernet, IPv4, their lengths, request
		b = binary.BigEndian.AppendUint16(b, field)
	}
	b = append(append(b, mac[:]...), addr[:]...)
	return append(append(b, 0, 0, 0, 0, 0, 0), addr[:]...)
}
