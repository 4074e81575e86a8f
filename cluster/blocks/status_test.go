package blocks

import (
	"slices"
	"testing"
)

// TestStatusInPartsIsTheWhole: parts of any size, the last one cut short, and none
// behind the end.
func TestStatusInPartsIsTheWhole(t *testing.T) {
	w := founded(t, 3, Range{0, 126, 126})
	m := w.nodes[0].m
	whole := m.Status()
	if len(whole.Units) < 3 {
		t.Fatalf("%d units are too few to part", len(whole.Units))
	}
	var got []UnitStatus
	part := len(whole.Units)/2 + 1
	for {
		s := m.StatusOf(len(got), part)
		if len(s.Units) == 0 {
			break
		}
		if len(s.Units) > part {
			t.Errorf("asked for %d units, told of %d", part, len(s.Units))
		}
		if s.Held != whole.Held || !slices.Equal(s.Missing, whole.Missing) || s.Open != whole.Open {
			t.Errorf("a part says %+v, the whole %+v", s, whole)
		}
		got = append(got, s.Units...)
	}
	if !slices.Equal(got, whole.Units) {
		t.Errorf("parts: %+v\nwhole: %+v", got, whole.Units)
	}
}
