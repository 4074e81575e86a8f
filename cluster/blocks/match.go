package blocks

import (
	"cmp"
	"slices"
)

// matcher finds the targets within one pool.
type matcher struct {
	s     *sharer
	n     nodes
	index []int // unit -> index of its node

	// Of one address: what each node keeps, the worst first, and the order of
	// each unit with the place where it asks next.
	heaps [][]offer
	order []offer // n for each unit; here offer.unit is the node
	next  []int

	rest []extra // units beyond what every node has of their address
}

// offer is a unit that asks a node.
type offer struct {
	score uint64
	unit  int
}

// extra is a unit of an address that only some nodes get one more of.
type extra struct{ unit, address, node int }

// address matches the units of one address with nodes that keep the same
// number each. What does not fit is left for spread.
func (m *matcher) address(first, units int) {
	n := len(m.n.ids)
	keep := units / n
	m.rank(first, units)
	for i := range m.heaps {
		m.heaps[i] = m.heaps[i][:0]
	}
	for u := first; u < first+units; u++ {
		// asking is the unit that looks for a node; the one that it displaces
		// goes on from where it was refused now.
		asking := u
		for keep > 0 && asking >= 0 && m.next[asking-first] < n {
			i := asking - first
			o := m.order[i*n+m.next[i]]
			m.next[i]++
			h := &m.heaps[o.unit]
			switch {
			case len(*h) < keep:
				push(h, offer{o.score, asking})
				asking = -1
			case (*h)[0].score < o.score:
				worst := (*h)[0].unit
				replace(*h, offer{o.score, asking})
				asking = worst
			}
		}
		if asking >= 0 {
			m.rest = append(m.rest, extra{unit: asking, address: first, node: -1})
		}
	}
	for i, h := range m.heaps {
		for _, o := range h {
			m.index[o.unit] = i
		}
	}
}

// rank writes the order of each unit of an address.
func (m *matcher) rank(first, units int) {
	n := len(m.n.ids)
	m.order = slices.Grow(m.order[:0], units*n)[:units*n]
	m.next = slices.Grow(m.next[:0], units)[:units]
	clear(m.next)
	for u := range units {
		list := m.order[u*n : u*n+n]
		for i, seed := range m.n.seeds {
			o := offer{m.s.score(first+u, seed), i}
			j := i
			for ; j > 0 && list[j-1].score < o.score; j-- {
				list[j] = list[j-1]
			}
			list[j] = o
		}
	}
}

// caps says how many extras each node gets in this pool: the same number, or
// one more for those that have had the fewest in the pools before.
func (m *matcher) caps(pool uint64, had []int) []int {
	n := len(m.n.ids)
	caps, order := make([]int, n), make([]int, n)
	for i := range caps {
		caps[i], order[i] = len(m.rest)/n, i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(had[a], had[b]), cmp.Compare(m.n.seeds[a]^pool, m.n.seeds[b]^pool))
	})
	for _, i := range order[:len(m.rest)%n] {
		caps[i]++
		had[i]++
	}
	return caps
}

// spread gives every extra to a node that has none of the same address yet, in
// the unit's order, and no node more than its cap.
func (m *matcher) spread(caps []int) {
	n := len(m.n.ids)
	got := make([]int, n)
	taken := map[[2]int]bool{} // address, node
	pick := func(x *extra, room func(i int) bool) {
		var score uint64
		for i, seed := range m.n.seeds {
			if s := m.s.score(x.unit, seed); !taken[[2]int{x.address, i}] && room(i) && (x.node < 0 || s > score) {
				x.node, score = i, s
			}
		}
	}
	for i := range m.rest {
		x := &m.rest[i]
		pick(x, func(i int) bool { return got[i] < caps[i] })
		if x.node < 0 {
			pick(x, func(int) bool { return true })
		}
		got[x.node]++
		taken[[2]int{x.address, x.node}] = true
	}
	// Where the last ones found only nodes that were full, one of those passes
	// on an extra of an address that a node with room has none of. There is
	// one, because it has more extras than that node.
	for {
		hi, lo := -1, -1
		for i := range n {
			if got[i] > caps[i] {
				hi = i
			}
			if got[i] < caps[i] {
				lo = i
			}
		}
		if hi < 0 {
			break
		}
		for i := range m.rest {
			x := &m.rest[i]
			if x.node == hi && !taken[[2]int{x.address, lo}] {
				delete(taken, [2]int{x.address, hi})
				taken[[2]int{x.address, lo}] = true
				x.node = lo
				got[hi]--
				got[lo]++
				break
			}
		}
	}
	for _, x := range m.rest {
		m.index[x.unit] = x.node
	}
}

// push and replace keep the offer with the lowest score in front.
func push(h *[]offer, o offer) {
	*h = append(*h, o)
	list := *h
	for i := len(list) - 1; i > 0; {
		up := (i - 1) / 2
		if list[up].score <= list[i].score {
			break
		}
		list[up], list[i] = list[i], list[up]
		i = up
	}
}

func replace(h []offer, o offer) {
	h[0] = o
	for i := 0; ; {
		least := i
		for _, c := range [2]int{2*i + 1, 2*i + 2} {
			if c < len(h) && h[c].score < h[least].score {
				least = c
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
