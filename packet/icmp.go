package packet

import "encoding/binary"

// ICMP codes of the errors a router sends.
const (
	CodeNetUnreachable  = 0
	CodeHostUnreachable = 1
	CodeFragmentNeeded  = 4  // with ICMPUnreachable; carries the next hop's MTU
	CodeAdminProhibited = 13 // with ICMPUnreachable (RFC 1812, 5.2.7.1)
	CodeTTLInTransit    = 0  // with ICMPTimeExceeded
)

// maxErrorLen bounds an ICMP error (RFC 1812, 4.3.2.3).
const maxErrorLen = 576

// MayBeAnswered reports whether an ICMP error may be sent about the packet
// (RFC 1812, 4.3.2.7): not about an ICMP error or a later fragment, not to or
// about anything but unicast. It may be asked after RejectFragment as well as
// after OK. Rate limiting is the caller's business.
func (p *Packet) MayBeAnswered() bool {
	return p.Version == 4 && p.FragOffset == 0 && !p.carriesICMPError() && p.unicastFrame() &&
		isUnicast(p.Key.Src) && isUnicast(p.Key.Dst)
}

// carriesICMPError also looks into a first fragment, which Parse does not.
func (p *Packet) carriesICMPError() bool {
	return p.Proto == ProtoICMP && (p.L4 >= p.End || isICMPError(p.Data[p.L4]))
}

// unicastFrame reports whether the frame was sent to one station only.
func (p *Packet) unicastFrame() bool {
	return p.L3 != EthernetLen || p.Data[0]&1 == 0
}

// isUnicast refuses 0.0.0.0/8, 127.0.0.0/8, multicast and everything above.
func isUnicast(a Addr) bool { return a[0] != 0 && a[0] != 127 && a[0] < 224 }

// AppendICMPError appends to dst the IP packet with which the router at address
// from tells the sender of p that it could not be forwarded, and returns the
// extended slice. It quotes as much of p as fits into 576 bytes (RFC 1812,
// 4.3.2.3). mtu is used with CodeFragmentNeeded (RFC 1191) and 0 otherwise.
// Ask MayBeAnswered first.
func (p *Packet) AppendICMPError(dst []byte, from Addr, icmpType, code uint8, mtu uint16) []byte {
	start := len(dst)
	quote := p.Data[p.L3:p.End]
	quote = quote[:min(len(quote), maxErrorLen-IPv4Len-ICMPLen)]
	total := IPv4Len + ICMPLen + len(quote)
	// Precedence 6, internetwork control (RFC 1812, 4.3.2.5).
	dst = append(dst, 0x45, 0xc0, byte(total>>8), byte(total), 0, 0, 0, 0, 64, ProtoICMP, 0, 0)
	dst = append(dst, from[:]...)
	dst = append(dst, p.Key.Src[:]...)
	dst = append(dst, icmpType, code, 0, 0, 0, 0, byte(mtu>>8), byte(mtu))
	dst = append(dst, quote...)
	ip := dst[start:]
	binary.BigEndian.PutUint16(ip[10:], Checksum(ip[:IPv4Len]))
	binary.BigEndian.PutUint16(ip[IPv4Len+2:], Checksum(ip[IPv4Len:]))
	return dst
}
