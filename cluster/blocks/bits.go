package blocks

import (
	"math/bits"

	"cohort/ccl/wire"
)

// bitset is a set of units.
type bitset []uint64

func newBitset(units int) bitset { return make(bitset, (units+63)/64) }

func (s bitset) has(u int) bool { return s[u>>6]>>(u&63)&1 != 0 }
func (s bitset) set(u int)      { s[u>>6] |= 1 << (u & 63) }
func (s bitset) clear(u int)    { s[u>>6] &^= 1 << (u & 63) }

func (s bitset) setRange(r wire.UnitRange) {
	for u := int(r.First); u < int(r.First+r.Count); u++ {
		s.set(u)
	}
}

func (s bitset) count() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// next returns the first member of the set that is u or greater, or -1.
func (s bitset) next(u int) int {
	i := u >> 6
	if i >= len(s) {
		return -1
	}
	for w := s[i] >> (u & 63) << (u & 63); ; w = s[i] {
		if w != 0 {
			return i<<6 + bits.TrailingZeros64(w)
		}
		if i++; i == len(s) {
			return -1
		}
	}
}

// anyIn reports whether s has a unit from lo to hi that not does not have.
func anyIn(s, not bitset, lo, hi int) bool {
	for i := lo >> 6; i<<6 < hi; i++ {
		if s[i]&^not[i]&window(i, lo, hi) != 0 {
			return true
		}
	}
	return false
}

// countIn counts the units of s from lo to hi.
func countIn(s bitset, lo, hi int) (n int) {
	for i := lo >> 6; i<<6 < hi; i++ {
		n += bits.OnesCount64(s[i] & window(i, lo, hi))
	}
	return n
}

// window has the bits of word i whose units are from lo to hi.
func window(i, lo, hi int) uint64 {
	w := ^uint64(0)
	if first := i << 6; first < lo {
		w <<= lo - first
	}
	if end := (i + 1) << 6; end > hi {
		w &= ^uint64(0) >> (end - hi)
	}
	return w
}

// ranger collects units that come in rising order into ranges.
type ranger []wire.UnitRange

func (r *ranger) add(u int) {
	if n := len(*r); n > 0 {
		if last := &(*r)[n-1]; last.First+last.Count == uint32(u) {
			last.Count++
			return
		}
	}
	*r = append(*r, wire.UnitRange{First: uint32(u), Count: 1})
}

// each calls f for every unit of the ranges that exists here.
func each(list []wire.UnitRange, units int, f func(u int)) {
	for _, r := range list {
		for u := int(r.First); u < int(r.First+r.Count) && u < units; u++ {
			f(u)
		}
	}
}
