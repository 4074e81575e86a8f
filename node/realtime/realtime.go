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
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Take makes all threads of this process SCHED_FIFO of a priority from 1 to 99,
// those that the runtime starts later and processes that it starts included. An
// error, which may leave some threads as they were, mostly means that the right to
// it is missing (CAP_SYS_NICE, RLIMIT_RTPRIO).
func Take(priority int) error {
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: uint32(priority)}
	var pin runtime.Pinner // for the runtime it is a number, and the stack of this goroutine may move
	pin.Pin(attr)
	defer pin.Unpin()
	err := everyThread(unix.SYS_SCHED_SETATTR, [3]uintptr{0, uintptr(unsafe.Pointer(attr)), 0}, func(tid int) (changed bool, err error) {
		a, err := unix.SchedGetAttr(tid, 0)
		if err != nil || a.Policy == unix.SCHED_FIFO && a.Priority == attr.Priority {
			return false, err
		}
		return true, unix.SchedSetAttr(tid, attr, 0)
	})
	if err != nil {
		return fmt.Errorf("realtime: %w", err)
	}
	return nil
}

// Nice gives all threads of this process the ordinary priority -20 to 19, -20 being the
// highest: for whoever is not given real-time priority. Threads that they start have it
// as well.
func Nice(level int) error {
	err := everyThread(unix.SYS_SETPRIORITY, [3]uintptr{unix.PRIO_PROCESS, 0, uintptr(level)}, func(tid int) (changed bool, err error) {
		n, err := unix.Getpriority(unix.PRIO_PROCESS, tid)
		if err != nil || 20-n == level { // the system call counts from 40 down
			return false, err
		}
		return true, unix.Setpriority(unix.PRIO_PROCESS, tid, level)
	})
	if err != nil {
		return fmt.Errorf("nice: %w", err)
	}
	return nil
}

// everyThread has every thread make a system call about itself. The runtime sees to it
// that none is being started meanwhile: it would have the priority that its parent had
// when it began to, and nobody could find it yet. Where the runtime cannot (with cgo),
// set is called with every thread until a round finds nothing to change, which may miss
// such a one.
func everyThread(trap uintptr, about [3]uintptr, set func(tid int) (changed bool, err error)) error {
	switch _, _, e := syscall.AllThreadsSyscall(trap, about[0], about[1], about[2]); e {
	case 0:
		return nil
	case unix.ENOTSUP:
	default:
		return e
	}
	for again := true; again; {
		again = false
		err := threads("self", func(tid int) error {
			changed, err := set(tid)
			if err == unix.ESRCH { // it ended
				return nil
			}
			again = again || changed
			return err
		})
		if err != nil {
			return err
		}
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
