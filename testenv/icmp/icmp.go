package icmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
)

const (
	typeReply   = 0
	typeRequest = 8
	headerLen   = 8
)

// Reply is one echo reply that carries the identifier of the Conn.
type Reply struct {
	From    netip.Addr
	Seq     uint16
	Payload []byte // valid until the next Read
}

// Conn is a raw ICMP socket with one echo identifier. One goroutine may send
// while another reads.
type Conn struct {
	id  uint16
	raw net.PacketConn
	fd  syscall.RawConn // of raw
	in  []byte
	out []byte
}

// Open makes a Conn whose socket lives in the namespace.
func Open(n *netns.Namespace, id uint16) (*Conn, error) {
	raw, err := n.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return nil, err
	}
	fd, err := raw.(syscall.Conn).SyscallConn()
	if err == nil {
		err = onlyReplies(fd)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ping socket: %w", err), raw.Close())
	}
	return &Conn{id: id, raw: raw, fd: fd, in: make([]byte, 65536)}, nil
}

// onlyReplies keeps everything but echo replies out of the socket's buffer, so that
// nothing else fills it while nobody reads.
func onlyReplies(fd syscall.RawConn) (err error) {
	const icmpFilter = 1 // linux/icmp.h; its option is a mask of the types to drop
	ctl := fd.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_RAW, icmpFilter, ^(1 << typeReply))
	})
	return errors.Join(ctl, err)
}

// Send writes one echo request.
func (c *Conn) Send(to netip.Addr, seq uint16, payload []byte) error {
	c.out = appendRequest(c.out[:0], c.id, seq, payload)
	if _, err := c.raw.WriteTo(c.out, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return fmt.Errorf("ping %v: %w", to, err)
	}
	return nil
}

// Read waits for the next reply to this Conn; everything else that a raw
// socket sees is skipped. The error is os.ErrDeadlineExceeded after the
// deadline and net.ErrClosed after Close.
func (c *Conn) Read() (Reply, error) {
	for {
		n, from, err := c.raw.ReadFrom(c.in)
		if err != nil {
			return Reply{}, err
		}
		if r, ok := parseReply(c.in[:n], c.id); ok {
			addr, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
			r.From = addr.Unmap()
			return r, nil
		}
	}
}

// Queued returns the next reply to this Conn that is in the socket's buffer
// already, and false when there is none: it waits for nothing and knows no
// deadline. The caller is the one that may Read. The error is net.ErrClosed
// after Close; any other is over once it has been returned.
func (c *Conn) Queued() (r Reply, ok bool, err error) {
	ctl := c.fd.Control(func(fd uintptr) {
		for !ok && err == nil {
			var n int
			var from unix.Sockaddr
			n, from, err = unix.Recvfrom(int(fd), c.in, unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			v4, is := from.(*unix.SockaddrInet4)
			if !is {
				continue
			}
			if r, ok = parseReply(afterHeader(c.in[:n]), c.id); ok {
				r.From = netip.AddrFrom4(v4.Addr)
			}
		}
	})
	if ctl != nil {
		return Reply{}, false, ctl
	}
	if errors.Is(err, unix.EAGAIN) {
		err = nil
	}
	return r, ok, err
}

// afterHeader returns what an IPv4 packet carries; nothing if it is cut short.
func afterHeader(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b[min(int(b[0]&15)*4, len(b)):]
}

// SetReadDeadline ends a waiting Read at t.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.raw.SetReadDeadline(t) }

// Close ends a waiting Read. Idempotent.
func (c *Conn) Close() error {
	if err := c.raw.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func appendRequest(b []byte, id, seq uint16, payload []byte) []byte {
	b = append(b, typeRequest, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, seq)
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

func parseReply(b []byte, id uint16) (Reply, bool) {
	if len(b) < headerLen || b[0] != typeReply || b[1] != 0 ||
		binary.BigEndian.Uint16(b[4:]) != id || checksum(b) != 0 {
		return Reply{}, false
	}
	return Reply{Seq: binary.BigEndian.Uint16(b[6:]), Payload: b[headerLen:]}, true
}

// checksum is the internet checksum (RFC 1071); over a message that carries
// its own it is 0.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
