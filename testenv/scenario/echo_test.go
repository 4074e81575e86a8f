package scenario

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"sync/atomic"

	"cohort/testenv/traffic"
)

// echo sends content to a server that sends it back, and compares.
type echo struct {
	ctx      context.Context
	conn     *net.TCPConn
	received atomic.Int64
	done     chan error
}

func newEcho(ctx context.Context, conn *net.TCPConn) *echo {
	if until, ok := ctx.Deadline(); ok {
		conn.SetDeadline(until)
	}
	return &echo{ctx: ctx, conn: conn, done: make(chan error, 2)}
}

func (e *echo) send(size int64) {
	_, err := io.Copy(e.conn, traffic.Content(size))
	e.done <- err
}

func (e *echo) receive(size int64) {
	sum := sha256.New()
	b := make([]byte, 64<<10)
	var err error
	for n := 0; err == nil && e.received.Load() < size; {
		n, err = e.conn.Read(b)
		sum.Write(b[:n])
		e.received.Add(int64(n))
	}
	if err == nil && hex.EncodeToString(sum.Sum(nil)) != traffic.ContentSum(size) {
		err = errors.New("what came back is not what was sent")
	}
	e.done <- err
}

// wait returns when both have ended.
func (e *echo) wait() error { return errors.Join(<-e.done, <-e.done) }
