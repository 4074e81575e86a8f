package order

import (
	"encoding/binary"
	"slices"

	"github.com/dchest/siphash"

	"cohort/ccl/wire"
	"cohort/packet"
)

// Order ranks the members of one view for any key. It is immutable: any number
// of goroutines may use it. The zero Order has no members and answers 0.
type Order struct {
	k0, k1 uint64
	n      int // nodes
	stay   int // of them, the first: those that do not drain
	ids    [wire.MaxNodes]wire.NodeID
	seeds  [wire.MaxNodes]uint64
}

// New makes the order of view v under the cluster-wide secret seed. All nodes
// of a cluster must use the same seed. A nil view gives an order of nobody.
// Members beyond wire.MaxNodes-1, which no valid view has, are ignored.
func New(seed [16]byte, v *wire.View) *Order {
	o := &Order{
		k0: binary.LittleEndian.Uint64(seed[:8]),
		k1: binary.LittleEndian.Uint64(seed[8:]),
	}
	if v == nil {
		return o
	}
	add := func(drains bool) {
		for i := range v.Members {
			if m := &v.Members[i]; o.n < wire.MaxNodes && v.Drains(m.ID) == drains {
				o.ids[o.n] = m.ID
				o.seeds[o.n] = siphash.Hash(o.k0, o.k1, []byte(m.Name))
				o.n++
			}
		}
	}
	add(false)
	o.stay = o.n
	add(true)
	return o
}

// Len is the number of nodes ranked.
func (o *Order) Len() int { return o.n }

// Hash is the keyed hash of a connection: the same for both directions (FR2)
// and on every node.
func (o *Order) Hash(k packet.FlowKey) uint64 {
	k, _ = k.Canonical()
	var b [16]byte
	copy(b[0:4], k.Src[:])
	copy(b[4:8], k.Dst[:])
	binary.BigEndian.PutUint16(b[8:], k.SrcPort)
	binary.BigEndian.PutUint16(b[10:], k.DstPort)
	b[12], b[13] = k.Proto, k.Zone
	return siphash.Hash(o.k0, o.k1, b[:])
}

// Director returns the first node of the order, or 0 when there is none.
func (o *Order) Director(k packet.FlowKey) wire.NodeID {
	first, _ := o.Two(k)
	return first
}

// Two returns the first two nodes of the order; 0 stands for a missing one.
func (o *Order) Two(k packet.FlowKey) (first, second wire.NodeID) {
	h := o.Hash(k)
	if first, second = o.two(h, 0, o.stay); second == 0 && o.stay < o.n {
		third, fourth := o.two(h, o.stay, o.n)
		if second = third; first == 0 {
			first, second = third, fourth
		}
	}
	return first, second
}

// two returns the first two of the nodes from i to n.
func (o *Order) two(h uint64, i, n int) (first, second wire.NodeID) {
	var s1, s2 uint64
	for ; i < n; i++ {
		s := mix64(h ^ o.seeds[i])
		switch {
		case first == 0 || s > s1:
			second, s2 = first, s1
			first, s1 = o.ids[i], s
		case second == 0 || s > s2:
			second, s2 = o.ids[i], s
		}
	}
	return first, second
}

// Backup returns the first node of the order that is not owner (FR3), or 0
// when there is none: then the connection is unprotected.
func (o *Order) Backup(k packet.FlowKey, owner wire.NodeID) wire.NodeID {
	first, second := o.Two(k)
	if first != owner {
		return first
	}
	return second
}

// Rank appends all nodes in order to buf[:0] and returns it. It allocates only
// when buf is too small.
func (o *Order) Rank(k packet.FlowKey, buf []wire.NodeID) []wire.NodeID {
	h := o.Hash(k)
	var scores [wire.MaxNodes]uint64
	buf = slices.Grow(buf[:0], o.n)
	for i, seed := range o.seeds[:o.n] {
		s := mix64(h ^ seed)
		j, from := len(buf), 0
		if i >= o.stay {
			from = o.stay
		}
		buf = append(buf, 0)
		for ; j > from && scores[j-1] < s; j-- {
			buf[j], scores[j] = buf[j-1], scores[j-1]
		}
		buf[j], scores[j] = o.ids[i], s
	}
	return buf
}

// mix64 is the finalizer of SplitMix64: a bijection in which every input bit
// changes every output bit with probability close to one half. Being a
// bijection, two nodes tie only when their names hash alike; then the lower id
// comes first, on every node.
func mix64(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
