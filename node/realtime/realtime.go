// Package realtime gives a process of ours real-time priority: all its threads.
//
// The one thread that matters is not enough. Go's scheduler takes a goroutine off
// its thread when it has held a processor for 10 ms, a sleep in a system call
// included, and another thread of the runtime has to hand it back, also to a
// goroutine that is locked to its thread. If that one has ordinary priority it waits
// for its turn among all that is busy: on two full CPUs for up to 165 ms, whatever
// the priority of the first (docs/membership.md, The fast profile).
package realtime

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Take makes all threads of this process SCHED_FIFO of a priority from 1 to 99,
// those that the runtime starts later and processes that it starts included. An
// error, which may leave some threads as they were, mostly means that the right to
// it is missing (CAP_SYS_NICE, RLIMIT_RTPRIO).
func Take(priority int) error {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: uint32(priority)}
	// A thread that was started meanwhile may have been started by one whose turn had
	// not come: until a round finds all done.
	for changed := true; changed; {
		changed = false
		err := threads("self", func(tid int) error {
			a, err := unix.SchedGetAttr(tid, 0)
			switch {
			case err == unix.ESRCH: // it ended
				return nil
			case err != nil:
				return err
			case a.Policy == unix.SCHED_FIFO && a.Priority == attr.Priority:
				return nil
			}
			changed = true
			if err := unix.SchedSetAttr(tid, &attr, 0); err != nil && err != unix.ESRCH {
				return err
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("realtime: %w", err)
		}
	}
	return nil
}

// Nice gives the threads that this process has the ordinary priority -20 to 19, -20
// being the highest: for whoever is not given real-time priority. Threads that they
// start have it as well.
func Nice(level int) error {
	err := threads("self", func(tid int) error {
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, level); err != nil && err != unix.ESRCH {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("nice: %w", err)
	}
	return nil
}

// Has reports whether all threads of a process have real-time priority.
func Has(pid int) (bool, error) {
	all := true
	err := threads(strconv.Itoa(pid), func(tid int) error {
		a, err := unix.SchedGetAttr(tid, 0)
		all = all && (err == unix.ESRCH || err == nil && a.Policy == unix.SCHED_FIFO)
		if err == unix.ESRCH {
			err = nil
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("realtime: process %d: %w", pid, err)
	}
	return all, nil
}

// threads calls f with every thread of a process.
func threads(process string, f func(tid int) error) error {
	entries, err := os.ReadDir("/proc/" + process + "/task")
	if err != nil {
		return err
	}
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			return err
		}
		if err := f(tid); err != nil {
			return err
		}
	}
	return nil
}
