package packet

import "encoding/binary"

// maxDatagram is the longest IP packet, header and all (RFC 791, 3.1).
const maxDatagram = 65535

// ParseFragment goes on where Parse has ended with RejectFragment, and reads what one
// fragment alone can tell. After OK a first fragment (FragOffset 0) has the fields of
// its transport header, and may be rewritten as any packet: the transport checksum is
// over the whole datagram and follows by differences. A later one has no ports, and
// only its addresses are rewritten. PayloadLen and SeqLen are those of the fragment.
//
// Refused is what no host sends, and what would let the ports and flags that were
// judged be replaced behind the judge's back (RFC 1858, RFC 3128): a first fragment
// without its whole transport header, and a later one that reaches into TCP's. So are
// fragments of ICMP errors: these are at most 576 bytes (RFC 1812, 4.3.2.3), and their
// connection is that of the quotation. Whether fragments overlap is not asked here.
func (p *Packet) ParseFragment() Reject {
	size := p.End - p.L4
	switch {
	case size == 0, p.MoreFragments && size&7 != 0, p.L4-p.L3+int(p.FragOffset)+size > maxDatagram:
		return RejectBadFragment
	case p.FragOffset != 0:
		if p.Proto == ProtoTCP && p.FragOffset < TCPLen {
			return RejectTinyFragment
		}
		return OK
	}
	switch p.Proto {
	case ProtoTCP:
		return p.parseFirstTCP()
	case ProtoUDP:
		return p.parseFirstUDP()
	case ProtoICMP:
		return p.parseFirstICMP()
	}
	return OK
}

func (p *Packet) parseFirstTCP() Reject {
	switch r := p.parseTCP(); {
	case r == RejectL4Truncated, r == RejectTCPOffset && p.Data[p.L4+12]>>4 >= TCPLen/4:
		return RejectTinyFragment
	default:
		return r
	}
}

// parseFirstUDP does not compare the length, which is the datagram's.
func (p *Packet) parseFirstUDP() Reject {
	udp := p.Data[p.L4:p.End]
	if len(udp) < UDPLen {
		return RejectTinyFragment
	}
	if binary.BigEndian.Uint16(udp[4:]) < UDPLen {
		return RejectUDPLength
	}
	p.Key.SrcPort, p.Key.DstPort = binary.BigEndian.Uint16(udp), binary.BigEndian.Uint16(udp[2:])
	p.Payload = p.L4 + UDPLen
	return OK
}

func (p *Packet) parseFirstICMP() Reject {
	icmp := p.Data[p.L4:p.End]
	if len(icmp) < ICMPLen {
		return RejectTinyFragment
	}
	if isICMPError(icmp[0]) {
		return RejectFragmentedError
	}
	return p.parseICMP()
}

// later reports whether the packet is a fragment without a transport header.
func (p *Packet) later() bool { return p.FragOffset != 0 }
