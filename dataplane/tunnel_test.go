package dataplane

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"cohort/packet"
)

// CL5: the traffic class of what is inside stands outside, and lengths and checksum are
// right with any.
func TestCL5_TheTunnelShowsItsTrafficClass(t *testing.T) {
	be := binary.BigEndian
	for _, vtep := range []string{"10.99.0.1", "fd00::1"} {
		o := outerOf(netip.MustParseAddr(vtep))
		c, to := &Control{VNI: 77}, &Member{MAC: [6]byte{2, 0, 0, 0, 0, 9}}
		for _, tos := range []uint8{0, 0xa0, 0xff} {
			b := make([]byte, 128)
			o.tunnel(b, c, to, 5, tos, 300)
			ip := b[ethernetLen:]
			udp := ip[int(o):]
			switch {
			case o == ipv4Len && (ip[1] != tos || packet.Checksum(ip[:ipv4Len]) != 0 || be.Uint16(ip[2:]) != ipv4Len+tunnelLen+300):
				t.Errorf("class %x over IPv4: % x", tos, ip[:ipv4Len])
			case o == ipv6Len && (be.Uint32(ip)>>20 != 0x600|uint32(tos) || be.Uint16(ip[4:]) != tunnelLen+300):
				t.Errorf("class %x over IPv6: % x", tos, ip[:ipv6Len])
			case be.Uint16(udp[2:]) != 4789 || be.Uint16(udp[4:]) != tunnelLen+300 || be.Uint32(udp[12:])>>8 != 77:
				t.Errorf("UDP and VXLAN: % x", udp[:tunnelLen])
			}
		}
	}
}
