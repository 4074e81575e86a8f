package fib

import (
	"encoding/binary"
	"math/bits"

	"cohort/packet"
)

// prefix is an IPv4 network; addr has no bits beyond it.
type prefix struct {
	addr uint32
	bits uint8 // 0..32
}

func newPrefix(addr uint32, length uint8) prefix { return prefix{addr & mask(length), length} }

// alone is the network that holds nothing but a.
func alone(a packet.Addr) prefix { return prefix{binary.BigEndian.Uint32(a[:]), 32} }

func mask(length uint8) uint32 { return uint32(^uint64(0) << (32 - length)) }

// special are the networks that Linux treats in another way whatever its tables
// say (__mkroute_output): none of them is forwarded to.
var special = [...]prefix{
	{0, 8},          // "this network", RFC 1122 3.2.1.3: all of it until Linux 5.3
	{0, 32},         // and this one address since
	{224 << 24, 4},  // multicast
	{1<<32 - 1, 32}, // limited broadcast
}

// prefixSet is the set of the prefixes that routes and rules tell addresses
// apart by. Two addresses with the same longest prefix in a set that has them
// all lie under the same routes of every table, and under the same rules.
//
// It only grows: a prefix whose routes are gone makes the division finer than
// need be, never wrong.
type prefixSet struct {
	by    [33]map[uint32]struct{}
	used  uint64 // bit n: by[n] has something
	count int
	limit int
}

func newPrefixSet(limit int) *prefixSet {
	s := &prefixSet{limit: limit}
	for _, p := range special {
		s.add(p)
	}
	return s
}

// add reports false when p is new and there is no room for it.
func (s *prefixSet) add(p prefix) bool {
	if _, known := s.by[p.bits][p.addr]; known {
		return true
	}
	if s.count == s.limit {
		return false
	}
	if s.by[p.bits] == nil {
		s.by[p.bits] = make(map[uint32]struct{})
	}
	s.by[p.bits][p.addr] = struct{}{}
	s.used |= 1 << p.bits
	s.count++
	return true
}

// longest returns the longest prefix in the set that covers a, and 0.0.0.0/0
// where there is none: such addresses are alike too, without any route. It
// costs a map access for each length in use.
func (s *prefixSet) longest(a packet.Addr) prefix {
	addr := binary.BigEndian.Uint32(a[:])
	for rest := s.used &^ 1; rest != 0; {
		length := uint8(bits.Len64(rest) - 1)
		p := newPrefix(addr, length)
		if _, ok := s.by[length][p.addr]; ok {
			return p
		}
		rest &^= 1 << length
	}
	return prefix{}
}
