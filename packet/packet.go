package packet

import "encoding/binary"

// Lengths of headers without options.
const (
	EthernetLen = 14
	IPv4Len     = 20
	TCPLen      = 20
	UDPLen      = 8
	ICMPLen     = 8
)

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100
	etherQinQ = 0x88a8
)

// TCP flag bits, as in the header.
const (
	FIN = 0x01
	SYN = 0x02
	RST = 0x04
	PSH = 0x08
	ACK = 0x10
	URG = 0x20
)

// ICMP types that are treated by name (IANA).
const (
	ICMPEchoReply        = 0
	ICMPUnreachable      = 3
	ICMPSourceQuench     = 4
	ICMPRedirect         = 5
	ICMPEchoRequest      = 8
	ICMPTimeExceeded     = 11
	ICMPParameter        = 12
	ICMPTimestamp        = 13
	ICMPTimestampReply   = 14
	ICMPInformation      = 15
	ICMPInformationReply = 16
	ICMPMask             = 17
	ICMPMaskReply        = 18
)

// Packet is a parsed view of one packet. Offsets count from the start of Data.
// Fields of protocols that the packet does not have are zero. A Packet is
// reused by calling Parse again and belongs to one goroutine; it does not own
// Data.
type Packet struct {
	Data    []byte
	L3      int // IP header
	L4      int // transport header
	Payload int // behind the transport header
	End     int // behind the IP packet; Ethernet padding may follow

	Key FlowKey // the tuple as it stands in the headers (FR9 for ICMP)

	Version  uint8
	Proto    uint8
	TTL      uint8
	TOS      uint8
	TotalLen uint16
	ID       uint16

	FragOffset    uint16 // bytes
	MoreFragments bool
	DontFragment  bool

	Flags  uint8 // TCP, this and the next three
	Window uint16
	Seq    uint32
	Ack    uint32

	ICMPType, ICMPCode uint8

	// ICMP errors: the key of the packet they quote, as that packet was sent,
	// and where it stands.
	Quoted             FlowKey
	QuotedL3, QuotedL4 int
}

// Parse reads an Ethernet frame. On any result but OK the packet must not be
// rewritten, and only the fields that the Reject names are set.
func (p *Packet) Parse(frame []byte) Reject {
	*p = Packet{Data: frame}
	if len(frame) < EthernetLen {
		return RejectTruncated
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherIPv4:
		return p.parseIPv4(EthernetLen)
	case etherIPv6:
		return p.parseIPv6(EthernetLen)
	case etherVLAN, etherQinQ:
		return RejectVLAN
	}
	return RejectNotIP
}

// ParseIP reads an IP packet that begins at offset l3 of b, whatever is in
// front of it.
func (p *Packet) ParseIP(b []byte, l3 int) Reject {
	*p = Packet{Data: b}
	if l3 < 0 || l3 >= len(b) {
		return RejectTruncated
	}
	if b[l3]>>4 == 6 {
		return p.parseIPv6(l3)
	}
	return p.parseIPv4(l3)
}

func (p *Packet) parseIPv6(l3 int) Reject {
	if len(p.Data) < l3+40 {
		return RejectTruncated
	}
	if p.Data[l3]>>4 != 6 {
		return RejectVersion
	}
	p.L3, p.Version = l3, 6
	return RejectIPv6
}

func (p *Packet) parseIPv4(l3 int) Reject {
	if len(p.Data) < l3+IPv4Len {
		return RejectTruncated
	}
	ip := p.Data[l3:]
	if ip[0]>>4 != 4 {
		return RejectVersion
	}
	header, total := int(ip[0]&0x0f)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if header < IPv4Len || header > len(ip) {
		return RejectIHL
	}
	if total < header || total > len(ip) {
		return RejectTotalLen
	}
	if r := checkOptions(ip[IPv4Len:header]); r != OK {
		return r
	}
	fragment := binary.BigEndian.Uint16(ip[6:])
	p.L3, p.L4, p.Payload, p.End = l3, l3+header, l3+header, l3+total
	p.Version, p.TOS, p.TotalLen = 4, ip[1], uint16(total)
	p.ID, p.TTL, p.Proto = binary.BigEndian.Uint16(ip[4:]), ip[8], ip[9]
	p.DontFragment, p.MoreFragments, p.FragOffset = fragment&0x4000 != 0, fragment&0x2000 != 0, fragment<<3
	p.Key = FlowKey{Src: Addr(ip[12:16]), Dst: Addr(ip[16:20]), Proto: p.Proto}
	if p.MoreFragments || p.FragOffset != 0 {
		return RejectFragment
	}
	switch p.Proto {
	case ProtoTCP:
		return p.parseTCP()
	case ProtoUDP:
		return p.parseUDP()
	case ProtoICMP:
		return p.parseICMP()
	}
	return OK
}

func (p *Packet) parseTCP() Reject {
	tcp := p.Data[p.L4:p.End]
	if len(tcp) < TCPLen {
		return RejectL4Truncated
	}
	header := int(tcp[12]>>4) * 4
	if header < TCPLen || header > len(tcp) {
		return RejectTCPOffset
	}
	p.Key.SrcPort, p.Key.DstPort = binary.BigEndian.Uint16(tcp), binary.BigEndian.Uint16(tcp[2:])
	p.Seq, p.Ack = binary.BigEndian.Uint32(tcp[4:]), binary.BigEndian.Uint32(tcp[8:])
	p.Flags, p.Window = tcp[13], binary.BigEndian.Uint16(tcp[14:])
	p.Payload = p.L4 + header
	return OK
}

