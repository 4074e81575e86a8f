package node

import (
	"path/filepath"
	"slices"
	"testing"

	"cohort/ccl/wire"
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
