package sniff

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
)

// Tap gets a copy of every frame that passes an interface, both ways.
type Tap struct {
	file    *os.File
	index   int
	reading sync.WaitGroup
	close   sync.Once
	lost    uint64
	err     error
}

// roomBytes is the buffer of a Tap: about a hundred thousand small frames.
const roomBytes = 128 << 20

// Open begins to read frames, from their Ethernet header on. visit is called
// from one goroutine, must not keep the frame, and is told whether the
// interface sent it or received it.
func Open(n *netns.Namespace, iface string, visit func(frame []byte, sent bool)) (*Tap, error) {
	l, err := n.Netlink().LinkByName(iface)
	if err != nil {
		return nil, fmt.Errorf("tap %s of %s: %w", iface, n.Name(), err)
	}
	t := &Tap{index: l.Attrs().Index}
	err = n.Do(func() error {
		// Without a protocol nothing comes before the socket is bound, so that
		// nothing comes from other interfaces.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t.file = os.NewFile(uintptr(fd), "tap")
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, roomBytes); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: t.index})
	})
	if err != nil {
		if t.file != nil {
			t.file.Close()
		}
		return nil, fmt.Errorf("tap %s of %s: %w", iface, n.Name(), err)
	}
	t.reading.Go(func() { t.err = t.read(visit) })
	return t, nil
}

// networkOrder is htons.
func networkOrder(v uint16) uint16 { return v<<8 | v>>8 }

func (t *Tap) read(visit func([]byte, bool)) error {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return err
	}
	frame := make([]byte, 65536)
	for {
		n, from, failed := 0, unix.Sockaddr(nil), error(nil)
		one := func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), frame, 0)
			return !errors.Is(failed, unix.EAGAIN)
		}
		err := raw.Read(one)
		if errors.Is(err, os.ErrDeadlineExceeded) { // closing: what is there already counts
			err = raw.Control(func(fd uintptr) { one(fd) })
			if errors.Is(failed, unix.EAGAIN) {
				return nil
			}
		}
		if err := errors.Join(err, failed); err != nil {
			return err
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok {
			visit(frame[:n], ll.Pkttype == unix.PACKET_OUTGOING)
		}
	}
}

// Send puts a frame on the wire.
func (t *Tap) Send(frame []byte) error {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return err
	}
	to := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: t.index}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		failed = unix.Sendto(int(fd), frame, 0, to)
		return !errors.Is(failed, unix.EAGAIN)
	})
	return errors.Join(err, failed)
}

// Close visits what has come so far, ends and returns how many frames found no
// room. Idempotent.
func (t *Tap) Close() (lost uint64, err error) {
	t.close.Do(func() {
		err := t.file.SetReadDeadline(time.Unix(1, 0))
		t.reading.Wait()
		var bad error
		t.lost, bad = t.drops()
		t.err = errors.Join(t.err, err, bad, t.file.Close())
	})
	return t.lost, t.err
}

// drops asks the kernel what it could not deliver.
func (t *Tap) drops() (uint64, error) {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var s *unix.TpacketStats
	var failed error
	err = raw.Control(func(fd uintptr) {
		s, failed = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	})
	if err := errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("tap: statistics: %w", err)
	}
	return uint64(s.Drops), nil
}
