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
// The first fragment has all options, the others those with the copied flag.
func (p *Packet) AppendFragment(dst []byte, mtu, offset int) (out []byte, next int) {
	payload := p.Data[p.L4:p.End]
	start := len(dst)
	if offset == 0 {
		dst = append(dst, p.Data[p.L3:p.L4]...)
	} else {
		dst = append(dst, p.Data[p.L3:p.L3+IPv4Len]...)
		dst = appendCopied(dst, p.Data[p.L3+IPv4Len:p.L4])
	}
	header := len(dst) - start
	size := min((mtu-header)&^7, len(payload)-offset)
	last := offset+size == len(payload)
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
