package traffic

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"cohort/testenv/icmp"
	"cohort/testenv/netns"
)

// DatagramLoad is a number of request-reply exchanges, each a flow of its own.
// Zero values take the defaults named here.
type DatagramLoad struct {
	Exchanges int           // 1
	AtOnce    int           // side by side; 50
	Bytes     int           // of payload, at least 8; 64
	Attempts  int           // datagrams sent before giving up; 5
	Timeout   time.Duration // for the reply to each; 2 s
	Client    uint32        // first four bytes of every payload, to tell clients apart
}

func (l DatagramLoad) withDefaults() DatagramLoad {
	l.Exchanges = orElse(l.Exchanges, 1)
	l.AtOnce = orElse(l.AtOnce, 50)
	l.Bytes = max(orElse(l.Bytes, 64), 8)
	l.Attempts = orElse(l.Attempts, 5)
	l.Timeout = orElse(l.Timeout, 2*time.Second)
	return l
}

// attempts sends until a reply comes. A reply may be one to an earlier
// attempt.
func (l DatagramLoad) attempts(ctx context.Context, send, receive func() error) result {
	begin := time.Now()
	var r result
	for ; r.retries < l.Attempts && ctx.Err() == nil; r.retries++ {
		r.err = send()
		if r.err == nil {
			r.err = receive()
		}
		if r.err == nil || errors.Is(r.err, ErrContent) {
			break
		}
	}
	if err := ctx.Err(); err != nil {
		r.err = err
	}
	r.stall = time.Since(begin)
	return r
}

// payload makes the content of exchange i on a socket with a port or identifier
// that may have had another exchange before: the client, the port, the lowest 16
// bits of i. So whoever sees a datagram behind a translation knows where it is
// from.
func (l DatagramLoad) payload(port uint16, i int) []byte {
	b := bytes.Repeat([]byte{byte(i)}, l.Bytes)
	binary.BigEndian.PutUint32(b, l.Client)
	binary.BigEndian.PutUint16(b[4:], port)
	binary.BigEndian.PutUint16(b[6:], uint16(i))
	return b
}

// UDP exchanges datagrams with an echo server, each from a port of its own.
func UDP(ctx context.Context, from *netns.Namespace, to netip.AddrPort, load DatagramLoad) *Report {
	load = load.withDefaults()
	return repeat(ctx, load.Exchanges, load.AtOnce, func(i int) result {
		c, err := from.DialUDP(to)
		if err != nil {
			return result{err: err}
		}
		defer c.Close()
		defer watchContext(ctx, c)()
		out, in := load.payload(uint16(c.LocalAddr().(*net.UDPAddr).Port), i), make([]byte, load.Bytes+1)
		send := func() error { _, err := c.Write(out); return err }
		receive := func() error {
			c.SetReadDeadline(time.Now().Add(load.Timeout))
			k, err := c.Read(in)
			if err == nil && !bytes.Equal(in[:k], out) {
				err = ErrContent
			}
			return err
		}
		r := load.attempts(ctx, send, receive)
		if r.err != nil {
			r.err = fmt.Errorf("udp %v to %v: %w", c.LocalAddr(), to, r.err)
		}
		return r
	})
}

// Pings sends echo requests, each with an identifier of its own.
func Pings(ctx context.Context, from *netns.Namespace, to netip.Addr, load DatagramLoad) *Report {
	load = load.withDefaults()
	return repeat(ctx, load.Exchanges, load.AtOnce, func(i int) result {
		c, err := icmp.Open(from, uint16(i+1))
		if err != nil {
			return result{err: err}
		}
		defer c.Close()
		defer watchContext(ctx, c)()
		out := load.payload(uint16(i+1), i)
		seq := uint16(0)
		send := func() error { seq++; return c.Send(to, seq, out) }
		r := load.attempts(ctx, send, func() error { return pong(c, to, out, load.Timeout) })
		if r.err != nil {
			r.err = fmt.Errorf("ping %v, identifier %d: %w", to, i+1, r.err)
		}
		return r
	})
}

// pong waits for a reply with this content.
func pong(c *icmp.Conn, from netip.Addr, want []byte, timeout time.Duration) error {
	c.SetReadDeadline(time.Now().Add(timeout))
	r, err := c.Read()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no reply within %v: %w", timeout, err)
	case err != nil:
		return err
	case r.From != from || !bytes.Equal(r.Payload, want):
		return ErrContent
	}
	return nil
}
