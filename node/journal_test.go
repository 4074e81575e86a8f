package node

import (
	"path/filepath"
	"slices"
	"testing"

	"cohort/ccl/wire"
	"cohort/cluster/blocks"
)

// The journal outlives the process that wrote it, and is believed by the same
// incarnation with the same pools only (NT4).
func TestNT4_JournalOfHeldUnits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "units.held")
	open := func(cut uint32) *unitJournal {
		t.Helper()
		j, err := openJournal(path, cut)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = j.close() })
		return j
	}
	const life = wire.Incarnation(77)
	j := open(1)
	if _, _, ok := j.held(life); ok {
		t.Error("an empty journal is believed")
	}
	j.begin(life)
	j.View(5)
	for _, u := range []int{0, 9, 32767} {
		j.Hold(u, true)
	}
	j.Hold(9, false)
	units, view, ok := open(1).held(life) // nobody closed the first: the process was killed
	if !ok || view != 5 || !slices.Equal(units, []int{0, 32767}) {
		t.Fatalf("held %v, view %d, %v", units, view, ok)
	}
	if _, _, ok := open(1).held(life + 1); ok {
		t.Error("another incarnation believes it")
	}
	if _, _, ok := open(2).held(life); ok {
		t.Error("it is believed although the pools are others")
	}
	open(2).begin(life)
	if units, _, ok := open(2).held(life); !ok || len(units) != 0 {
		t.Errorf("a new journal holds %v, %v", units, ok)
	}
}

// A process that is killed leaves the next one what it took of whom, so that
// what is under way to it is neither lost nor taken twice; also where a reload
// gave the units other numbers. And what it gave away in its last view. Another
// life did neither.
func TestHL5_JournalOfGives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "units.held")
	j, err := openJournal(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	j.begin(77)
	j.View(5)
	j.Took(blocks.Taken{From: 63, Life: 9, Seq: 1 << 60})
	j.Took(blocks.Taken{From: 1, Life: 8, Seq: 4})
	j.Took(blocks.Taken{From: 1, Life: 8, Seq: 5})
	j.Took(blocks.Taken{From: 2, Life: 6, Seq: 9})
	j.Took(blocks.Taken{From: 2, Life: 7, Seq: 3})
	j.Hold(wire.MaxUnits-1, true)
	want := []blocks.Taken{{From: 1, Life: 8, Seq: 5}, {From: 2, Life: 7, Seq: 3}, {From: 63, Life: 9, Seq: 1 << 60}}
	next, err := openJournal(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer next.close()
	units, _, ok := next.held(77)
	if got := next.took(); !slices.Equal(got, want) || !ok || !slices.Equal(units, []int{wire.MaxUnits - 1}) {
		t.Fatalf("took %v, held %v, %v", got, units, ok)
	}
	j.Gone(9)
	j.View(5) // once more, after a fence
	j.Gone(wire.MaxUnits - 1)
	if got := next.gone(); !slices.Equal(got, []int{9, wire.MaxUnits - 1}) {
		t.Fatalf("gave %v away", got)
	}
	j.View(6)
	if got := next.gone(); len(got) != 0 {
		t.Fatalf("gave %v away in a new view", got)
	}
	j.Gone(9)
	next.Recut(2)
	units, view, ok := next.held(77)
	if got := next.took(); !slices.Equal(got, want) || !ok || len(units) != 0 || view != 6 || len(next.gone()) != 0 {
		t.Fatalf("after other numbers: took %v, held %v, view %d, %v", got, units, view, ok)
	}
	j.Gone(9)
	j.Rest(9, 5)
	next.begin(78)
	if got := next.took(); len(got)+len(next.gone())+len(next.rests()) != 0 {
		t.Fatalf("another life took %v", got)
	}
}

// A process that takes over rests on where the one before did (NT5); a unit that was
// given up, one of another numbering, and another view's change of what was given away
// are kept apart.
func TestHL5_NT5_JournalOfRests(t *testing.T) {
	path := filepath.Join(t.TempDir(), "units.held")
	j, err := openJournal(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	j.begin(77)
	j.View(5)
	for _, u := range []int{0, 9, wire.MaxUnits - 1} {
		j.Rest(u, 1e12+int64(u))
	}
	j.Rest(9, 0)
	j.View(6)
	next, err := openJournal(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer next.close()
	want := []blocks.Rest{{Unit: 0, End: 1e12}, {Unit: wire.MaxUnits - 1, End: 1e12 + wire.MaxUnits - 1}}
	if got := next.rests(); !slices.Equal(got, want) || len(next.gone()) != 0 {
		t.Fatalf("%v rest, %v are gone", got, next.gone())
	}
	next.Recut(2)
	if got := next.rests(); len(got) != 0 {
		t.Fatalf("after other numbers %v rest", got)
	}
}
