package policy

import (
	"errors"
	"math/bits"
	"net/netip"

	"cohort/packet"
)

// maxWords bounds the memory of the fields' sets: 8 bytes each. Ten thousand
// ordinary rules need well under a million.
const maxWords = 1 << 25

var errTooWide = errors.New("the rules' addresses and ports overlap so much that their table would not fit into 256 MiB; use fewer or wider networks")

// table finds the first rule that matches by intersecting, 64 rules at a time,
// the sets of rules that each field of the packet allows.
type table struct {
	words    int
	ins      [MaxZones]dense
	outs     [MaxZones]dense
	protos   [256]*dense // several protocols share a set
	src, dst field
	port     field
}

// first returns the lowest number of a rule that matches, 0 if none does. The
// caller has checked the zones.
func (t *table) first(in, out uint8, key packet.FlowKey) uint16 {
	if t.words == 0 {
		return 0
	}
	ins, outs, protos := t.ins[in], t.outs[out], *t.protos[key.Proto]
	src, dst, port := t.src.find(number(key.Src)), t.dst.find(number(key.Dst)), t.port.find(uint32(key.DstPort))
	for w := range t.words {
		match := ins[w] & outs[w] & protos[w]
		if match == 0 {
			continue
		}
		match &= t.src.free[w] | src.word(w)
		match &= t.dst.free[w] | dst.word(w)
		if match == 0 {
			continue
		}
		match &= t.port.free[w] | port.word(w)
		if match != 0 {
			return uint16(w*64 + bits.TrailingZeros64(match))
		}
	}
	return 0
}

// newTable builds the table of rules that have been checked, with at most
// budget words in its fields' sets. Rule numbers are positions from 1.
func newTable(rules []Rule, budget int) (table, error) {
	n := len(rules)
	if n == 0 {
		return table{}, nil
	}
	t := table{words: len(newDense(n))}
	t.zones(rules)
	t.protocols(rules)
	src, dst, port := newFieldBuilder(n), newFieldBuilder(n), newFieldBuilder(n)
	for i := range rules {
		number := uint16(i + 1)
		src.add(number, addresses(rules[i].Source))
		dst.add(number, addresses(rules[i].Destination))
		port.add(number, portIntervals(rules[i].Ports))
	}
	for _, f := range []struct {
		builder *fieldBuilder
		to      *field
	}{{src, &t.src}, {dst, &t.dst}, {port, &t.port}} {
		built, ok := f.builder.build(&budget)
		if !ok {
			return table{}, errTooWide
		}
		*f.to = built
	}
	return t, nil
}

func (t *table) zones(rules []Rule) {
	for zone := range uint8(MaxZones) {
		t.ins[zone], t.outs[zone] = newDense(len(rules)), newDense(len(rules))
		for i, r := range rules {
			if r.From == Any || r.From == zone {
				t.ins[zone].add(uint16(i + 1))
			}
			if r.To == Any || r.To == zone {
				t.outs[zone].add(uint16(i + 1))
			}
		}
	}
}

// protocols gives every protocol that a rule names a set of its own and all
// others the set of the rules that name none.
func (t *table) protocols(rules []Rule) {
	others := newDense(len(rules))
	for i, r := range rules {
		if r.Proto == AnyProtocol {
			others.add(uint16(i + 1))
		}
	}
	for p := range t.protos {
		t.protos[p] = &others
	}
	for i, r := range rules {
		if r.Proto == AnyProtocol {
			continue
		}
		if t.protos[r.Proto] == &others {
			own := append(dense(nil), others...)
			t.protos[r.Proto] = &own
		}
		t.protos[r.Proto].add(uint16(i + 1))
	}
}

// addresses returns the ranges of prefixes; host bits are ignored. A prefix of
// length 0 is the same as no condition.
func addresses(prefixes []netip.Prefix) []interval {
	var out []interval
	for _, p := range prefixes {
		if p.Bits() == 0 {
			return nil
		}
		first := number(p.Masked().Addr().As4())
		out = append(out, interval{first, first | (1<<(32-p.Bits()) - 1)})
	}
	return out
}

func portIntervals(ports []Ports) []interval {
	var out []interval
	for _, p := range ports {
		out = append(out, interval{uint32(p.First), uint32(p.Last)})
	}
	return out
}
