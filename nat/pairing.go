package nat

import (
	"cmp"
	"slices"

	"cohort/packet"
)

// Paired pooling (RFC 4787 REQ-2, RFC 6888): all connections of an inside host
// should leave with the same public address. Nobody has to remember which: a
// host's address is the one that scores highest in a hash of both, the same on
// every node. An address more or less moves only the hosts of that address.

// Home returns the first unit of the address that a host is paired with in a
// pool. Protocols without ports can only be translated by the holder of that
// unit (see UnitOf), if not by one of another address's: a node that has none hands
// their first packets there (Elsewhere).
func (g *Geometry) Home(pool int, host packet.Addr) (unit int) {
	return int(g.addresses[g.home(pool, host)].FirstUnit)
}

// home returns the index of the host's address.
func (g *Geometry) home(pool int, host packet.Addr) int {
	p := &g.pools[pool]
	best, at := uint64(0), p.firstAddress
	for i := range p.Addresses {
		if s := score(host, g.addresses[p.firstAddress+i].Addr); s > best {
			best, at = s, p.firstAddress+i
		}
	}
	return at
}

// homes remembers the last answers of Geometry.home: scoring the 256 addresses
// of a large pool costs more than all the rest of an allocation. Answers never
// change, so an entry that another host takes over is only forgotten.
type homes [4096]struct {
	host    packet.Addr
	pool    uint16 // + 1
	address uint16
}

func (p *Ports) home(pool int, host packet.Addr) int {
	e := &p.homes[score(host, packet.Addr{})%uint64(len(p.homes))]
	if e.host != host || e.pool != uint16(pool)+1 {
		e.host, e.pool, e.address = host, uint16(pool)+1, uint16(p.g.home(pool, host))
	}
	return int(e.address)
}

// ranked is an address and its score for some host.
type ranked struct {
	score   uint64
	address int // index into Geometry.addresses
}

// rank fills buf with all addresses of a pool, best first. It allocates only
// when buf is too small.
func (g *Geometry) rank(pool int, host packet.Addr, buf []ranked) []ranked {
	p := &g.pools[pool]
	buf = buf[:0]
	for i := range p.Addresses {
		at := p.firstAddress + i
		buf = append(buf, ranked{score(host, g.addresses[at].Addr), at})
	}
	slices.SortFunc(buf, func(a, b ranked) int { return cmp.Compare(b.score, a.score) })
	return buf
}

// score is a bijection of the pair (the finalizer of SplitMix64), so two
// addresses never tie for a host.
func score(host, a packet.Addr) uint64 {
	x := uint64(number(host))<<32 | uint64(number(a))
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
