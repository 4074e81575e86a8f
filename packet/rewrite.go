package packet

import "encoding/binary"

// Rewriting changes the buffer, the checksums that cover the change, and the
// fields of Packet. It needs a packet that Parse accepted, or ParseFragment.

// DecrementTTL takes one hop off. The caller has made sure that TTL is above 1
// (a packet that arrives with less is answered, not forwarded: RFC 1812, 5.3.1).
func (p *Packet) DecrementTTL() {
	word := binary.BigEndian.Uint16(p.Data[p.L3+8:]) // TTL and protocol
	p.setIPWord(8, word-0x100)
	p.TTL--
}

// SetSrc replaces the source address.
func (p *Packet) SetSrc(a Addr) {
	p.setAddr(12, a)
	p.Key.Src = a
}

// SetDst replaces the destination address.
func (p *Packet) SetDst(a Addr) {
	p.setAddr(16, a)
	p.Key.Dst = a
}

// SetSrcPort replaces the source port: of TCP and UDP, or the identifier of an
// ICMP query (FR9). Packets without one stay as they are.
func (p *Packet) SetSrcPort(port uint16) {
	if p.later() {
		return
	}
	switch p.Proto {
	case ProtoTCP, ProtoUDP:
		p.setL4Word(0, port)
		p.Key.SrcPort = port
	case ProtoICMP:
		if isICMPQuery(p.ICMPType) {
			p.setL4Word(4, port)
			p.Key.SrcPort = port
		}
	}
}

// SetDstPort replaces the destination port, or the identifier of an ICMP
// response. An echo reply with identifier 0 may be all zeros, which no other
// packet can be, and only then do the two representations of a zero checksum
// differ to a receiver: it gets the one that is right in any case.
func (p *Packet) SetDstPort(port uint16) {
	if p.later() {
		return
	}
	switch p.Proto {
	case ProtoTCP, ProtoUDP:
		p.setL4Word(2, port)
		p.Key.DstPort = port
	case ProtoICMP:
		if isICMPResponse(p.ICMPType) {
			p.setL4Word(4, port)
			p.Key.DstPort = port
			if sum := p.Data[p.L4+2:]; port == 0 && p.ICMPType == ICMPEchoReply {
				binary.BigEndian.PutUint16(sum, noZero(binary.BigEndian.Uint16(sum)))
			}
		}
	}
}

// Rewrite makes the packet's tuple that of k; protocol and zone are not looked
// at. What is equal already costs a comparison.
func (p *Packet) Rewrite(k FlowKey) {
	if k.Src != p.Key.Src {
		p.SetSrc(k.Src)
	}
	if k.Dst != p.Key.Dst {
		p.SetDst(k.Dst)
	}
	if k.SrcPort != p.Key.SrcPort {
		p.SetSrcPort(k.SrcPort)
	}
	if k.DstPort != p.Key.DstPort {
		p.SetDstPort(k.DstPort)
	}
}

func (p *Packet) setIPWord(offset int, word uint16) {
	ip := p.Data[p.L3:p.L4]
	old := binary.BigEndian.Uint16(ip[offset:])
	binary.BigEndian.PutUint16(ip[offset:], word)
	binary.BigEndian.PutUint16(ip[10:], Update16(binary.BigEndian.Uint16(ip[10:]), old, word))
}

// setAddr also corrects the transport checksum where that covers the addresses.
func (p *Packet) setAddr(offset int, a Addr) {
	ip := p.Data[p.L3:p.L4]
	old, word := binary.BigEndian.Uint32(ip[offset:]), binary.BigEndian.Uint32(a[:])
	copy(ip[offset:], a[:])
	binary.BigEndian.PutUint16(ip[10:], Update32(binary.BigEndian.Uint16(ip[10:]), old, word))
	if coversAddresses(p.Proto) && !p.later() {
		p.updateL4Sum(old, word)
	}
}

func (p *Packet) setL4Word(offset int, word uint16) {
	b := p.Data[p.L4+offset:]
	old := binary.BigEndian.Uint16(b)
	binary.BigEndian.PutUint16(b, word)
	p.updateL4Sum(uint32(old), uint32(word))
}

// updateL4Sum corrects the transport checksum for a change of one word.
func (p *Packet) updateL4Sum(old, word uint32) {
	switch p.Proto {
	case ProtoTCP:
		updateField(p.Data[p.L4+16:], old, word)
	case ProtoICMP:
		updateField(p.Data[p.L4+2:], old, word)
	case ProtoUDP:
		field := p.Data[p.L4+6:]
		if binary.BigEndian.Uint16(field) == 0 {
			return // sent without a checksum
		}
		updateField(field, old, word)
		binary.BigEndian.PutUint16(field, noZero(binary.BigEndian.Uint16(field)))
	case ProtoDCCP, ProtoUDPLite: // where UDP has it (RFC 4340, 5.1; RFC 3828, 3.1), and never none
		if p.End-p.L4 >= UDPLen {
			field := p.Data[p.L4+6:]
			updateField(field, old, word)
			binary.BigEndian.PutUint16(field, noZero(binary.BigEndian.Uint16(field)))
		}
	}
}

func updateField(field []byte, old, word uint32) {
	binary.BigEndian.PutUint16(field, Update32(binary.BigEndian.Uint16(field), old, word))
}
