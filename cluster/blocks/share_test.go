package blocks

import (
	"fmt"
	"slices"
	"testing"

	"cohort/ccl/wire"
)

// members is a view of nodes with these ids, named after them.
func members(term uint32, ids ...int) *wire.View {
	v := &wire.View{Term: term, Epoch: 1, Control: wire.NodeID(ids[0])}
	for _, id := range ids {
		v.Members = append(v.Members, wire.Member{ID: wire.NodeID(id), Name: fmt.Sprint("fw-", id), Incarnation: wire.Incarnation(1000 + id)})
	}
	return v
}

func upTo(n int) (ids []int) {
	for id := 1; id <= n; id++ {
		ids = append(ids, id)
	}
	return ids
}

// pools lays pools one after another: {addresses, units per address}.
func pools(sizes ...[2]int) (list []Range) {
	first := 0
	for _, s := range sizes {
		list = append(list, Range{first, s[0] * s[1], s[1]})
		first += s[0] * s[1]
	}
	return list
}

func targetsOf(list []Range, v *wire.View) []wire.NodeID {
	c := Config{Pools: list}
	s := newSharer([16]byte{1, 2, 3}, list, nil, c.units())
	return s.targets(s.nodes(v, nil))
}

func counts(t []wire.NodeID, v *wire.View) (list []int) {
	n := map[wire.NodeID]int{}
	for _, id := range t {
		n[id]++
	}
	for _, m := range v.Members {
		list = append(list, n[m.ID])
	}
	slices.Sort(list)
	return list
}

func TestNT2_FourNodesShare126BlocksAs31_31_32_32(t *testing.T) {
	v := members(1, 1, 2, 3, 4)
	if got := counts(targetsOf(pools([2]int{1, 126}), v), v); !slices.Equal(got, []int{31, 31, 32, 32}) {
		t.Fatal(got)
	}
}

// Of every address, of every pool and of everything, nodes differ by one.
func TestNT2_SharesDifferByOneAtMost(t *testing.T) {
	for _, layout := range [][][2]int{
		{{1, 126}}, {{2, 126}}, {{7, 126}}, {{3, 16}, {2, 15}}, {{30, 1}}, {{5, 126}, {100, 1}, {1, 1}, {9, 63}},
	} {
		for n := 1; n <= 16; n++ {
			list, v := pools(layout...), members(1, upTo(n)...)
			got := targetsOf(list, v)
			check := func(what string, part []wire.NodeID) {
				if c := counts(part, v); c[n-1]-c[0] > 1 {
					t.Errorf("%v, %d nodes: %s: %v", layout, n, what, c)
				}
			}
			check("all", got)
			for i, p := range list {
				check(fmt.Sprint("pool ", i), got[p.First:p.First+p.Units])
				for a := p.First; a < p.First+p.Units; a += p.PerAddress {
					check(fmt.Sprint("units from ", a), got[a:a+p.PerAddress])
				}
			}
		}
	}
}

// One node less moves its own share and little more. What comes on top is the
// price of shares that are equal to one unit, also of every address.
func TestNT3_OneNodeMoreOrLessMovesLittle(t *testing.T) {
	for _, layout := range [][][2]int{{{1, 126}}, {{8, 126}}, {{256, 1}}} {
		for _, n := range []int{2, 3, 4, 5, 8, 16} {
			list := pools(layout...)
			worst := 0.0
			for gone := 1; gone <= n; gone++ {
				ids := slices.DeleteFunc(upTo(n), func(id int) bool { return id == gone })
				before := targetsOf(list, members(1, upTo(n)...))
				after := targetsOf(list, members(1, ids...))
				if len(ids) == 0 {
					continue
				}
				moved := 0
				for u := range before {
					if before[u] != after[u] {
						moved++
					}
				}
				worst = max(worst, float64(moved)/float64(len(before)))
			}
			t.Logf("%v, %d nodes: %.3f, 1/n is %.3f", layout, n, worst, 1/float64(n))
			if worst > 1/float64(n)+0.15 {
				t.Errorf("%v, %d nodes: one node less moves %.3f", layout, n, worst)
			}
		}
	}
}

func TestSharesFollowNamesAndTheSeed(t *testing.T) {
	list, v := pools([2]int{3, 126}), members(1, 1, 2, 3)
	a := targetsOf(list, v)
	for i := range v.Members {
		v.Members[i].ID += 10
		v.Members[i].Incarnation = 5
	}
	for u, id := range targetsOf(list, v) {
		if id != a[u]+10 {
			t.Fatalf("unit %d: %d became %d", u, a[u], id)
		}
	}
	other := newSharer([16]byte{9}, list, nil, 378)
	same := 0
	for u, id := range other.targets(other.nodes(members(1, 1, 2, 3), nil)) {
		if id == a[u] {
			same++
		}
	}
	if same > 190 {
		t.Fatalf("%d of 378 targets are the same under another seed", same)
	}
}

// Without its first node, a unit's order is the rest of it: who stands in for
// a dead holder is who had the stubs.
func TestFR6_OrderSurvivesLosses(t *testing.T) {
	list := pools([2]int{4, 126})
	s := newSharer([16]byte{4}, list, nil, 504)
	all := s.firsts(s.nodes(members(1, 1, 2, 3, 4, 5), nil))
	for gone := 1; gone <= 5; gone++ {
		less := s.firsts(s.nodes(members(1, slices.DeleteFunc(upTo(5), func(id int) bool { return id == gone })...), nil))
		for u := range all {
			want := slices.DeleteFunc(slices.Clone(all[u][:]), func(id wire.NodeID) bool { return int(id) == gone })
			if !slices.Equal(less[u][:len(want)], want) {
				t.Fatalf("unit %d without %d: %v became %v", u, gone, all[u], less[u])
			}
		}
	}
	if f := s.firsts(s.nodes(members(1, 1), nil)); f[0] != [3]wire.NodeID{1, 0, 0} {
		t.Fatal(f[0])
	}
}

// The matching is stable: no unit and node would both rather have each other.
// That is what makes it independent of the order in which units ask.
func TestMatchingIsStable(t *testing.T) {
	const units, n = 126, 7
	list := pools([2]int{1, units})
	s := newSharer([16]byte{5}, list, nil, units)
	nodes := s.nodes(members(1, upTo(n)...), nil)
	m := matcher{s: s, n: nodes, index: make([]int, units), heaps: make([][]offer, n)}
	m.address(0, units)
	rest := map[int]bool{}
	for _, x := range m.rest {
		rest[x.unit] = true
	}
	if len(rest) != units%n {
		t.Fatalf("%d units are left", len(rest))
	}
	for u := range units {
		for i, seed := range nodes.seeds {
			mine := s.score(u, seed)
			if !rest[u] && mine <= s.score(u, nodes.seeds[m.index[u]]) {
				continue
			}
			for w := range units {
				if !rest[w] && m.index[w] == i && s.score(w, seed) < mine {
					t.Fatalf("unit %d should have node %d before unit %d", u, i, w)
				}
			}
		}
	}
}

func BenchmarkShare(b *testing.B) {
	for _, n := range []int{4, 16} {
		b.Run(fmt.Sprintf("units=32256/nodes=%d", n), func(b *testing.B) {
			list, v := pools([2]int{256, 126}), members(1, upTo(n)...)
			s := newSharer([16]byte{1}, list, nil, 256*126)
			b.ReportAllocs()
			for b.Loop() {
				all := s.nodes(v, nil)
				s.firsts(all)
				s.targets(all)
			}
		})
	}
}