func (p *Packet) parseUDP() Reject {
	udp := p.Data[p.L4:p.End]
	if len(udp) < UDPLen {
		return RejectL4Truncated
	}
	if n := int(binary.BigEndian.Uint16(udp[4:])); n < UDPLen || n > len(udp) {
		return RejectUDPLength
	}
	p.Key.SrcPort, p.Key.DstPort = binary.BigEndian.Uint16(udp), binary.BigEndian.Uint16(udp[2:])
	p.Payload = p.L4 + UDPLen
	return OK
}

func (p *Packet) parseICMP() Reject {
	icmp := p.Data[p.L4:p.End]
	if len(icmp) < ICMPLen {
		return RejectL4Truncated
	}
	p.ICMPType, p.ICMPCode = icmp[0], icmp[1]
	p.Payload = p.L4 + ICMPLen
	if p.IsICMPError() {
		return p.parseQuote()
	}
	p.Key.SrcPort, p.Key.DstPort = icmpPorts(icmp)
	return OK
}

// icmpPorts is FR9: query (id, 0), response (0, id), everything else (0, 0).
func icmpPorts(icmp []byte) (src, dst uint16) {
	id := binary.BigEndian.Uint16(icmp[4:])
	switch {
	case isICMPQuery(icmp[0]):
		return id, 0
	case isICMPResponse(icmp[0]):
		return 0, id
	}
	return 0, 0
}

// isICMPQuery knows the ICMP queries of RFC 5508: messages that somebody begins,
// with an identifier by which he knows the responses (RFC 792, RFC 950).
func isICMPQuery(t uint8) bool {
	switch t {
	case ICMPEchoRequest, ICMPTimestamp, ICMPInformation, ICMPMask:
		return true
	}
	return false
}

func isICMPResponse(t uint8) bool {
	switch t {
	case ICMPEchoReply, ICMPTimestampReply, ICMPInformationReply, ICMPMaskReply:
		return true
	}
	return false
}

// parseQuote reads the packet inside an ICMP error: its IP header and at least
// eight bytes more (RFC 792). A quoted fragment that is not the first has no
// ports, and an error about an ICMP error is never sent (RFC 1122, 3.2.2).
func (p *Packet) parseQuote() Reject {
	ip := p.Data[p.Payload:p.End]
	if len(ip) < IPv4Len || ip[0]>>4 != 4 {
		return RejectQuote
	}
	header := int(ip[0]&0x0f) * 4
	if header < IPv4Len || len(ip) < header+8 || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
		return RejectQuote
	}
	q := FlowKey{Src: Addr(ip[12:16]), Dst: Addr(ip[16:20]), Proto: ip[9]}
	switch l4 := ip[header:]; q.Proto {
	case ProtoTCP, ProtoUDP:
		q.SrcPort, q.DstPort = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	case ProtoICMP:
		if isICMPError(l4[0]) {
			return RejectQuote
		}
		q.SrcPort, q.DstPort = icmpPorts(l4)
	}
	if q.Src != p.Key.Dst {
		return RejectQuoteAddress
	}
	p.Quoted, p.QuotedL3, p.QuotedL4 = q, p.Payload, p.Payload+header
	return OK
}

func isICMPError(t uint8) bool {
	switch t {
	case ICMPUnreachable, ICMPSourceQuench, ICMPRedirect, ICMPTimeExceeded, ICMPParameter:
		return true
	}
	return false
}

// IsICMPError reports whether the packet is an ICMP error, which belongs to the
// connection it quotes (FR9).
func (p *Packet) IsICMPError() bool {
	return p.Proto == ProtoICMP && p.Version == 4 && isICMPError(p.ICMPType)
}

// IsICMPQuery reports whether the packet is an ICMP query: an echo, timestamp,
// information or address mask request (RFC 5508, section 2). It may begin a
// connection.
func (p *Packet) IsICMPQuery() bool {
	return p.Proto == ProtoICMP && p.Version == 4 && isICMPQuery(p.ICMPType)
}

// IsICMPResponse reports whether the packet answers an ICMP query. It belongs to
// the connection that the query began.
func (p *Packet) IsICMPResponse() bool {
	return p.Proto == ProtoICMP && p.Version == 4 && isICMPResponse(p.ICMPType)
}

// ConnKey returns the key to look a connection up by, in this packet's
// direction of travel: its own, or for an ICMP error that of the quoted packet
// turned round, because an error travels towards the quoted source.
func (p *Packet) ConnKey() FlowKey {
	if p.QuotedL3 != 0 {
		return p.Quoted.Reverse()
	}
	return p.Key
}

// PayloadLen returns the bytes behind the transport header.
func (p *Packet) PayloadLen() int { return p.End - p.Payload }

// SeqLen returns the sequence space a TCP segment takes: its payload, and one
// each for SYN and FIN.
func (p *Packet) SeqLen() uint32 {
	n := uint32(p.PayloadLen())
	if p.Flags&SYN != 0 {
		n++
	}
	if p.Flags&FIN != 0 {
		n++
	}
	return n
}

// HeaderSumOK reports whether the IP header checksum is right. Parse does not
// ask, see the package comment.
func (p *Packet) HeaderSumOK() bool { return Checksum(p.Data[p.L3:p.L4]) == 0 }
