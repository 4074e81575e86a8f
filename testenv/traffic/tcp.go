package traffic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"cohort/testenv/netns"
)

// ErrContent means that wrong bytes came back.
var ErrContent = errors.New("content differs")

// TCPLoad is a number of connections to an echo server. Zero values take the
// defaults named here.
type TCPLoad struct {
	Connections int           // in all; 1
	AtOnce      int           // side by side; 100
	Rounds      int           // round trips of each connection; 4
	Bytes       int           // sent and echoed per round; 4096
	Timeout     time.Duration // for connecting and for each round; 30 s
	Seed        uint64        // of the content
}

func (l TCPLoad) withDefaults() TCPLoad {
	l.Connections = orElse(l.Connections, 1)
	l.AtOnce = orElse(l.AtOnce, 100)
	l.Rounds = orElse(l.Rounds, 4)
	l.Bytes = orElse(l.Bytes, 4096)
	l.Timeout = orElse(l.Timeout, 30*time.Second)
	return l
}

func orElse[T int | time.Duration](v, unset T) T {
	if v <= 0 {
		return unset
	}
	return v
}

// TCP opens the connections from a namespace, sends and checks data both ways
// and closes them in order.
func TCP(ctx context.Context, from *netns.Namespace, to netip.AddrPort, load TCPLoad) *Report {
	load = load.withDefaults()
	return repeat(ctx, load.Connections, load.AtOnce, func(i int) result {
		c, stall, err := dial(ctx, from, to, load.Timeout)
		if err != nil {
			return result{err: err}
		}
		defer c.Close()
		defer watchContext(ctx, c)()
		e := newEcho(load.Seed+uint64(i), load.Bytes)
		for range load.Rounds {
			took, err := e.round(c, load.Timeout)
			if err != nil {
				return result{err: fmt.Errorf("%v: %w", c.LocalAddr(), err)}
			}
			stall = max(stall, took)
		}
		return result{stall: stall, err: finish(c, load.Timeout)}
	})
}

// dial connects and says how long that took.
func dial(ctx context.Context, from *netns.Namespace, to netip.AddrPort, timeout time.Duration) (*net.TCPConn, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	begin := time.Now()
	c, err := from.DialTCP(ctx, to)
	return c, time.Since(begin), err
}

// finish closes the sending side and waits for the other side's end.
func finish(c *net.TCPConn, timeout time.Duration) error {
	if err := c.CloseWrite(); err != nil {
		return fmt.Errorf("%v: close: %w", c.LocalAddr(), err)
	}
	c.SetReadDeadline(time.Now().Add(timeout))
	if n, err := io.Copy(io.Discard, c); err != nil || n > 0 {
		return fmt.Errorf("%v: %d bytes after the end: %w", c.LocalAddr(), n, errors.Join(err, ErrContent))
	}
	return nil
}

// echo makes the content of one connection, different in every round.
type echo struct {
	random *rand.ChaCha8
	out    []byte
	in     []byte
}

func newEcho(seed uint64, size int) *echo {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return &echo{random: rand.NewChaCha8(key), out: make([]byte, size), in: make([]byte, size)}
}

// round sends one block, reads it back and compares. Blocks must fit the
// socket buffers on the way, as it sends all before it reads.
func (e *echo) round(c net.Conn, timeout time.Duration) (time.Duration, error) {
	e.random.Read(e.out)
	begin := time.Now()
	c.SetDeadline(begin.Add(timeout))
	if _, err := c.Write(e.out); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(c, e.in); err != nil {
		return 0, err
	}
	if !bytes.Equal(e.in, e.out) {
		return 0, ErrContent
	}
	return time.Since(begin), nil
}
