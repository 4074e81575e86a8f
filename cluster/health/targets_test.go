package health

import "testing"

func TestHL6_AnInterfaceIsGoodWhileATargetAnswers(t *testing.T) {
	s := NewTargets(2)
	for i, step := range []struct {
		target   int
		answered bool
		want     bool
	}{
		{0, false, true},
		{0, false, true},
		{0, false, true}, // lost, but there is the other one
		{1, false, true},
		{1, true, true},
		{1, false, true},
		{1, false, true},
		{1, false, false},
		{0, true, true},
	} {
		if got := s.Probed(step.target, step.answered); got != step.want {
			t.Errorf("step %d: reached %v", i, got)
		}
	}
	for range 3 {
		s.Probed(0, false)
	}
	if s.Reached() {
		t.Fatal("both are lost")
	}
	if s.Forget(); !s.Reached() || !NewTargets(0).Reached() {
		t.Error("nothing is known, and it counts as lost")
	}
}
