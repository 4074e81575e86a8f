package blocks

import (
	"encoding/binary"

	"github.com/dchest/siphash"

	"cohort/ccl/wire"
)

// sharer computes, from a view alone, which node should hold which unit and
// who stands in for the holder. Everybody comes to the same result.
//
// Each node scores each unit, as in cluster/order. The order of a unit is its
// nodes by falling score. Targets have bounds on top: of an address with b
// units, each of n nodes gets b/n or one more, and of a pool too. Within an
// address, nodes and units are matched like students and schools: each unit
// asks nodes in its order, and a node that is full keeps the units of higher
// score. The outcome does not depend on who asks first, so one node more or
// less moves little beyond its own share.
type sharer struct {
	k0, k1 uint64
	pools  []Range
	units  []uint64 // hash of every unit
}

func newSharer(seed [16]byte, pools []Range, names []uint64, units int) *sharer {
	s := &sharer{
		k0: binary.LittleEndian.Uint64(seed[:8]), k1: binary.LittleEndian.Uint64(seed[8:]),
		pools: pools, units: make([]uint64, units),
	}
	for u := range s.units {
		var b [8]byte
		if names == nil {
			binary.BigEndian.PutUint64(b[:], uint64(u))
		} else {
			binary.BigEndian.PutUint64(b[:], names[u])
		}
		s.units[u] = siphash.Hash(s.k0, s.k1, b[:])
	}
	return s
}

// nodes are the members that take part, in the order of the view.
type nodes struct {
	ids   []wire.NodeID
	seeds []uint64
}

// nodes returns the members of v for which in is true.
func (s *sharer) nodes(v *wire.View, in func(wire.NodeID) bool) nodes {
	var n nodes
	for i := range v.Members {
		if m := &v.Members[i]; in == nil || in(m.ID) {
			n.ids = append(n.ids, m.ID)
			n.seeds = append(n.seeds, siphash.Hash(s.k0, s.k1, []byte("node "+m.Name)))
		}
	}
	return n
}

// score is mix64 of SplitMix64: see cluster/order.
func (s *sharer) score(u int, seed uint64) uint64 {
	x := s.units[u] ^ seed
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// firsts returns the first three nodes of every unit's order; 0 stands for a
// missing one.
func (s *sharer) firsts(n nodes) [][3]wire.NodeID {
	list := make([][3]wire.NodeID, len(s.units))
	for u := range list {
		var best [3]uint64
		f := &list[u]
		for i, seed := range n.seeds {
			id, score := n.ids[i], s.score(u, seed)
			for k := range f {
				if f[k] == 0 || score > best[k] {
					f[k], id = id, f[k]
					best[k], score = score, best[k]
				}
				if id == 0 {
					break
				}
			}
		}
	}
	return list
}

// targets returns the node that should hold each unit.
func (s *sharer) targets(n nodes) []wire.NodeID {
	t := make([]wire.NodeID, len(s.units))
	if len(n.ids) == 0 {
		return t
	}
	m := matcher{s: s, n: n, index: make([]int, len(s.units)), heaps: make([][]offer, len(n.ids))}
	had := make([]int, len(n.ids)) // pools of which a node has one more than another
	for i, p := range s.pools {
		m.rest = m.rest[:0]
		for a := p.First; a < p.First+p.Units; a += p.PerAddress {
			m.address(a, min(p.PerAddress, p.First+p.Units-a))
		}
		m.spread(m.caps(uint64(i), had))
		for u := p.First; u < p.First+p.Units; u++ {
			t[u] = n.ids[m.index[u]]
		}
	}
	return t
}
