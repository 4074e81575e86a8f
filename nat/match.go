package nat

import (
	"cmp"
	"slices"

	"cohort/packet"
)

// matcher finds the first rule that matches, without walking the rules (NT1).
//
// It is a tuple space search. A rule's shape is which fields it looks at, and
// for addresses how many bits. Within a shape a rule is found by one look into
// a hash map, under the masked fields; in the cell found there, rules that differ
// only in their ports have been painted into stretches of ports, lowest rule
// first, so that a binary search ends it. Shapes are tried in the order of their
// first rule and the search stops when no later shape can have an earlier rule
// than the one found. So a lookup costs a few map accesses for each shape, and
// configurations have few shapes however many rules they have.
type matcher struct {
	shapes    []shape
	cells     map[tuple]cell
	stretches []stretch
}

// fields are what a rule may look at. As a condition the fields that count are
// said by its shape; as a query all of them are set.
type fields struct {
	src, dst uint32
	srcPort  uint16
	in, out  uint8
	proto    uint8
}

// tuple is fields packed into two words: masking and hashing are then a matter
// of words. The lowest 16 bits of rest are 0, or the number of a shape.
type tuple struct{ addresses, rest uint64 }

func (f fields) pack() tuple {
	return tuple{
		addresses: uint64(f.src)<<32 | uint64(f.dst),
		rest:      uint64(f.srcPort)<<48 | uint64(f.in)<<40 | uint64(f.out)<<32 | uint64(f.proto)<<24,
	}
}

// under returns what a shape looks at, marked with the shape's number: the key
// of a cell.
func (t tuple) under(mask tuple, shape int) tuple {
	return tuple{t.addresses & mask.addresses, t.rest&mask.rest | uint64(shape)}
}

// shape masks a query down to the fields that a group of rules looks at.
type shape struct {
	mask  tuple
	first uint16 // lowest rule of this shape
}

// cell answers for one combination of fields. Cells whose rules look at no
// port have no stretches.
type cell struct {
	rule        uint16
	first, last uint32 // stretches[first:last]
}

// stretch is a run of destination ports, up to the next stretch of the cell,
// for which the same rule is first; 0 is no rule.
type stretch struct{ port, rule uint16 }

// first returns the lowest rule that matches a query, 0 if none does.
func (m *matcher) first(q fields, dstPort uint16) uint16 {
	const none = MaxRules + 1
	best, t := uint32(none), q.pack()
	for i := range m.shapes {
		s := &m.shapes[i]
		if uint32(s.first) > best {
			break
		}
		c, ok := m.cells[t.under(s.mask, i)]
		if !ok {
			continue
		}
		rule := c.rule
		if c.first != c.last {
			rule = stretchOf(m.stretches[c.first:c.last], dstPort)
		}
		if rule != 0 && uint32(rule) < best {
			best = uint32(rule)
		}
	}
	if best == none {
		return 0
	}
	return uint16(best)
}

// stretchOf returns the rule at a port. The first stretch begins at port 0.
func stretchOf(s []stretch, port uint16) uint16 {
	low, high := 0, len(s)
	for high-low > 1 {
		if middle := int(uint(low+high) / 2); s[middle].port <= port {
			low = middle
		} else {
			high = middle
		}
	}
	return s[low].rule
}

// matcherBuilder collects conditions, in rising order of their rules.
type matcherBuilder struct {
	numbers map[tuple]int // of the shapes, by mask
	shapes  []shape
	cells   map[tuple][]paint
}

// paint is what one rule asks of the destination port.
type paint struct {
	rule  uint16
	ports PortRange
}

var allPorts = PortRange{0, 65535}

func newMatcherBuilder() *matcherBuilder {
	return &matcherBuilder{numbers: map[tuple]int{}, cells: map[tuple][]paint{}}
}

// add makes rule match queries that equal want in the bits of mask and go to a
// port in one of ports; no ports mean all.
func (b *matcherBuilder) add(rule uint16, mask, want fields, ports []PortRange) {
	m := mask.pack()
	number, known := b.numbers[m]
	if !known {
		number = len(b.shapes)
		b.numbers[m] = number
		b.shapes = append(b.shapes, shape{mask: m, first: rule})
	}
	key := want.pack().under(m, number)
	if len(ports) == 0 {
		b.cells[key] = append(b.cells[key], paint{rule, allPorts})
	}
	for _, p := range ports {
		b.cells[key] = append(b.cells[key], paint{rule, p})
	}
}

// build returns the matcher. Rules were added in rising order, so shapes are
// already sorted by their first rule.
func (b *matcherBuilder) build() matcher {
	m := matcher{shapes: b.shapes, cells: make(map[tuple]cell, len(b.cells))}
	for key, paints := range b.cells {
		c := cell{rule: paints[0].rule}
		if paints[0].ports != allPorts {
			c.first = uint32(len(m.stretches))
			m.stretches = append(m.stretches, paintStretches(paints)...)
			c.last = uint32(len(m.stretches))
		}
		m.cells[key] = c
	}
	return m
}

// paintStretches lays paints over the ports; what is painted stays, so the
// earliest rule of each port remains.
func paintStretches(paints []paint) []stretch {
	edges := []int{0}
	for _, p := range paints {
		edges = append(edges, int(p.ports.First), int(p.ports.Last)+1)
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	if edges[len(edges)-1] != 1<<16 {
		edges = append(edges, 1<<16)
	}
	rules := make([]uint16, len(edges))
	next := make([]int, len(edges)) // where to look for the next place without paint
	for i := range next {
		next[i] = i
	}
	blank := func(i int) int {
		for next[i] != i {
			next[i] = next[next[i]]
			i = next[i]
		}
		return i
	}
	for _, p := range paints {
		begin, _ := slices.BinarySearch(edges, int(p.ports.First))
		end, _ := slices.BinarySearch(edges, int(p.ports.Last)+1)
		for i := blank(begin); i < end; i = blank(i) {
			rules[i], next[i] = p.rule, i+1
		}
	}
	var out []stretch
	for i, edge := range edges[:len(edges)-1] {
		if len(out) == 0 || out[len(out)-1].rule != rules[i] {
			out = append(out, stretch{uint16(edge), rules[i]})
		}
	}
	return out
}

// prefixSet is a set of prefixes, asked for whether one of them contains an
// address: one look into a map for every length that occurs.
type prefixSet struct {
	masks []uint32
	have  map[prefixKey]struct{}
}

type prefixKey struct{ mask, addr uint32 }

func (s *prefixSet) add(addr, mask uint32) {
	if s.have == nil {
		s.have = map[prefixKey]struct{}{}
	}
	if !slices.Contains(s.masks, mask) {
		s.masks = append(s.masks, mask)
		slices.SortFunc(s.masks, func(a, b uint32) int { return cmp.Compare(b, a) })
	}
	s.have[prefixKey{mask, addr & mask}] = struct{}{}
}

func (s *prefixSet) contains(addr uint32) bool {
	for _, mask := range s.masks {
		if _, ok := s.have[prefixKey{mask, addr & mask}]; ok {
			return true
		}
	}
	return false
}

// query is the match fields of a packet that enters at in and leaves at out.
func query(in, out uint8, k packet.FlowKey, dst packet.Addr) fields {
	return fields{src: number(k.Src), dst: number(dst), srcPort: k.SrcPort, in: in, out: out, proto: k.Proto}
}
