package line

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
)

// Way is a direction of a Line.
type Way int

// The two ways of Open's interfaces.
const (
	AtoB Way = iota
	BtoA
)

// Line relays frames between two interfaces of one namespace. All methods may
// be called concurrently.
type Line struct {
	ends  [2]int // packet sockets
	wake  [2]int // eventfds, one for the relay of each direction
	done  chan struct{}
	relay sync.WaitGroup
	close sync.Once
	err   error // of Close

	mu   sync.Mutex // guards dirs
	dirs [2]*direction

	apart *apart // relays in its own process, and all but close and err is there
}

// maxFrame is more than any frame of a control link.
const maxFrame = 10 << 10

// Open begins to carry frames between interfaces a and b of ns, which are up and
// belong to nobody else: no bridge, no address. Without a Fault everything
// crosses as it comes.
func Open(ns *netns.Namespace, a, b string, seed uint64) (*Line, error) {
	ends, err := sockets(ns, a, b)
	if err != nil {
		return nil, fmt.Errorf("line %s-%s in %s: %w", a, b, ns.Name(), err)
	}
	l, err := start(ends, seed)
	if err != nil {
		return nil, fmt.Errorf("line %s-%s in %s: %w", a, b, ns.Name(), errors.Join(err, closeEnds(ends)))
	}
	return l, nil
}

// sockets opens both ends.
func sockets(ns *netns.Namespace, a, b string) (ends [2]int, err error) {
	ends = [2]int{-1, -1}
	for i, name := range []string{a, b} {
		link, err := ns.Netlink().LinkByName(name)
		if err == nil {
			err = ns.Do(func() (err error) {
				ends[i], err = packetSocket(link.Attrs().Index)
				return err
			})
		}
		if err != nil {
			return ends, errors.Join(err, closeEnds(ends))
		}
	}
	return ends, nil
}

func closeEnds(ends [2]int) (err error) {
	for _, fd := range ends {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	return err
}

// start begins to relay between two packet sockets, which are the Line's from here
// on unless there is an error.
func start(ends [2]int, seed uint64) (*Line, error) {
	l := &Line{ends: ends, done: make(chan struct{}), dirs: [2]*direction{newDirection(seed), newDirection(seed + 1)}}
	for i := range l.wake {
		var err error
		if l.wake[i], err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
			if i > 0 {
				unix.Close(l.wake[0])
			}
			return nil, os.NewSyscallError("eventfd", err)
		}
	}
	for way := range l.dirs {
		l.relay.Go(func() { l.run(Way(way)) })
	}
	return l, nil
}

// packetSocket sees every frame that enters by an interface, and none that
// leaves by it.
func packetSocket(index int) (fd int, err error) {
	if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	mreq := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // network order
	err = errors.Join(
		os.NewSyscallError("ignore outgoing", unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)),
		os.NewSyscallError("receive buffer", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)),
		os.NewSyscallError("send buffer", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20)),
		os.NewSyscallError("promiscuous", unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq)),
		os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index})))
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Set changes what one way does from here on.
func (l *Line) Set(way Way, f Fault) error {
	if err := f.check(); err != nil {
		return err
	}
	if l.apart != nil {
		_, err := l.apart.call(request{Way: way, Fault: &f})
		return err
	}
	l.mu.Lock()
	l.dirs[way].set(now(), f)
	l.mu.Unlock()
	l.kick(way)
	return nil
}

// Counters returns the totals of one way; zero of a line apart that has died.
func (l *Line) Counters(way Way) Counters {
	if l.apart != nil {
		c, _ := l.apart.call(request{Way: way})
		return c
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dirs[way].count
}

// Close ends the relay; what is on its way is lost. Idempotent.
func (l *Line) Close() error {
	l.close.Do(func() {
		if l.apart != nil {
			l.err = l.apart.stop()
			return
		}
		close(l.done)
		l.kick(AtoB)
		l.kick(BtoA)
		l.relay.Wait()
		for i := range l.ends {
			l.err = errors.Join(l.err, unix.Close(l.ends[i]), unix.Close(l.wake[i]))
		}
	})
	return l.err
}

func (l *Line) kick(way Way) {
	one := [8]byte{1}
	_, _ = unix.Write(l.wake[way], one[:]) // full means that it wakes anyway
}

// run is the relay of one way.
func (l *Line) run(way Way) {
	from, to := l.ends[way], l.ends[1-way]
	buf := make([]byte, maxFrame)
	polls := []unix.PollFd{{Fd: int32(from), Events: unix.POLLIN}, {Fd: int32(l.wake[way]), Events: unix.POLLIN}}
	for {
		select {
		case <-l.done:
			return
		default:
		}
		l.enter(way, from, buf)
		timeout := l.leave(way, to)
		if _, err := unix.Ppoll(polls, timeout, nil); err != nil && err != unix.EINTR {
			return // only for a descriptor that is none
		}
		if polls[1].Revents != 0 {
			var b [8]byte
			_, _ = unix.Read(l.wake[way], b[:])
		}
	}
}

// batch bounds the frames that enter before those that are due leave.
const batch = 64

func (l *Line) enter(way Way, fd int, buf []byte) {
	for range batch {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil || n == 0 {
			return // nothing there, or the interface is down for now
		}
		l.mu.Lock()
		l.dirs[way].offer(now(), append([]byte(nil), buf[:n]...))
		l.mu.Unlock()
	}
}

// leave sends what is due and returns how long there is nothing, nil = for ever.
func (l *Line) leave(way Way, fd int) *unix.Timespec {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dirs[way]
	for b := d.take(now()); b != nil; b = d.take(now()) {
		if _, err := unix.Write(fd, b); err != nil {
			d.count.Failed++
		}
	}
	at, ok := d.next()
	if !ok {
		return nil
	}
	ts := unix.NsecToTimespec(max(at-now(), 0))
	return &ts
}

var epoch = time.Now()

// now is monotonic, ns.
func now() int64 { return int64(time.Since(epoch)) }
