package packet

import "encoding/binary"

const (
	optionEnd  = 0
	optionNop  = 1
	optionSACK = 5 // RFC 2018
)

// ShiftSequence adds to what a TCP segment says about sequence numbers: seq to its
// own, ack to its acknowledgement, if it has one, and to the selective ones (RFC
// 2018, RFC 2883; FR5). The checksum follows by differences. It needs a packet that
// Parse accepted, and does nothing to other protocols.
//
// Selective acknowledgements are those of the first such option; hosts send one. A
// malformed option ends the list, as it does in most hosts.
func (p *Packet) ShiftSequence(seq, ack uint32) {
	if p.Proto != ProtoTCP || p.later() {
		return
	}
	if seq != 0 {
		p.Seq += seq
		p.setSequence(4, p.Seq)
	}
	if ack == 0 || p.Flags&ACK == 0 {
		return
	}
	p.Ack += ack
	p.setSequence(8, p.Ack)
	if at, blocks := p.sack(); blocks != 0 {
		p.shiftSACK(at, blocks, ack)
	}
}

func (p *Packet) setSequence(offset int, word uint32) {
	b := p.Data[p.L4+offset:]
	old := binary.BigEndian.Uint32(b)
	binary.BigEndian.PutUint32(b, word)
	p.updateL4Sum(old, word)
}

// sack returns where the blocks of the selective acknowledgement begin in Data, and
// how many there are.
func (p *Packet) sack() (at, blocks int) {
	for at = p.L4 + TCPLen; at+2 <= p.Payload; {
		kind, n := p.Data[at], int(p.Data[at+1])
		switch {
		case kind == optionNop:
			at++
			continue
		case kind == optionEnd || n < 2 || at+n > p.Payload:
			return 0, 0
		case kind == optionSACK:
			return at + 2, (n - 2) / 8
		}
		at += n
	}
	return 0, 0
}

// shiftSACK changes blocks that may begin at an odd offset. Then the checksum has
// the bytes of each word the other way round (RFC 1071, 1.B).
func (p *Packet) shiftSACK(at, blocks int, ack uint32) {
	odd := (at-p.L4)&1 != 0
	for end := at + 8*blocks; at < end; at += 4 {
		old := binary.BigEndian.Uint32(p.Data[at:])
		word := old + ack
		binary.BigEndian.PutUint32(p.Data[at:], word)
		if odd {
			old, word = swapBytes(old), swapBytes(word)
		}
		p.updateL4Sum(old, word)
	}
}

// swapBytes exchanges the bytes of both halves.
func swapBytes(x uint32) uint32 { return x>>8&0x00ff00ff | x<<8&0xff00ff00 }

// ShiftQuotedSequence is ShiftSequence for the TCP segment that an ICMP error
// quotes, as far as it is quoted: the sequence number always is (RFC 792). Hosts
// compare it with what they have sent (RFC 5927, 4.1). Selective acknowledgements
// stay: nobody looks at those that come back.
func (p *Packet) ShiftQuotedSequence(seq, ack uint32) {
	if p.QuotedL3 == 0 || p.Quoted.Proto != ProtoTCP {
		return
	}
	if seq != 0 {
		p.shiftQuoted(p.QuotedL4+4, seq)
	}
	// Half an acknowledgement is not changed; flags stand behind it.
	if at := p.QuotedL4; ack != 0 && at+14 <= p.quoteEnd() && p.Data[at+13]&ACK != 0 {
		p.shiftQuoted(at+8, ack)
	}
}

func (p *Packet) shiftQuoted(at int, by uint32) {
	old := binary.BigEndian.Uint32(p.Data[at:])
	word := old + by
	p.putQuoted(at, uint16(word>>16))
	p.putQuoted(at+2, uint16(word))
	p.updateQuotedL4Sum(old, word)
}
