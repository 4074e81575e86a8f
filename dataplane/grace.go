package dataplane

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// membarrierGlobal is MEMBARRIER_CMD_GLOBAL of linux/membarrier.h.
const membarrierGlobal = 1

// restPeriod is how long nobody asks the kernel after a period: one slept through in the
// kernel makes Go's monitor wake up each 20 us for some milliseconds, and with one right
// after the other it never stops. Slots that die meanwhile wait for the next; the last
// report of a delegation does not, for a packet may wait for it (ownership, reportWait).
const restPeriod = 100 * time.Millisecond

// byTheClock is how long a grace period lasts where the kernel cannot tell.
const byTheClock = time.Second

// Grace tells when the XDP programs that were running at a moment have ended; see
// flowtable.Grace. A program is a read-side critical section of the kernel's RCU, so
// the kernel's own grace period is exact, however long a CPU stands still in the
// middle of a packet. It takes 10 to 30 ms, and one serves all that died until it
// began. Safe for concurrent use.
type Grace struct {
	begun, ended atomic.Uint64 // periods
	wake         chan struct{} // a period is asked for
	soon         chan struct{} // ... and somebody waits for its end
	stop         chan struct{}
	wait         func() error
	inexact      atomic.Bool
	running      sync.WaitGroup
	closing      sync.Once
}

// newGrace waits for one period first: slots that died with an earlier daemon are free
// as soon as a table has adopted the rest.
func newGrace(wait func() error) *Grace {
	g := &Grace{wake: make(chan struct{}, 1), soon: make(chan struct{}, 1), stop: make(chan struct{}), wait: wait}
	g.inexact.Store(wait() != nil)
	g.running.Go(g.run)
	return g
}

// Begin asks for a period that begins after the call and returns its number. It begins
// within restPeriod and the period under way, or without that rest if soon.
func (g *Grace) Begin(soon bool) uint64 {
	next := g.begun.Load() + 1 // one that has begun may have begun before
	say(g.wake)
	if soon {
		say(g.soon)
	}
	return next
}

// say leaves word, unless it has been left already.
func say(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// Ended reports whether all programs have ended that ran when that period began.
func (g *Grace) Ended(period uint64) bool { return g.ended.Load() >= period }

// Exact is false when the kernel has refused to tell: a kernel with nohz_full, or a
// filter of system calls. Then a period is a second of the clock, and the counters of
// a packet that stands still for longer may be added to another connection's.
func (g *Grace) Exact() bool { return !g.inexact.Load() }

func (g *Grace) run() {
	for {
		select {
		case <-g.stop:
			return
		case <-g.wake:
		}
		select {
		case <-g.soon: // this one is for it
		default:
		}
		period := g.begun.Add(1)
		if err := g.wait(); err != nil {
			g.inexact.Store(true)
			select {
			case <-g.stop:
				return
			case <-time.After(byTheClock):
			}
		}
		g.ended.Store(period)
		select {
		case <-g.stop:
			return
		case <-g.soon:
		case <-time.After(restPeriod):
		}
	}
}

// close ends the goroutine and waits for it: as long as the kernel's period takes, at
// most.
func (g *Grace) close() {
	g.closing.Do(func() { close(g.stop) })
	g.running.Wait()
}

// waitForPrograms returns when all programs have ended that run now. On a machine with
// one CPU nothing else runs when this does, and the kernel returns at once.
func waitForPrograms() error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}
