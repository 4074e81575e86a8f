package node

import (
	"time"

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
	fds  []unix.PollFd
	last int64 // when the kernel was asked
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
	var timeout unix.Timespec
	switch {
	case idle:
		timeout = unix.NsecToTimespec(max(until-dataplane.Now(), 0))
	case now-p.last < pollEvery:
		return nil
	}
	p.last = now
	if _, err := unix.Ppoll(p.fds, &timeout, nil); err != nil && err != unix.EINTR {
		return err
	}
	return nil
}
