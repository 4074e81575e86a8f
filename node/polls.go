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

// gatherFor is how long a loop that is busy, and has nothing to do at this moment,
// sleeps at least: a network card with interrupt moderation does the same. Otherwise it
// would be woken for every packet or two, which costs more than they do. busyAbove is
// from how many packets and datagrams a loadStep on it is busy: below that, and after
// any pause, nothing waits.
const (
	gatherFor = int64(200 * time.Microsecond)
	loadStep  = int64(time.Millisecond)
	busyAbove = 16
)

// load is how much the loop had to do in this step of time, and in the one before.
type load struct {
	step      int64
	now, last int
}

func (l *load) add(now int64, n int) {
	switch step := now / loadStep; step - l.step {
	case 0:
	case 1:
		l.step, l.last, l.now = step, l.now, 0
	default:
		l.step, l.last, l.now = step, 0, 0
	}
	l.now += n
}

// busy reports whether more is to be expected soon; add comes before.
func (l *load) busy() bool { return l.now+l.last >= busyAbove }

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
	switch {
	case idle:
		p.last = now
		timeout := unix.NsecToTimespec(max(until-dataplane.Now(), 0))
		return p.poll(p.fds, &timeout)
	case now-p.last >= pollEvery:
		p.last = now
		return p.look()
	}
	return nil
}

// look asks for what is read only when it is ready.
func (p *polls) look() error { return p.poll(p.fds[:pollLink+1], &unix.Timespec{}) }

// gather sleeps until a time of dataplane.Now, or until somebody wakes the loop, whatever
// comes from the network meanwhile. Then it asks for that.
func (p *polls) gather(until int64) error {
	timeout := unix.NsecToTimespec(max(until-dataplane.Now(), 0))
	if err := p.poll(p.fds[:pollWake+1], &timeout); err != nil {
		return err
	}
	p.last = dataplane.Now()
	return p.look()
}

func (p *polls) poll(fds []unix.PollFd, timeout *unix.Timespec) error {
	if _, err := unix.Ppoll(fds, timeout, nil); err != nil && err != unix.EINTR {
		return err
	}
	return nil
}
