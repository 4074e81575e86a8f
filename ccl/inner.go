package ccl

import (
	"encoding/binary"
	"net/netip"

	"cohort/packet"
)

// InnerLen is what stands before a state datagram inside the tunnel, in bytes: Ethernet,
// IPv4 and UDP.
const InnerLen = 14 + 20 + 8

// StateTOS is the traffic class of state datagrams, inside and outside (CL5).
const StateTOS = stateTOS

// Inner writes to the first InnerLen bytes of b what the kernel would put before a state
// datagram of n bytes to a peer, so that somebody else can send it; false when to is no
// peer. UDP goes without its checksum: the datagram is sealed (CL4).
func (l *Link) Inner(b []byte, to netip.Addr, n int) bool {
	local := l.cfg.Address.Addr()
	host := hostPart(to)
	if l.byHost[host] != to {
		return false
	}
	be := binary.BigEndian
	copy(b, innerMAC(to))
	copy(b[6:], innerMAC(local))
	be.PutUint16(b[12:], 0x0800)
	ip, port := b[14:34], uint16(l.cfg.ControlPort+1)
	be.PutUint32(ip[0:], 0x45<<24|stateTOS<<16|uint32(28+n))
	be.PutUint32(ip[4:], 0x4000) // no identification, DF
	be.PutUint32(ip[8:], 64<<24|packet.ProtoUDP<<16)
	from, dst := innerAddr(hostPart(local)), innerAddr(host)
	copy(ip[12:], from[:])
	copy(ip[16:], dst[:])
	be.PutUint16(ip[10:], packet.Checksum(ip))
	be.PutUint16(b[34:], port)
	be.PutUint16(b[36:], port)
	be.PutUint32(b[38:], uint32(8+n)<<16)
	return true
}
