package packet

import "encoding/binary"

// RewriteError translates an ICMP error as RFC 5508 (REQ-4, REQ-5) and NT9 ask:
// the packet it quotes becomes that of inner, as the sender that the error is
// for sent it, and the error itself goes from src to dst. Type and code stay.
// It needs a packet that Parse accepted, and does nothing to one that is no ICMP
// error; inner's protocol and zone are not looked at.
//
// What the error's receiver may check is right afterwards, if it was before: the
// quoted IP header's checksum, the quoted transport header's, unless it was cut
// off, and the error's own, all by differences. Nothing else of the error
// changes, the extensions of RFC 4884 behind the quotation among it.
func (p *Packet) RewriteError(inner FlowKey, src, dst Addr) {
	if p.QuotedL3 == 0 {
		return
	}
	p.rewriteQuote(inner)
	if src != p.Key.Src {
		p.SetSrc(src)
	}
	if dst != p.Key.Dst {
		p.SetDst(dst)
	}
}

// ErrorSource returns the source address for RewriteError with the same inner;
// ask before. A router between the endpoints keeps its address, but one behind
// the translation of the quoted destination, and that destination itself, must
// not show: the error then comes from the address that the sender knows (RFC
// 5508, REQ-5).
func (p *Packet) ErrorSource(inner FlowKey) Addr {
	if inner.Dst != p.Quoted.Dst {
		return inner.Dst
	}
	return p.Key.Src
}

func (p *Packet) rewriteQuote(k FlowKey) {
	if k.Src != p.Quoted.Src {
		p.setQuotedAddr(12, k.Src)
	}
	if k.Dst != p.Quoted.Dst {
		p.setQuotedAddr(16, k.Dst)
	}
	p.Quoted.Src, p.Quoted.Dst = k.Src, k.Dst
	switch p.Quoted.Proto {
	case ProtoTCP, ProtoUDP:
		p.setQuotedL4Word(0, k.SrcPort)
		p.setQuotedL4Word(2, k.DstPort)
		p.Quoted.SrcPort, p.Quoted.DstPort = k.SrcPort, k.DstPort
	case ProtoICMP:
		p.setQuotedID(k)
	}
}

// setQuotedID is FR9 for the quotation.
func (p *Packet) setQuotedID(k FlowKey) {
	switch t := p.Data[p.QuotedL4]; {
	case isICMPQuery(t):
		p.setQuotedL4Word(4, k.SrcPort)
		p.Quoted.SrcPort = k.SrcPort
	case isICMPResponse(t):
		if k.DstPort == p.Quoted.DstPort {
			return
		}
		p.setQuotedL4Word(4, k.DstPort)
		p.Quoted.DstPort = k.DstPort
		if k.DstPort == 0 && t == ICMPEchoReply { // as SetDstPort
			p.putQuoted(p.QuotedL4+2, noZero(binary.BigEndian.Uint16(p.Data[p.QuotedL4+2:])))
		}
	}
}

// setQuotedAddr corrects what covers an address: the quoted IP header's
// checksum, and the transport's where that covers addresses.
func (p *Packet) setQuotedAddr(offset int, a Addr) {
	at, sum := p.QuotedL3+offset, p.QuotedL3+10
	old, word := binary.BigEndian.Uint32(p.Data[at:]), binary.BigEndian.Uint32(a[:])
	p.putQuoted(at, uint16(word>>16))
	p.putQuoted(at+2, uint16(word))
	p.putQuoted(sum, Update32(binary.BigEndian.Uint16(p.Data[sum:]), old, word))
	if coversAddresses(p.Quoted.Proto) {
		p.updateQuotedL4Sum(old, word)
	}
}

func (p *Packet) setQuotedL4Word(offset int, word uint16) {
	old := binary.BigEndian.Uint16(p.Data[p.QuotedL4+offset:])
	if old == word {
		return
	}
	p.putQuoted(p.QuotedL4+offset, word)
	p.updateQuotedL4Sum(uint32(old), uint32(word))
}

// updateQuotedL4Sum corrects the quoted transport checksum. That of TCP lies behind the
// eight bytes that are always quoted, the others within.
func (p *Packet) updateQuotedL4Sum(old, word uint32) {
	at := p.QuotedL4
	switch p.Quoted.Proto {
	case ProtoTCP:
		if at += 16; at+2 > p.quoteEnd() {
			return
		}
	case ProtoICMP:
		at += 2
	case ProtoUDP:
		at += 6
		if sum := binary.BigEndian.Uint16(p.Data[at:]); sum != 0 { // 0: sent without
			p.putQuoted(at, noZero(Update32(sum, old, word)))
		}
		return
	case ProtoDCCP, ProtoUDPLite:
		at += 6
		p.putQuoted(at, noZero(Update32(binary.BigEndian.Uint16(p.Data[at:]), old, word)))
		return
	}
	p.putQuoted(at, Update32(binary.BigEndian.Uint16(p.Data[at:]), old, word))
}

// quoteEnd is where the quotation ends: with the packet, or where RFC 4884's
// length says that extensions begin. Only three types have that field.
func (p *Packet) quoteEnd() int {
	switch p.ICMPType {
	case ICMPUnreachable, ICMPTimeExceeded, ICMPParameter:
		if words := int(p.Data[p.L4+5]); words != 0 {
			return min(p.End, p.QuotedL3+4*words)
		}
	}
	return p.End
}

// putQuoted writes a word of the quotation, which the error's checksum covers.
// Words lie at even offsets of the ICMP message, because IP headers have a
// multiple of four bytes.
func (p *Packet) putQuoted(at int, word uint16) {
	old := binary.BigEndian.Uint16(p.Data[at:])
	binary.BigEndian.PutUint16(p.Data[at:], word)
	updateField(p.Data[p.L4+2:], uint32(old), uint32(word))
}
