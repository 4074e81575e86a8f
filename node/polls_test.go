package node

import "testing"

// A loop that has little to do waits for nothing; one that has much gathers once after
// work, and then sleeps until something comes.
func TestABusyLoopGathersOnceAfterWork(t *testing.T) {
	at, l := int64(1e12), load{}
	for _, c := range []struct {
		what string
		now  int64
		n    int
		want bool
	}{
		{"a packet after a pause", at, 1, false},
		{"little in a step of time", at + 1, busyAbove - 2, false},
		{"much", at + 2, 1, true},
		{"nothing came meanwhile", at + gatherFor, 0, false},
		{"a packet more", at + gatherFor + 1, 1, true},
		{"in the next step", at + loadStep, 1, true},
		{"the step after that, of which one packet is left", at + 2*loadStep, 1, false},
		{"after a pause", at + 100*loadStep, busyAbove - 1, false},
		{"and one", at + 100*loadStep, 1, true},
		{"a pause", at + 102*loadStep, 1, false},
	} {
		l.add(c.now, c.n)
		if got := l.gathers(); got != c.want {
			t.Errorf("%s: gathers %v", c.what, got)
		}
	}
}
