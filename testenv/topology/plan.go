package topology

import (
	"fmt"
	"net"
	"net/netip"
)

// The address plan; see the drawing in doc.go.
var (
	insideNet  = netip.MustParsePrefix("10.1.0.0/24")
	outsideNet = netip.MustParsePrefix("198.51.100.0/24")
	serverNet  = netip.MustParsePrefix("192.0.2.0/24")
	cclNet     = netip.MustParsePrefix("10.99.0.0/24")
	cclNetIPv6 = netip.MustParsePrefix("fd00:99::/64")
	mgmtNet    = netip.MustParsePrefix("192.168.100.0/24")
	clientNets = netip.MustParsePrefix("10.0.0.0/8")
	publicNet  = netip.MustParsePrefix("203.0.113.0/24") // translated addresses
	everywhere = netip.MustParsePrefix("0.0.0.0/0")
)

const (
	routerHost  = 250
	clusterHost = 254
	clientHost  = 10
	cclExtra    = 154 // CL2: 100 bytes of cluster header, 54 of VXLAN
	ipv6Extra   = 20  // CL9: of the outer header
)

// host returns address number n of a network with its length; n fits the last
// byte.
func host(network netip.Prefix, n int) netip.Prefix {
	b := network.Addr().AsSlice()
	b[len(b)-1] = byte(n)
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, network.Bits())
}

// cclHost returns a node's address on the control link.
func (c *Config) cclHost(n int) netip.Prefix {
	if c.CCLOverIPv6 {
		return host(cclNetIPv6, n)
	}
	return host(cclNet, n)
}

// cclMTU is what the control link has to carry.
func (c *Config) cclMTU() int {
	if c.CCLOverIPv6 {
		return c.MTU + cclExtra + ipv6Extra
	}
	return c.MTU + cclExtra
}

func clientNet(x int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(x), 0}), 24)
}

// nodeName returns fw-a for node 1, fw-b for node 2 and so on.
func nodeName(i int) string { return fmt.Sprintf("fw-%c", 'a'+i-1) }

// mac returns a fixed hardware address, so that a node keeps its own over a
// power cycle as a real one does.
func mac(segment, host byte) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x00, 0x5e, segment, 0x00, host}
}

// ipNet converts for netlink.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
