package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Listen opens a TCP listener inside the namespace. The address must be
// numeric; "0.0.0.0:0" picks a port.
func (n *Namespace) Listen(address string) (l net.Listener, err error) {
	err = n.Do(func() error {
		cfg := net.ListenConfig{KeepAlive: -1} // no packets of its own either
		cfg.SetMultipathTCP(false)             // its extra options are not what is tested
		l, err = cfg.Listen(context.Background(), "tcp4", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("namespace %s: listen: %w", n.name, err)
	}
	return l, nil
}

// ListenPacket opens a datagram socket inside the namespace: network "udp4",
// or "ip4:icmp" for a raw socket. The address must be numeric.
func (n *Namespace) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = n.Do(func() error {
		c, err = net.ListenPacket(network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("namespace %s: listen: %w", n.name, err)
	}
	return c, nil
}

// DialUDP opens a connected UDP socket inside the namespace.
func (n *Namespace) DialUDP(remote netip.AddrPort) (*net.UDPConn, error) {
	return n.DialUDPFrom(0, remote)
}

// DialUDPFrom is DialUDP from a port of one's choice; 0 is any.
func (n *Namespace) DialUDPFrom(port uint16, remote netip.AddrPort) (c *net.UDPConn, err error) {
	err = n.Do(func() error {
		c, err = net.DialUDP("udp4", &net.UDPAddr{Port: int(port)}, net.UDPAddrFromAddrPort(remote))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("namespace %s: dial: %w", n.name, err)
	}
	return c, nil
}

// DialTCP connects from inside the namespace to an IPv4 address. Only the
// socket is made on the namespace's thread; many calls wait side by side.
func (n *Namespace) DialTCP(ctx context.Context, remote netip.AddrPort) (*net.TCPConn, error) {
	return n.DialTCPFrom(ctx, 0, remote)
}

// DialTCPFrom is DialTCP from a port of one's choice, which may be in TIME_WAIT;
// 0 is any.
func (n *Namespace) DialTCPFrom(ctx context.Context, port uint16, remote netip.AddrPort) (*net.TCPConn, error) {
	c, err := n.dialTCP(ctx, port, remote)
	if err != nil {
		return nil, fmt.Errorf("namespace %s: dial %v: %w", n.name, remote, err)
	}
	return c, nil
}

func (n *Namespace) dialTCP(ctx context.Context, port uint16, remote netip.AddrPort) (*net.TCPConn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var fd int
	err := n.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	if port != 0 {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
		if err == nil {
			err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrInet4{Port: int(port)}))
		}
		if err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	to := &unix.SockaddrInet4{Port: int(remote.Port()), Addr: remote.Addr().As4()}
	err = unix.Connect(fd, to)
	f := os.NewFile(uintptr(fd), "tcp") // joins the poller, as the socket does not block
	defer f.Close()
	if err != nil && err != unix.EINPROGRESS {
		return nil, os.NewSyscallError("connect", err)
	}
	if err := connected(ctx, f); err != nil {
		return nil, err
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// connected waits until the socket is connected, refused, or the context ends.
func connected(ctx context.Context, f *os.File) error {
	if deadline, ok := ctx.Deadline(); ok {
		f.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { f.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(fd uintptr) bool {
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = os.NewSyscallError("connect", unix.Errno(code))
		}
		if err != nil {
			result = err
			return true
		}
		_, err = unix.Getpeername(int(fd))
		return err == nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// The file's deadline may come a moment before the context notices.
		if err = ctx.Err(); err == nil {
			err = context.DeadlineExceeded
		}
	}
	return errors.Join(err, result)
}
