package packet

import "encoding/binary"

// IPv4 flags in the word of the fragment offset.
const (
	flagDF     = 0x4000
	flagMF     = 0x2000
	offsetMask = 0x1fff
)

// AppendFragment appends to dst the fragment of p's IP packet that begins with
// byte offset of its payload and fits mtu, and returns the extended slice and
// the offset of the next fragment, 0 after the last one (RFC 791, 2.3). Begin
// with offset 0. p must have parsed, may be a fragment itself, and must not
// have DF set; mtu is at least 68.
//
// Options are repeated only in the first fragment. That is right for those
// without the copied flag; packets with others do not get this far.
func (p *Packet) AppendFragment(dst []byte, mtu, offset int) (out []byte, next int) {
	header := p.L4 - p.L3
	if offset > 0 {
		header = IPv4Len
	}
	payload := p.Data[p.L4:p.End]
	size := min((mtu-header)&^7, len(payload)-offset)
	last := offset+size == len(payload)

	start := len(dst)
	dst = append(dst, p.Data[p.L3:p.L3+header]...)
	dst = append(dst, payload[offset:offset+size]...)
	h := dst[start : start+header]
	h[0] = 4<<4 | byte(header/4)
	be := binary.BigEndian
	be.PutUint16(h[2:], uint16(header+size))
	word := be.Uint16(p.Data[p.L3+6:])
	place := word&offsetMask + uint16(offset/8)
	more := word & flagMF
	if !last {
		more = flagMF
	}
	be.PutUint16(h[6:], more|place)
	be.PutUint16(h[10:], 0)
	be.PutUint16(h[10:], Checksum(h))
	if last {
		return dst, 0
	}
	return dst, offset + size
}
