package topology

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
)

// socket is one end of a cable: an interface in a namespace.
type socket struct {
	ns   *netns.Namespace
	name string
	mac  net.HardwareAddr
}

// cable joins two namespaces by a veth pair. Both ends send plain packets; the
// ends are down and without address.
func cable(a, b socket, mtu, queues int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = a.name, mtu, a.mac
	attrs.NumTxQueues, attrs.NumRxQueues = queues, queues
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU, veth.PeerHardwareAddr = b.name, uint32(mtu), b.mac
	veth.PeerNumTxQueues, veth.PeerNumRxQueues = uint32(queues), uint32(queues)
	veth.PeerNamespace = netlink.NsFd(b.ns.FD())
	if err := a.ns.Netlink().LinkAdd(veth); err != nil {
		return fmt.Errorf("cable %s/%s to %s/%s: %w", a.ns.Name(), a.name, b.ns.Name(), b.name, err)
	}
	return errors.Join(plainSender(a.ns, a.name), plainSender(b.ns, b.name))
}

// bridge makes a switch inside a namespace; with an address the namespace is a
// host on it.
func bridge(n *netns.Namespace, name string, mtu int, address netip.Prefix) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	snooping := false
	br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := n.Netlink().LinkAdd(br); err != nil {
		return fmt.Errorf("bridge %s of %s: %w", name, n.Name(), err)
	}
	if err := plainSender(n, name); err != nil {
		return err
	}
	return up(n, name, address)
}

// port puts an interface on a bridge of its namespace and takes it up.
func port(n *netns.Namespace, name, bridgeName string) error {
	nl := n.Netlink()
	br, err := nl.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("bridge %s of %s: %w", bridgeName, n.Name(), err)
	}
	l, err := nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s of %s: %w", name, n.Name(), err)
	}
	if err := nl.LinkSetMaster(l, br); err != nil {
		return fmt.Errorf("interface %s of %s: join %s: %w", name, n.Name(), bridgeName, err)
	}
	return errors.Join(takesRedirects(n, name), up(n, name, netip.Prefix{}))
}

// up gives an interface its address, if any, and takes it up.
func up(n *netns.Namespace, name string, address netip.Prefix) error {
	nl := n.Netlink()
	l, err := nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s of %s: %w", name, n.Name(), err)
	}
	if address.IsValid() {
		addr := &netlink.Addr{IPNet: ipNet(address)}
		if address.Addr().Is6() {
			// Off in every namespace, see quiet; and nobody waits for duplicates.
			if err := n.Sysctl("net/ipv6/conf/"+name+"/disable_ipv6", "0"); err != nil {
				return err
			}
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := nl.AddrAdd(l, addr); err != nil {
			return fmt.Errorf("interface %s of %s: address %v: %w", name, n.Name(), address, err)
		}
	}
	if err := nl.LinkSetUp(l); err != nil {
		return fmt.Errorf("interface %s of %s: up: %w", name, n.Name(), err)
	}
	return nil
}

// setUp changes the administrative state of an interface.
func setUp(n *netns.Namespace, name string, on bool) error {
	nl := n.Netlink()
	l, err := nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s of %s: %w", name, n.Name(), err)
	}
	if on {
		err = nl.LinkSetUp(l)
	} else {
		err = nl.LinkSetDown(l)
	}
	if err != nil {
		return fmt.Errorf("interface %s of %s: up=%v: %w", name, n.Name(), on, err)
	}
	return nil
}

// route adds a route through a gateway on a connected network.
func route(n *netns.Namespace, to netip.Prefix, via netip.Addr) error {
	r := &netlink.Route{Dst: ipNet(to), Gw: via.AsSlice()}
	if err := n.Netlink().RouteAdd(r); err != nil {
		return fmt.Errorf("route %v via %v in %s: %w", to, via, n.Name(), err)
	}
	return nil
}

// sysctls every namespace gets before its first interface.
var quiet = [][2]string{
	{"net/ipv6/conf/all/disable_ipv6", "1"},
	{"net/ipv6/conf/default/disable_ipv6", "1"},
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
}

// sysctls writes several values.
func sysctls(n *netns.Namespace, values ...[2]string) error {
	for _, v := range values {
		if err := n.Sysctl(v[0], v[1]); err != nil {
			return err
		}
	}
	return nil
}
