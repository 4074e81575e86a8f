package traffic

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// What runs without interruption leaves the thread as it was: a generator that somebody
// runs below others goes on below them.
func TestUninterruptedGivesBackThePriority(t *testing.T) {
	runtime.LockOSThread() // and it ends with the test
	want := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH, Nice: 5}
	if err := unix.SchedSetAttr(0, &want, 0); err != nil {
		t.Fatal(err)
	}
	if err := uninterrupted(func() error { return nil }); err != nil {
		t.Skip(err) // needs CAP_SYS_NICE
	}
	got, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got.Policy != want.Policy || got.Nice != want.Nice {
		t.Errorf("policy %d, nice %d; had %d, %d", got.Policy, got.Nice, want.Policy, want.Nice)
	}
}
