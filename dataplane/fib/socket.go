package fib

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// datagramSize is room for the largest datagram the kernel makes of a dump
// (32 KB) or an event.
const datagramSize = 64 << 10

// openRoute opens a blocking rtnetlink socket in the calling thread's network
// namespace, for requests: a read ends after requestTimeout.
func openRoute() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, fmt.Errorf("fib: open netlink: %w", err)
	}
	wait := unix.NsecToTimeval(int64(requestTimeout))
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("fib: open netlink: %w", err)
	}
	return fd, nil
}

// openEvents opens a socket that receives the events of the groups. Closing
// the file ends a wait on it.
func openEvents(groups ...int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("fib: follow netlink: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	for _, g := range groups {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g))
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("fib: follow netlink: %w", err)
	}
	// Smaller is only slower: overflow resyncs.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventBuffer)
	return os.NewFile(uintptr(fd), "rtnetlink events"), nil
}

// receive reads a datagram that the kernel sent; others are passed over.
func receive(fd int, b []byte, flags int) (int, error) {
	for {
		n, from, err := unix.Recvfrom(fd, b, flags)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		if sender, ok := from.(*unix.SockaddrNetlink); ok && sender.Pid == 0 {
			return n, nil
		}
	}
}
