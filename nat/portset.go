package nat

import (
	"math/bits"

	"cohort/packet"
)

// class is a group of protocols that count ports together.
type class uint8

const (
	classTCP class = iota
	classUDP
	classICMP
	classes // the protocols without ports: see unitState.portless
)

// class returns what class a protocol has in a unit; ok is false where ports
// are not counted: protocols without ports, and whole addresses.
func (u *unitState) class(proto uint8) (c class, ok bool) {
	if u.size == 0 {
		return 0, false
	}
	switch proto {
	case packet.ProtoTCP:
		return classTCP, true
	case packet.ProtoUDP:
		return classUDP, true
	case packet.ProtoICMP:
		return classICMP, true
	}
	return 0, false
}

// isMapping reports whether a reply key is that of a mapping's pseudo
// connection, from 0.0.0.0:0.
func isMapping(k1 packet.FlowKey) bool { return k1.Src == packet.Addr{} && k1.SrcPort == 0 }

// portSet counts the uses of each port of one unit by one class of protocols.
// Ports are counted from the unit's first. Nearly all that are in use have one use, by a
// connection: that takes a bit, of which a block's are one cache line, and its counts 32.
type portSet struct {
	taken  []uint64 // bit per port: it has a use. Bits behind the last port are set
	others []uint64 // bit per port: its uses are not one of a connection; nil: of no port
	counts []uint32 // of those: connections; mappings in the upper bits. As long as others
	size   int
	rests  []uint32 // when each port's last hold-down ends, in ticks; nil: nobody asks (portrest.go)
}

// A count has room for 16 million connections, more than a node's flow table,
// and 255 uses by mappings, of which a port has one with at most its
// reservation and its stub.
const (
	aMapping    = 1 << 24
	connections = aMapping - 1
)

func newPortSet(size int) *portSet {
	s := &portSet{taken: make([]uint64, (size+63)/64), size: size}
	if rest := size % 64; rest != 0 {
		s.taken[len(s.taken)-1] = ^uint64(0) << rest
	}
	return s
}

// use counts a use and reports whether it is the port's first.
func (s *portSet) use(port int, mapping bool) bool {
	word, bit := &s.taken[port/64], uint64(1)<<(port%64)
	first := *word&bit == 0
	*word |= bit
	if first && !mapping {
		return true
	}
	if s.others == nil {
		s.others, s.counts = make([]uint64, len(s.taken)), make([]uint32, s.size)
	}
	if s.others[port/64]&bit == 0 {
		s.others[port/64] |= bit
		s.counts[port] = 0
		if !first {
			s.counts[port] = 1
		}
	}
	s.counts[port] += amount(mapping)
	return first
}

// release takes a use back and reports whether it was the port's last.
func (s *portSet) release(port int, mapping bool) bool {
	bit := uint64(1) << (port % 64)
	if s.others != nil && s.others[port/64]&bit != 0 {
		s.counts[port] -= amount(mapping)
		if s.counts[port] <= 1 {
			s.others[port/64] &^= bit
		}
		if s.counts[port] != 0 {
			return false
		}
	}
	s.taken[port/64] &^= bit
	return true
}

// amount is what one use adds to a count.
func amount(mapping bool) uint32 {
	if mapping {
		return aMapping
	}
	return 1
}

// includes reports whether a count has a use to take back.
func includes(count uint32, mapping bool) bool {
	if mapping {
		return count >= aMapping
	}
	return count&connections != 0
}

// free reports whether a port has no use; of a nil set every one is free.
func (s *portSet) free(port int) bool {
	return s == nil || s.taken[port/64]&(1<<(port%64)) == 0
}

// count returns the uses of a port, 0 for a nil set.
func (s *portSet) count(port int) uint32 {
	bit := uint64(1) << (port % 64)
	switch {
	case s == nil || s.taken[port/64]&bit == 0:
		return 0
	case s.others == nil || s.others[port/64]&bit == 0:
		return 1
	}
	return s.counts[port]
}

// unused returns the n-th port without a use, -1 if there are not so many.
func (s *portSet) unused(n int) int {
	for w, taken := range s.taken {
		free := ^taken
		have := bits.OnesCount64(free)
		if n >= have {
			n -= have
			continue
		}
		for ; n > 0; n-- {
			free &= free - 1
		}
		return w*64 + bits.TrailingZeros64(free)
	}
	return -1
}

// nextUnused returns the first port without a use at or behind from, -1 if
// there is none.
func (s *portSet) nextUnused(from int) int {
	for w := from / 64; w < len(s.taken); w++ {
		free := ^s.taken[w]
		if w == from/64 {
			free &= ^uint64(0) << (from % 64)
		}
		if free != 0 {
			return w*64 + bits.TrailingZeros64(free)
		}
	}
	return -1
}
