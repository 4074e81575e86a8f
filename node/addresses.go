package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// prepareInterfaces makes the data interfaces ready: up, their MTU, no kernel
// forwarding around the dataplane, and the pinned addresses.
func (n *Node) prepareInterfaces() error {
	if _, err := noKernelForwarding(); err != nil {
		return err
	}
	for i := range n.cfg.Cluster.Interfaces {
		c := &n.cfg.Cluster.Interfaces[i]
		l, err := netlink.LinkByName(c.Device)
		if err != nil {
			return fmt.Errorf("interface %s: device %s: %w", c.Name, c.Device, err)
		}
		if l.Attrs().MTU != int(c.MTU) {
			if err := netlink.LinkSetMTU(l, int(c.MTU)); err != nil {
				return fmt.Errorf("interface %s: device %s has mtu %d and does not take %d: %w", c.Name, c.Device, l.Attrs().MTU, c.MTU, err)
			}
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return fmt.Errorf("interface %s: device %s: %w", c.Name, c.Device, err)
		}
		if err := addAddress(l, localAddress(c, n.cfg.Bootstrap.Name, 0)); err != nil {
			return fmt.Errorf("interface %s: %w", c.Name, err)
		}
	}
	return nil
}

// assignAddresses gives the interfaces without an address of their pool the
// one that belongs to this node's id (EL7).
func (n *Node) assignAddresses(id int) {
	for i := range n.cfg.Cluster.Interfaces {
		c := &n.cfg.Cluster.Interfaces[i]
		l, err := netlink.LinkByName(c.Device)
		if err == nil && !hasAddressOf(l, c.Pool.First, c.Pool.Last) {
			err = addAddress(l, localAddress(c, n.cfg.Bootstrap.Name, id))
		}
		if err != nil {
			n.log.Error("address", zap.String("interface", c.Name), zap.Error(err))
		}
	}
}

// addAddress adds a when it is valid and missing.
func addAddress(l netlink.Link, a netip.Prefix) error {
	if !a.IsValid() {
		return nil
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), 32)}}
	if err := netlink.AddrAdd(l, addr); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("address %v on %s: %w", a, l.Attrs().Name, err)
	}
	return nil
}

func hasAddressOf(l netlink.Link, first, last netip.Addr) bool {
	list, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		return false
	}
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok && inPool(ip, first, last) {
			return true
		}
	}
	return false
}

// watchForwarding turns kernel forwarding off again when somebody (a routing
// daemon, a sysctl file) has turned it on.
func (n *Node) watchForwarding() {
	switch was, err := noKernelForwarding(); {
	case err != nil:
		n.log.Error("kernel forwarding", zap.Error(err))
	case was:
		n.log.Warn("kernel forwarding had been turned on; it is off again: packets must not pass around the dataplane")
	}
}

// noKernelForwarding turns the kernel's own forwarding off: there must be no
// way around the dataplane (HL5, DESIGN 6). It reports whether it was on.
func noKernelForwarding() (was bool, err error) {
	for _, f := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		if b, err := os.ReadFile(f); err != nil || len(b) > 0 && b[0] == '0' {
			continue // off, or a kernel without that protocol
		}
		if err := os.WriteFile(f, []byte("0\n"), 0); err != nil {
			return true, fmt.Errorf("kernel forwarding cannot be turned off: %w", err)
		}
		was = true
	}
	return was, nil
}
