package main

import (
	"math/rand/v2"
	"runtime"
	"time"
)

// randomRead is the time of one read whose address the read before told, in ns:
// the best of several walks along one random cycle through all cache lines of
// memory of so many MiB.
func randomRead(mib int) float64 {
	type line struct {
		next uint32
		_    [15]uint32
	}
	lines := make([]line, mib<<20/64)
	order := rand.New(rand.NewPCG(1, 1)).Perm(len(lines))
	for i, at := range order {
		lines[at].next = uint32(order[(i+1)%len(order)])
	}
	runtime.LockOSThread() // the time is the thread's
	defer runtime.UnlockOSThread()
	const steps = 1 << 18
	best, at := time.Duration(1<<62), uint32(0)
	for range 8 {
		start := threadTime()
		for range steps {
			at = lines[at].next
		}
		best = min(best, threadTime()-start)
	}
	lines[at].next = 0 // the walk has a result
	return float64(best) / steps
}
