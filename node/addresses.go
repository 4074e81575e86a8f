package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"cohort/ccl"
	"cohort/config"
)

// prepareInterfaces makes the data interfaces ready: up, their MTU, no kernel
// forwarding around the dataplane, and the pinned addresses.
func (n *Node) prepareInterfaces() error {
	if _, err := noKernelForwarding(sysctls, n.devices()); err != nil {
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
		if c.ClusterAddressIPv6.IsValid() {
			if err := ccl.PrepareIPv6(c.Device); err != nil {
				return fmt.Errorf("interface %s: %w", c.Name, err)
			}
		}
		for _, a := range localAddresses(c, n.cfg.Bootstrap.Name, 0) {
			if err := addAddress(l, ownAddress(a.prefix)); err != nil {
				return fmt.Errorf("interface %s: %w", c.Name, err)
			}
		}
	}
	return nil
}

// assignAddresses gives the interfaces without an address of a pool the one that
// belongs to this node's id (EL7).
func (n *Node) assignAddresses(id int) {
	for i := range n.cfg.Cluster.Interfaces {
		c := &n.cfg.Cluster.Interfaces[i]
		l, err := netlink.LinkByName(c.Device)
		if err == nil {
			err = assign(l, c, n.cfg.Bootstrap.Name, id)
		}
		if err != nil {
			n.log.Error("address", zap.String("interface", c.Name), zap.Error(err))
		}
	}
}

func assign(l netlink.Link, c *config.Interface, name string, id int) error {
	list := localAddresses(c, name, id)
	var errs []error
	for _, pool := range []config.Range{c.Pool, c.PoolIPv6} {
		if pool.Size() == 0 || hasAddressOf(l, pool) {
			continue
		}
		if k := slices.IndexFunc(list, func(a localAddress) bool { return a.pool == pool }); k >= 0 {
			errs = append(errs, addAddress(l, ownAddress(list[k].prefix)))
		} else {
			errs = append(errs, fmt.Errorf("pool %s has no address for the node with id %d beside those that are pinned: make the pool larger, or pin this node", pool, id))
		}
	}
	return errors.Join(errs...)
}

// ownAddress is an address of the node's own for netlink.
//
// The kernel shall not look for duplicates of one of IPv6 (DAD): that takes a
// second or more in which the address does not answer, and it would find none,
// because a node that is no member hears nothing on its data interfaces (HL5).
// Pool and pins keep the nodes' addresses apart, as they do those of IPv4.
func ownAddress(a netip.Prefix) *netlink.Addr {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
	if a.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

// addAddress adds an address that is missing.
func addAddress(l netlink.Link, a *netlink.Addr) error {
	if err := netlink.AddrAdd(l, a); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("address %v on %s: %w", a.IPNet, l.Attrs().Name, err)
	}
	return nil
}

// hasAddressOf reports whether an interface has an address of a pool.
func hasAddressOf(l netlink.Link, pool config.Range) bool {
	list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return false
	}
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && pool.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}

// takeAddresses tells the fast path which addresses are the host's.
func (n *Node) takeAddresses() {
	if err := n.dp.SetLocalAddrs(n.fib.LocalAddrs()); err != nil {
		n.log.Error("local addresses", zap.Error(err))
	}
	n.noteAddresses()
}

// sysctls is where the kernel's network switches are.
const sysctls = "/proc/sys/net"

// devices lists the devices of the control link and the data interfaces.
func (n *Node) devices() []string {
	all := []string{n.cfg.Bootstrap.CCL.Interface}
	for _, c := range n.cfg.Cluster.Interfaces {
		all = append(all, c.Device)
	}
	return all
}

// watchForwarding turns kernel forwarding off again when somebody (a routing
// daemon, a sysctl file) has turned it on.
func (n *Node) watchForwarding() {
	switch was, err := noKernelForwarding(sysctls, n.devices()); {
	case err != nil:
		n.log.Error("kernel forwarding", zap.Error(err))
	case was:
		n.log.Warn("kernel forwarding had been turned on; it is off again: packets must not pass around the dataplane")
	}
}

// noKernelForwarding turns the kernel's own forwarding off: there must be no
// way around the dataplane (HL5, DESIGN 6). The kernel asks the interface where
// a packet came in, not the switch for all, which may be off while theirs are
// on; a device that is made anew begins with the default. It reports whether
// any was on.
func noKernelForwarding(sysctl string, devices []string) (was bool, err error) {
	var files []string
	for _, d := range append([]string{"all", "default"}, devices...) {
		files = append(files, "ipv4/conf/"+d+"/forwarding", "ipv6/conf/"+d+"/forwarding")
	}
	for _, f := range files {
		f = filepath.Join(sysctl, f)
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
