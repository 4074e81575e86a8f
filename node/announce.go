package node

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"cohort/config"
	"cohort/packet"
)

// announce tells the neighbours on an interface that a is at this node: gratuitous
// ARP for IPv4, an unsolicited neighbour advertisement for IPv6. Its socket is kept:
// the kernel takes 10 ms and more to close one, and the loop would stand still for
// that, before the others have the view.
func (n *Node) announce(c *config.Interface, a netip.Addr) error {
	dev, err := net.InterfaceByName(c.Device)
	if err != nil {
		return fmt.Errorf("interface %s: %w", c.Name, err)
	}
	if len(dev.HardwareAddr) != 6 || dev.Flags&net.FlagRunning == 0 {
		return nil // nobody hears it
	}
	if n.caller < 0 {
		if n.caller, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("interface %s: %w", c.Name, err)
		}
	}
	mac := [6]byte(dev.HardwareAddr)
	to := &unix.SockaddrLinklayer{Protocol: 0x0608, Ifindex: dev.Index, Halen: 6} // ETH_P_ARP, in network order
	frame := []byte(nil)
	if a.Is4() {
		frame = gratuitousARP(mac, a.As4())
	} else {
		to.Protocol = 0xdd86 // ETH_P_IPV6
		frame = unsolicitedAdvertisement(mac, a.As16())
	}
	if err := unix.Sendto(n.caller, frame, 0, to); err != nil {
		return fmt.Errorf("interface %s: %v: %w", c.Name, a, err)
	}
	return nil
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

// Of a neighbour advertisement (RFC 4861, 4.4 and 4.6.1).
const (
	ipv6Header     = 40
	advertisement  = 136
	override       = 0x20000000 // not solicited, and no router: IPv6 is not forwarded
	targetLinkAddr = 2
	adviceLen      = 32
)

// unsolicitedAdvertisement is the announcement of RFC 4861, 7.2.6, to all nodes of
// the link, from the address itself: whoever has an entry for it, as the routers
// have that used it, takes this node's hardware address in place of the old one.
func unsolicitedAdvertisement(mac [6]byte, addr [16]byte) []byte {
	all := [16]byte{0xff, 2, 15: 1}
	b := make([]byte, 0, 14+ipv6Header+adviceLen)
	b = append(b, 0x33, 0x33, 0, 0, 0, 1)
	b = append(b, mac[:]...)
	b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, 0, adviceLen, unix.IPPROTO_ICMPV6, 255)
	b = append(append(b, addr[:]...), all[:]...)
	body := len(b)
	b = append(b, advertisement, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, override)
	b = append(append(b, addr[:]...), targetLinkAddr, 1)
	b = append(b, mac[:]...)

	// The checksum covers the addresses, the length and the protocol too (RFC 8200, 8.1).
	sum := packet.Sum(packet.Sum(0, b[body-32:]), []byte{0, 0, 0, adviceLen, 0, 0, 0, unix.IPPROTO_ICMPV6})
	binary.BigEndian.PutUint16(b[body+2:], packet.Fold(sum))
	return b
}
