package list

import (
	"math/rand/v2"
	"slices"
	"testing"
)

type thing struct {
	n        int
	one, two Link[thing]
}

func order(l *List[thing], at func(*thing) *Link[thing]) (all []int) {
	for e := l.First(); e != nil; e = at(e).Next() {
		all = append(all, e.n)
	}
	return all
}

// TestList_IsAsASlice: an element may be in two lists at once, and both are, after
// every step, what slices that are treated the same way are.
func TestList_IsAsASlice(t *testing.T) {
	const things, steps = 9, 20000
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]thing, things)
	links := []func(*thing) *Link[thing]{
		func(e *thing) *Link[thing] { return &e.one },
		func(e *thing) *Link[thing] { return &e.two },
	}
	var lists [2]List[thing]
	var model [2][]int
	for step := range steps {
		n, i := r.IntN(things), r.IntN(2)
		all[n].n = n
		l, at := &lists[i], links[i](&all[n])
		if j := slices.Index(model[i], n); j >= 0 {
			l.Remove(at)
			model[i] = slices.Delete(model[i], j, j+1)
		} else {
			l.Push(at, &all[n])
			model[i] = append(model[i], n)
		}
		for i := range lists {
			if got := order(&lists[i], links[i]); !slices.Equal(got, model[i]) {
				t.Fatalf("step %d: list %d is %v, want %v", step, i, got, model[i])
			}
			if last := lists[i].Last(); (last == nil) != (len(model[i]) == 0) || last != nil && last.n != model[i][len(model[i])-1] {
				t.Fatalf("step %d: the last of list %d is %v, want that of %v", step, i, last, model[i])
			}
		}
	}
}

// TestList_AWalkOutlivesARemoval of the element that it has reached.
func TestList_AWalkOutlivesARemoval(t *testing.T) {
	var l List[thing]
	all := []thing{{n: 0}, {n: 1}, {n: 2}}
	for i := range all {
		l.Push(&all[i].one, &all[i])
	}
	seen := 0
	for e := l.First(); e != nil; e = e.one.Next() {
		l.Remove(&e.one)
		seen++
	}
	if seen != 3 || l.First() != nil || l.Last() != nil {
		t.Errorf("a walk that removes what it reaches saw %d of 3; %v is left", seen, l.First())
	}
}

// BenchmarkList is one element that comes and goes: no allocation.
func BenchmarkList(b *testing.B) {
	var l List[thing]
	all := make([]thing, 64)
	for i := range all {
		l.Push(&all[i].one, &all[i])
	}
	b.ReportAllocs()
	for i := range b.N {
		e := &all[i%64]
		l.Remove(&e.one)
		l.Push(&e.one, e)
	}
}

func TestList_AllocatesNothing(t *testing.T) {
	var l List[thing]
	var e thing
	if n := testing.AllocsPerRun(1000, func() { l.Push(&e.one, &e); l.Remove(&e.one) }); n != 0 {
		t.Errorf("%v allocations for one push and one removal", n)
	}
}
