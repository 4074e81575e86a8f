package ccl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Ports of the link, UDP.
const (
	DefaultVXLANPort   = 4789
	DefaultControlPort = 4790 // membership inside the VXLAN device; state uses the next one
)

// LinkConfig describes one node's end of the link.
type LinkConfig struct {
	Interface string       // the dedicated CCL interface (CL1)
	Address   netip.Prefix // of the VTEP on it, IPv4 or IPv6; added when missing
	VNI       uint32       // 1..2^24-1
	MTU       int          // of the interface: largest data MTU + AllowanceFor(Address); 0 = that of DefaultDataMTU
	Peers     []netip.Addr // VTEPs of the others, of the same family
	Name      string       // of the VXLAN device; "" = cohort-vx<vni>
	VXLANPort int          // 0 = DefaultVXLANPort

	// ControlPort takes membership messages, ControlPort + 1 state messages;
	// 0 = DefaultControlPort.
	ControlPort int
}

// Errors of OpenLink that a caller may tell apart.
var (
	ErrAddress = errors.New("not usable as a VTEP address")
	ErrMTU     = errors.New("the device does not take the mtu")
)

func (c *LinkConfig) check() error {
	if c.MTU == 0 {
		c.MTU = DefaultDataMTU + AllowanceFor(c.Address.Addr())
	}
	if c.VXLANPort == 0 {
		c.VXLANPort = DefaultVXLANPort
	}
	if c.ControlPort == 0 {
		c.ControlPort = DefaultControlPort
	}
	if c.Name == "" {
		c.Name = fmt.Sprintf("cohort-vx%d", c.VNI)
		if len(c.Name) > 15 { // IFNAMSIZ
			c.Name = fmt.Sprintf("cohvx%d", c.VNI)
		}
	}
	switch {
	case c.Interface == "":
		return errors.New("ccl: link: no interface")
	case c.VNI == 0 || c.VNI >= 1<<24:
		return fmt.Errorf("ccl: link: vni %d is not in 1-%d", c.VNI, 1<<24-1)
	case c.MTU < minMTUFor(c.Address.Addr()) || c.MTU > MaxMTU:
		return fmt.Errorf("ccl: link: mtu %d is not in %d-%d", c.MTU, minMTUFor(c.Address.Addr()), MaxMTU)
	case len(c.Name) > 15:
		return fmt.Errorf("ccl: link: device name %q is longer than 15 characters", c.Name)
	case c.ControlPort < 1 || c.ControlPort > 65534 || c.VXLANPort < 1 || c.VXLANPort > 65535:
		return fmt.Errorf("ccl: link: port %d or %d is out of range", c.VXLANPort, c.ControlPort)
	}
	return checkAddresses(c.Address, c.Peers)
}

// checkAddresses makes sure that all VTEPs are of one family and that every one
// has its own inner address: the low 16 bits, neither all zero nor all one.
func checkAddresses(local netip.Prefix, peers []netip.Addr) error {
	if !local.IsValid() {
		return errors.New("ccl: link: no address")
	}
	owner := map[uint16]netip.Addr{}
	for _, a := range append([]netip.Addr{local.Addr()}, peers...) {
		switch {
		case a.Zone() != "" || a.Is4In6() || !a.IsValid():
			return fmt.Errorf("ccl: link: address %v: neither plain IPv4 nor IPv6: %w", a, ErrAddress)
		case a.Is4() != local.Addr().Is4():
			return fmt.Errorf("ccl: link: addresses %v and %v: not of one family: %w", local.Addr(), a, ErrAddress)
		}
		h := hostPart(a)
		if h == 0 || h == 0xffff {
			return fmt.Errorf("ccl: link: address %v: its last 16 bits must not be all zero or all one: %w", a, ErrAddress)
		}
		if o, taken := owner[h]; taken {
			return fmt.Errorf("ccl: link: addresses %v and %v: the last 16 bits must differ: %w", o, a, ErrAddress)
		}
		owner[h] = a
	}
	return nil
}

// hostPart is what tells inner addresses apart.
func hostPart(vtep netip.Addr) uint16 {
	a := vtep.As16()
	return uint16(a[14])<<8 | uint16(a[15])
}

// innerAddr is 169.254 and the host part of the VTEP.
func innerAddr(host uint16) [4]byte { return [4]byte{169, 254, byte(host >> 8), byte(host)} }

// innerMAC is 02:c0 and the last four bytes of the VTEP: known without asking.
func innerMAC(vtep netip.Addr) net.HardwareAddr {
	a := vtep.As16()
	return net.HardwareAddr{0x02, 0xc0, a[12], a[13], a[14], a[15]}
}
