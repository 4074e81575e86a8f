package nat

import (
	"math/bits"

	"cohort/packet"
)

// addressIndex finds the number of an address. Every first packet asks it
// several times over, mostly about addresses that are in no pool, and a general
// map is the larger part of that cost. It is at most half full, so that such a
// question ends after one place or two. 0.0.0.0 marks a free place and is in no
// pool.
type addressIndex struct {
	places []addressPlace // a power of two
	shift  uint
	n      int
}

type addressPlace struct {
	addr packet.Addr
	at   uint32
}

// find returns the place of a, or the free one where it would go. There always
// is one.
func (x *addressIndex) find(a packet.Addr) (place int, ok bool) {
	// Addresses are an administrator's and not an attacker's: no keyed hash.
	for i := int(number(a) * 0x9e3779b1 >> x.shift); ; i = (i + 1) & (len(x.places) - 1) {
		switch x.places[i].addr {
		case a:
			return i, a != packet.Addr{}
		case packet.Addr{}:
			return i, false
		}
	}
}

// get returns what put stored for a.
func (x *addressIndex) get(a packet.Addr) (at uint32, ok bool) {
	if x.n == 0 {
		return 0, false
	}
	i, ok := x.find(a)
	return x.places[i].at, ok
}

// put adds an address that is not there yet.
func (x *addressIndex) put(a packet.Addr, at uint32) {
	if 2*(x.n+1) > len(x.places) {
		old := x.places
		x.places = make([]addressPlace, max(2*len(old), 4))
		x.shift = uint(32 - bits.TrailingZeros(uint(len(x.places))))
		for _, p := range old {
			if p.addr != (packet.Addr{}) {
				i, _ := x.find(p.addr)
				x.places[i] = p
			}
		}
	}
	i, _ := x.find(a)
	x.places[i] = addressPlace{a, at}
	x.n++
}
