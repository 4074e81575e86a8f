package policy

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// interval is a closed range of a field's values.
type interval struct{ first, last uint32 }

// field answers for one field of a packet (an address, a port) which rules
// match its value: those that do not look at the field, plus those of the
// stretch of values that it lies in. Within a stretch every value matches the
// same rules.
type field struct {
	free   dense    // rules without a condition on this field
	starts []uint32 // first value of each stretch, ascending; the first is 0
	set    []uint32 // index into sets, per stretch
	sets   []sparse // distinct sets
}

// find returns the rules with a condition that value meets.
func (f *field) find(value uint32) *sparse {
	low, high := 0, len(f.starts)
	for high-low > 1 {
		middle := int(uint(low+high) / 2)
		if f.starts[middle] <= value {
			low = middle
		} else {
			high = middle
		}
	}
	return &f.sets[f.set[low]]
}

// border is where a rule's condition begins or ends to hold.
type border struct {
	at    uint64 // one past the largest value is possible
	rule  uint16
	begin bool
}

// fieldBuilder collects the conditions of all rules on one field.
type fieldBuilder struct {
	rules   int
	free    dense
	borders []border
}

func newFieldBuilder(rules int) *fieldBuilder {
	return &fieldBuilder{rules: rules, free: newDense(rules)}
}

// add states that rule matches values in any of the intervals; none means all
// values.
func (b *fieldBuilder) add(rule uint16, alternatives []interval) {
	if len(alternatives) == 0 {
		b.free.add(rule)
		return
	}
	slices.SortFunc(alternatives, func(x, y interval) int { return cmp.Compare(x.first, y.first) })
	// Overlapping and touching alternatives become one, so that a border
	// simply adds or removes the rule.
	first, end := uint64(alternatives[0].first), uint64(alternatives[0].last)+1
	for _, i := range alternatives[1:] {
		if uint64(i.first) > end {
			b.borders = append(b.borders, border{first, rule, true}, border{end, rule, false})
			first, end = uint64(i.first), 0
		}
		end = max(end, uint64(i.last)+1)
	}
	b.borders = append(b.borders, border{first, rule, true}, border{end, rule, false})
}

// build sweeps over the borders and keeps the set between each two of them.
// budget is how many words may still be kept; it is reduced, and false means
// that it was not enough.
func (b *fieldBuilder) build(budget *int) (field, bool) {
	f := field{free: b.free}
	known := map[string]uint32{} // encoded set -> index
	var encoded []byte
	current := newDense(b.rules)
	keep := func(start uint32) bool {
		encoded = encoded[:0]
		for w, bits := range current {
			if bits != 0 {
				encoded = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint16(encoded, uint16(w)), bits)
			}
		}
		index, ok := known[string(encoded)]
		if !ok {
			index = uint32(len(f.sets))
			known[string(encoded)] = index
			f.sets = append(f.sets, shrink(current))
			*budget -= len(f.sets[index].words)
		}
		f.starts, f.set = append(f.starts, start), append(f.set, index)
		return *budget >= 0
	}

	slices.SortFunc(b.borders, func(x, y border) int { return cmp.Compare(x.at, y.at) })
	if len(b.borders) == 0 || b.borders[0].at > 0 {
		keep(0)
	}
	for i := 0; i < len(b.borders); {
		at := b.borders[i].at
		for ; i < len(b.borders) && b.borders[i].at == at; i++ {
			if b.borders[i].begin {
				current.add(b.borders[i].rule)
			} else {
				current.remove(b.borders[i].rule)
			}
		}
		if at <= 1<<32-1 && !keep(uint32(at)) {
			return field{}, false
		}
	}
	return f, true
}
