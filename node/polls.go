package node

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"cohort/dataplane"
)

// The descriptors that the loop reads only when they are said to be ready. AF_XDP
// sockets come behind them: their rings are looked at in every pass, and polling
// only ends a sleep.
const (
	pollWake = iota
	pollLink
)

// pollEvery is how long the loop goes without looking at its descriptors while
// packets keep coming: new messages of the control link wait that long at most,
// besides the pass at hand.
const pollEvery = int64(50 * time.Microsecond)

// polls knows which descriptors can be read.
type polls struct {
	fds   []unix.PollFd
	last  int64 // when the kernel was asked
	keeps bool  // the loop keeps its processor of Go's while it sleeps: there are others

	timeout unix.Timespec // of the call under way
}

func (p *polls) add(fds ...int) {
	for _, fd := range fds {
		p.fds = append(p.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
}

// ready reports whether a descriptor could be read when it was last asked for.
func (p *polls) ready(i int) bool { return p.fds[i].Revents != 0 }

// done says that a descriptor was emptied.
func (p *polls) done(i int) { p.fds[i].Revents = 0 }

// wait asks the kernel. When idle it sleeps until something is ready or the time
// has come to until, both of dataplane.Now; otherwise it looks, and not more
// often than every pollEvery.
func (p *polls) wait(idle bool, now, until int64) error {
	switch {
	case idle:
		p.last = now
		return p.poll(len(p.fds), until-dataplane.Now())
	case now-p.last >= pollEvery:
		p.last = now
		return p.look()
	}
	return nil
}

// look asks for what is read only when it is ready.
func (p *polls) look() error { return p.poll(pollLink+1, 0) }

// poll asks for the first n descriptors, and waits for that long (ns) at most. Where the
// loop keeps its processor, Go's scheduler does not hear of the sleep: it would hand the
// processor over, within 20 us where there is one, and wake two threads for each sleep,
// which costs more than what many a packet brings. What must stop everybody (a garbage
// collection) interrupts the sleep by a signal.
func (p *polls) poll(n int, timeout int64) error {
	p.timeout = unix.NsecToTimespec(max(timeout, 0))
	var e unix.Errno
	if p.keeps {
		_, _, e = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p.fds[0])), uintptr(n), uintptr(unsafe.Pointer(&p.timeout)), 0, 0, 0)
	} else {
		_, _, e = unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p.fds[0])), uintptr(n), uintptr(unsafe.Pointer(&p.timeout)), 0, 0, 0)
	}
	if e != 0 && e != unix.EINTR {
		return e
	}
	return nil
}
