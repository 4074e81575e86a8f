package packet

import "encoding/binary"

// Sum adds b, as big-endian 16-bit words, to a running ones' complement sum
// (RFC 1071). An odd last byte counts as the high half of a word, so only the
// last piece of a sum may have one.
func Sum(sum uint32, b []byte) uint32 {
	s := uint64(sum)
	for ; len(b) >= 4; b = b[4:] {
		s += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	for s>>32 != 0 {
		s = s&0xffffffff + s>>32
	}
	return uint32(s)
}

// Fold ends a sum: the 16 bits that go into a checksum field.
func Fold(sum uint32) uint16 {
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	return ^uint16(sum)
}

// Checksum returns the Internet checksum of b (RFC 1071): the value of a field
// that was zero in b, or 0 if b contains its right checksum.
func Checksum(b []byte) uint16 { return Fold(Sum(0, b)) }

// PseudoSum is the running sum of the TCP and UDP pseudo-header of a packet
// from src to dst with length bytes of transport header and payload.
func PseudoSum(src, dst Addr, proto uint8, length int) uint32 {
	sum := Sum(Sum(0, src[:]), dst[:])
	return Sum(sum, []byte{0, proto, byte(length >> 8), byte(length)})
}

// Update16 returns the checksum after one 16-bit word changed (RFC 1624,
// equation 3).
func Update16(checksum, old, new uint16) uint16 {
	return Fold(uint32(^checksum) + uint32(^old) + uint32(new))
}

// Update32 is Update16 for an aligned 32-bit word.
func Update32(checksum uint16, old, new uint32) uint16 {
	return Fold(uint32(^checksum) + (^old)>>16 + (^old)&0xffff + new>>16 + new&0xffff)
}

// noZero gives a checksum that comes out as 0 its other representation. That is
// UDP's rule (RFC 768), where 0 says that there is no checksum.
func noZero(checksum uint16) uint16 {
	if checksum == 0 {
		return 0xffff
	}
	return checksum
}
