package node

import "testing"

// A device that has left frames in its ring does not say when it takes more: the loop comes
// again, and else sleeps until something is due.
func TestTheLoopComesAgainForWhatADeviceLeft(t *testing.T) {
	n := newTestCluster(t, 1).nodes[0]
	n.now, n.nextTick = n.c.now, n.c.now+tickEvery
	if n.core.Due() < n.nextTick {
		t.Fatal("something else is due: this tests nothing")
	}
	for left, want := range map[bool]int64{false: n.nextTick, true: n.now + leftFor} {
		if got := n.restUntil(left); got != want {
			t.Errorf("left %v: it sleeps for %d ns, want %d", left, got-n.now, want-n.now)
		}
	}
	if n.nextTick = n.now + leftFor/2; n.restUntil(true) != n.nextTick {
		t.Error("it sleeps past the tick")
	}
}
