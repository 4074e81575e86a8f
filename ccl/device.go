package ccl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// prepareInterface brings the CCL interface up with its address and an MTU that
// is large enough. A larger one is left alone: everything crosses.
func prepareInterface(cfg *LinkConfig) (netlink.Link, error) {
	link, err := netlink.LinkByName(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("ccl: interface %s: %w", cfg.Interface, err)
	}
	allowance := AllowanceFor(cfg.Address.Addr())
	if has := link.Attrs().MTU; has < cfg.MTU {
		if err := netlink.LinkSetMTU(link, cfg.MTU); err != nil {
			return nil, fmt.Errorf("ccl: interface %s: mtu %d is needed (data mtu %d + %d), the device has %d and refuses more: %w (%v)",
				cfg.Interface, cfg.MTU, cfg.MTU-allowance, allowance, has, ErrMTU, err)
		}
	}
	if cfg.Address.Addr().Is6() {
		if err := PrepareIPv6(cfg.Interface); err != nil {
			return nil, fmt.Errorf("ccl: %w", err)
		}
	}
	if err := addAddress(link, cfg.Address); err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("ccl: interface %s: up: %w", cfg.Interface, err)
	}
	return link, nil
}

// PrepareIPv6 makes a network interface ready for the IPv6 addresses that are given
// to it and nothing else: on, with addresses that stay when it goes down, and deaf
// to whoever calls himself its router.
func PrepareIPv6(name string) error {
	for _, v := range [][2]string{
		{"disable_ipv6", "0"}, {"keep_addr_on_down", "1"}, {"accept_ra", "0"}, {"autoconf", "0"}, {"accept_redirects", "0"},
	} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/"+v[0], []byte(v[1]), 0o644); err != nil {
			return fmt.Errorf("interface %s: %s: %w (does this kernel have IPv6?)", name, v[0], err)
		}
	}
	return nil
}

func addAddress(link netlink.Link, a netip.Prefix) error {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
	if a.Addr().Is6() {
		// Until duplicate detection is done, a second or more, nothing can be sent
		// from an address. The control node refuses a second node of one address.
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(link, addr); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("ccl: interface %s: address %v: %w", link.Attrs().Name, a, err)
	}
	return nil
}

// device adopts the VXLAN device that an earlier run of the daemon left, or
// makes one.
func device(cfg *LinkConfig, under netlink.Link) (netlink.Link, error) {
	// RFC 7348, 5: a UDP checksum of zero is to be sent and accepted. Over IPv6 the
	// kernel does neither unless told (RFC 6935). Data frames, which XDP makes, have
	// none (bpf/outer.h); the control messages under it are sealed.
	ipv6 := cfg.Address.Addr().Is6()
	want := &netlink.Vxlan{
		LinkAttrs:    netlink.NewLinkAttrs(),
		VxlanId:      int(cfg.VNI),
		VtepDevIndex: under.Attrs().Index,
		SrcAddr:      cfg.Address.Addr().AsSlice(),
		Port:         cfg.VXLANPort,
		TOS:          1, // inherit: DSCP of membership messages shows outside
		NoAge:        true,

		UDP6ZeroCSumTx: ipv6,
		UDP6ZeroCSumRx: ipv6,
	}
	want.Name = cfg.Name
	want.MTU = cfg.MTU - VXLANOverheadFor(cfg.Address.Addr())
	want.HardwareAddr = innerMAC(cfg.Address.Addr())

	link, err := netlink.LinkByName(cfg.Name)
	var missing netlink.LinkNotFoundError
	switch {
	case err == nil && sameDevice(link, want):
	case err == nil:
		if link.Type() != "vxlan" {
			return nil, fmt.Errorf("ccl: device %s: exists and is a %s", cfg.Name, link.Type())
		}
		if err := netlink.LinkDel(link); err != nil {
			return nil, fmt.Errorf("ccl: device %s: remove the old one: %w", cfg.Name, err)
		}
		fallthrough
	case errors.As(err, &missing):
		if err := netlink.LinkAdd(want); err != nil {
			return nil, fmt.Errorf("ccl: device %s (vni %d on %s): %w", cfg.Name, cfg.VNI, cfg.Interface, err)
		}
		if link, err = netlink.LinkByName(cfg.Name); err != nil {
			return nil, fmt.Errorf("ccl: device %s: %w", cfg.Name, err)
		}
	default:
		return nil, fmt.Errorf("ccl: device %s: %w", cfg.Name, err)
	}
	return link, configureDevice(cfg, link)
}

func sameDevice(link netlink.Link, want *netlink.Vxlan) bool {
	has, ok := link.(*netlink.Vxlan)
	return ok && has.VxlanId == want.VxlanId && has.VtepDevIndex == want.VtepDevIndex && has.Port == want.Port &&
		has.SrcAddr.Equal(want.SrcAddr) &&
		has.UDP6ZeroCSumTx == want.UDP6ZeroCSumTx && has.UDP6ZeroCSumRx == want.UDP6ZeroCSumRx && !has.Learning && slices.Equal(has.HardwareAddr, want.HardwareAddr)
}

// configureDevice sets what may differ on an adopted device too.
func configureDevice(cfg *LinkConfig, link netlink.Link) error {
	name := link.Attrs().Name
	if mtu := cfg.MTU - VXLANOverheadFor(cfg.Address.Addr()); link.Attrs().MTU != mtu {
		if err := netlink.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("ccl: device %s: mtu %d: %w", name, mtu, err)
		}
	}
	if err := inheritDF(link); err != nil {
		return fmt.Errorf("ccl: device %s: df inherit: %w", name, err)
	}
	// Neighbour discovery would be replicated to every peer. A kernel without
	// IPv6 has no such file, and nothing to be quiet about.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("ccl: device %s: disable ipv6: %w", name, err)
	}
	inner := netip.PrefixFrom(netip.AddrFrom4(innerAddr(hostPart(cfg.Address.Addr()))), 16)
	if err := addAddress(link, inner); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("ccl: device %s: up: %w", name, err)
	}
	return nil
}

// Of linux/if_link.h; package netlink has no field for it.
const (
	iflaVXLANDF    = 29
	vxlanDFInherit = 2
)

// inheritDF makes a packet that must not be fragmented inside keep that outside,
// or a probe would be fragmented by a router and pass (CL3).
func inheritDF(link netlink.Link) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(link.Attrs().Index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("vxlan"))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(iflaVXLANDF, []byte{vxlanDFInherit})
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
