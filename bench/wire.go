package main

import (
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
)

// space makes a quiet namespace: no IPv6, so that no packet comes by itself.
func (l *lab) space(role string) (*netns.Namespace, error) {
	n, err := netns.New(l.tag.Name(role))
	if err != nil {
		return nil, err
	}
	l.onClose(n.Close)
	for _, key := range []string{"all", "default"} {
		if err := n.Sysctl("net/ipv6/conf/"+key+"/disable_ipv6", "1"); err != nil {
			return nil, err
		}
		if err := n.Sysctl("net/ipv4/conf/"+key+"/rp_filter", "0"); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// port is one end of a cable.
type port struct {
	ns    *netns.Namespace
	name  string
	index int
	mac   [6]byte
}

// cable joins two namespaces by a veth pair that is up, sends finished packets
// and takes frames that XDP redirects. The MTU leaves room for data frames.
func cable(a, b *netns.Namespace, nameA, nameB string) (port, port, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = nameA, 1654
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU = nameB, 1654
	veth.PeerNamespace = netlink.NsFd(b.FD())
	if err := a.Netlink().LinkAdd(veth); err != nil {
		return port{}, port{}, fmt.Errorf("cable %s/%s to %s/%s: %w", a.Name(), nameA, b.Name(), nameB, err)
	}
	pa, err := newPort(a, nameA)
	if err != nil {
		return pa, port{}, err
	}
	pb, err := newPort(b, nameB)
	return pa, pb, err
}

func newPort(n *netns.Namespace, name string) (port, error) {
	link, err := n.Netlink().LinkByName(name)
	if err != nil {
		return port{}, fmt.Errorf("%s/%s: %w", n.Name(), name, err)
	}
	p := port{ns: n, name: name, index: link.Attrs().Index}
	copy(p.mac[:], link.Attrs().HardwareAddr)
	if err := n.Netlink().LinkSetUp(link); err != nil {
		return port{}, fmt.Errorf("%s/%s: up: %w", n.Name(), name, err)
	}
	for _, f := range []struct{ cmd, on uint32 }{
		{unix.ETHTOOL_SGSO, 0}, {unix.ETHTOOL_STSO, 0}, {unix.ETHTOOL_STXCSUM, 0},
		{unix.ETHTOOL_SGRO, 1}, // lets a veth that is up take redirected frames
	} {
		if err := ethtool(n, name, f.cmd, f.on); err != nil {
			return port{}, fmt.Errorf("%s/%s: feature %#x: %w", n.Name(), name, f.cmd, err)
		}
	}
	return p, nil
}

func ethtool(n *netns.Namespace, name string, cmd, on uint32) error {
	value := [2]uint32{cmd, on}
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(req.name[:], name)
	req.data = unsafe.Pointer(&value)
	return n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); e != 0 {
			return e
		}
		return nil
	})
}

// address gives a port an address and tells it a permanent neighbour, so that
// nothing is ever resolved.
func (p port) address(own netip.Prefix, neighbour netip.Addr, mac [6]byte) error {
	link, err := p.ns.Netlink().LinkByIndex(p.index)
	if err != nil {
		return err
	}
	ip := &net.IPNet{IP: own.Addr().AsSlice(), Mask: net.CIDRMask(own.Bits(), 32)}
	if err := p.ns.Netlink().AddrAdd(link, &netlink.Addr{IPNet: ip}); err != nil {
		return fmt.Errorf("%s/%s: address %v: %w", p.ns.Name(), p.name, own, err)
	}
	err = p.ns.Netlink().NeighAdd(&netlink.Neigh{
		LinkIndex: p.index, State: netlink.NUD_PERMANENT, IP: neighbour.AsSlice(), HardwareAddr: mac[:],
	})
	if err != nil {
		return fmt.Errorf("%s/%s: neighbour %v: %w", p.ns.Name(), p.name, neighbour, err)
	}
	return nil
}

func route(n *netns.Namespace, to netip.Prefix, via netip.Addr) error {
	r := &netlink.Route{
		Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), 32)}, Gw: via.AsSlice(),
	}
	if err := n.Netlink().RouteAdd(r); err != nil {
		return fmt.Errorf("%s: route %v: %w", n.Name(), to, err)
	}
	return nil
}
