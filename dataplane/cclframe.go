package dataplane

import (
	"encoding/binary"
	"net/netip"

	"cohort/packet"
)

// The CCL data frame: outer Ethernet, IPv4 or IPv6, UDP, VXLAN, inner Ethernet,
// cluster header, packet.
const (
	CCLEtherType     = 0x88b5
	CCLHeaderVersion = 1
	CCLData          = 1
	CCLFragment      = 2 // a fragment; Gen is its ports
	CCLMaxHops       = 3
	// CCLOverhead is what the encapsulation puts in front of the IP packet, in
	// bytes, the outer Ethernet header included; CCLOverheadIPv6 is that between
	// VTEPs with IPv6 addresses (CL9).
	CCLOverhead     = 14 + ipv4Len + 8 + 8 + 14 + cclHeaderSize
	CCLOverheadIPv6 = CCLOverhead + ipv6Len - ipv4Len

	cclHeaderSize = 16
	ipv6Len       = 40
)

// CCLHeader is struct ccl_header in host form: what a forwarder tells the node
// that gets the packet.
type CCLHeader struct {
	Src   uint8 // node id that sent this hop
	Hops  uint8
	View  uint32 // view tag of the sender
	Iface uint8  // logical interface where the packet entered the cluster
	Entry uint8  // node id where the packet entered the cluster
	Gen   uint32

	Fragment bool // it is a fragment, and Gen is its ports
}

// outer is the size of the outer IP header: one family for the whole cluster.
type outer int

func outerOf(vtep netip.Addr) outer {
	if vtep.Unmap().Is4() {
		return ipv4Len
	}
	return ipv6Len
}

// overhead is CCLOverhead of the family.
func (o outer) overhead() int { return CCLOverhead - ipv4Len + int(o) }

// tunnelLen is UDP and VXLAN.
const tunnelLen = 8 + 8

// before is the size of what stands before the inner Ethernet header.
func (o outer) before() int { return ethernetLen + int(o) + tunnelLen }

// tunnel writes that for n bytes, the inner Ethernet header included, exactly as
// bpf/encap.h does. The port tells flows apart; tos is of the outer IP header.
func (o outer) tunnel(b []byte, c *Control, to *Member, port uint16, tos uint8, n int) {
	be := binary.BigEndian
	udpLen := tunnelLen + n
	writeEthernet(b, to.MAC, c.CCLMAC)
	if o == ipv6Len {
		b[12], b[13] = 0x86, 0xdd
		writeOuterIPv6(b[14:], c, to, tos, udpLen)
	} else {
		writeOuterIPv4(b[14:], c, to, tos, udpLen)
	}
	b = b[ethernetLen+int(o):]
	be.PutUint16(b[0:], 0xc000|port&0x3fff)
	be.PutUint16(b[2:], 4789)
	be.PutUint16(b[4:], uint16(udpLen))
	be.PutUint16(b[6:], 0) // bpf/outer.h says why
	be.PutUint32(b[8:], 0x08000000)
	be.PutUint32(b[12:], c.VNI<<8)
}

// write makes the first bytes of a data frame, as many as its overhead; the IP packet of n
// bytes stands behind them.
func (h *CCLHeader) write(b []byte, o outer, c *Control, to *Member, h1 uint32, n int) {
	be := binary.BigEndian
	o.tunnel(b, c, to, uint16(h1), 0, ethernetLen+cclHeaderSize+n)
	b = b[o.before():]
	clear(b[:12])
	be.PutUint16(b[12:], CCLEtherType)
	ccl := b[14 : 14+cclHeaderSize]
	ccl[0], ccl[1], ccl[2], ccl[3] = CCLHeaderVersion, CCLData, h.Src, h.Hops
	if h.Fragment {
		ccl[1] = CCLFragment
	}
	be.PutUint32(ccl[4:], h.View)
	ccl[8], ccl[9], ccl[10], ccl[11] = h.Iface, h.Entry, 0, 0
	be.PutUint32(ccl[12:], h.Gen)
}

func writeOuterIPv4(b []byte, c *Control, to *Member, tos uint8, udpLen int) {
	be := binary.BigEndian
	ip := b[:ipv4Len]
	be.PutUint32(ip[0:], 0x45000000|uint32(tos)<<16|uint32(ipv4Len+udpLen))
	be.PutUint32(ip[4:], 0x4000) // no identification, DF: never fragmented (CL2)
	be.PutUint32(ip[8:], 64<<24|packet.ProtoUDP<<16)
	copy(ip[12:16], c.CCLVTEP[12:])
	copy(ip[16:20], to.VTEP[12:])
	be.PutUint16(ip[10:], packet.Checksum(ip))
}

func writeOuterIPv6(b []byte, c *Control, to *Member, tos uint8, udpLen int) {
	be := binary.BigEndian
	be.PutUint32(b[0:], 6<<28|uint32(tos)<<20)
	be.PutUint32(b[4:], uint32(udpLen)<<16|packet.ProtoUDP<<8|64)
	copy(b[8:24], c.CCLVTEP[:])
	copy(b[24:40], to.VTEP[:])
}
