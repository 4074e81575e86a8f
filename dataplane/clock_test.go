package dataplane

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The lease is compared with the kernel's clock, in XDP.
func TestNowIsTheKernelsMonotonicClock(t *testing.T) {
	kernel := func() int64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		return ts.Nano()
	}
	for range 1000 {
		before, now, after := kernel(), Now(), kernel()
		if now < before || now > after {
			t.Fatalf("%d is not between %d and %d", now, before, after)
		}
	}
}
