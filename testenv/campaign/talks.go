package campaign

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
)

// TalksConfig describes Talks. All fields are needed.
type TalksConfig struct {
	Connections int
	Bytes       int           // of a block, at least 8
	Every       time.Duration // between two blocks
	Timeout     time.Duration // an exchange that takes longer has failed
}

// Talks are established TCP connections to an echo server that exchange a
// block every interval. All methods may be called concurrently.
type Talks struct {
	cfg    TalksConfig
	talks  []*talk
	done   chan struct{}
	silent atomic.Bool
	stop   sync.Once
	ending sync.WaitGroup
}

// talk is one connection.
type talk struct {
	conn   *net.TCPConn
	mu     sync.Mutex // guards what follows
	last   time.Time  // newest block that came back
	stall  time.Duration
	err    error
	socket string // what the kernel said of it then
	errAt  time.Time
}

// OpenTalks connects and starts talking. On an error nothing stays open.
func OpenTalks(ctx context.Context, from *netns.Namespace, to netip.AddrPort, cfg TalksConfig) (*Talks, error) {
	t := &Talks{cfg: cfg, done: make(chan struct{}), talks: make([]*talk, cfg.Connections)}
	var g errgroup.Group
	g.SetLimit(50)
	for i := range t.talks {
		g.Go(func() error {
			c, err := from.DialTCP(ctx, to)
			if err == nil {
				c.SetKeepAlive(false) // an idle connection is silent
				t.talks[i] = &talk{conn: c, last: time.Now()}
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.talks = slices.DeleteFunc(t.talks, func(k *talk) bool { return k == nil })
		t.Close()
		return nil, err
	}
	for i, k := range t.talks {
		t.ending.Go(func() { t.run(i, k) })
	}
	return t, nil
}

// run exchanges blocks until the end, and one more then: it says whether the
// connection is alive still.
func (t *Talks) run(i int, k *talk) {
	out, in := bytes.Repeat([]byte{byte(i)}, t.cfg.Bytes), make([]byte, t.cfg.Bytes)
	// Spread over the interval, or all would talk at once.
	timer := time.NewTimer(t.cfg.Every * time.Duration(i+1) / time.Duration(len(t.talks)))
	defer timer.Stop()
	for round, more := uint64(1), true; more; round++ {
		select {
		case <-timer.C:
			timer.Reset(t.cfg.Every)
			if t.silent.Load() {
				continue
			}
		case <-t.done:
			more = false
		}
		binary.BigEndian.PutUint64(out, round)
		began := time.Now()
		err := exchange(k.conn, out, in, began.Add(t.cfg.Timeout))
		k.mu.Lock()
		if err != nil {
			k.err, k.errAt, k.socket = err, time.Now(), describe(k.conn)
			more = false
		} else {
			k.last = time.Now()
			k.stall = max(k.stall, k.last.Sub(began))
		}
		k.mu.Unlock()
	}
}

var errContent = errors.New("other bytes came back")

func exchange(c *net.TCPConn, out, in []byte, deadline time.Time) error {
	c.SetDeadline(deadline)
	if _, err := c.Write(out); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, in); err != nil {
		return err
	}
	if !bytes.Equal(in, out) {
		return errContent
	}
	return nil
}

// Keys are the connections as the nodes know them.
func (t *Talks) Keys() []Key {
	keys := make([]Key, 0, len(t.talks))
	for _, k := range t.talks {
		keys = append(keys, keyOf("tcp", k.conn))
	}
	return keys
}

// Mark forgets the stalls so far.
func (t *Talks) Mark() {
	for _, k := range t.talks {
		k.mu.Lock()
		k.stall = 0
		k.mu.Unlock()
	}
}

// Silence makes all of them say nothing, or go on. An exchange that has begun
// goes to its end.
func (t *Talks) Silence(on bool) { t.silent.Store(on) }

// AllSince reports whether every living connection exchanged a block after at.
func (t *Talks) AllSince(at time.Time) bool {
	for _, k := range t.talks {
		k.mu.Lock()
		ok := k.err != nil || k.last.After(at)
		k.mu.Unlock()
		if !ok {
			return false
		}
	}
	return true
}

// Waiting are the living connections that have exchanged nothing after at.
func (t *Talks) Waiting(at time.Time) (keys []Key) {
	for _, k := range t.talks {
		k.mu.Lock()
		if k.err == nil && !k.last.After(at) {
			keys = append(keys, keyOf("tcp", k.conn))
		}
		k.mu.Unlock()
	}
	return keys
}

// Stalls returns the longest wait of every connection since Mark.
func (t *Talks) Stalls() []time.Duration {
	stalls := make([]time.Duration, 0, len(t.talks))
	for _, k := range t.talks {
		k.mu.Lock()
		stalls = append(stalls, k.stall)
		k.mu.Unlock()
	}
	return stalls
}

// Lost returns a sentence for every connection that died.
func (t *Talks) Lost() []error {
	var lost []error
	for _, k := range t.talks {
		k.mu.Lock()
		if k.err != nil {
			lost = append(lost, fmt.Errorf("%s at %s: %w (last word %s before; %s)", k.conn.LocalAddr(), k.errAt.Format(time.StampMicro), k.err, k.errAt.Sub(k.last).Round(time.Millisecond), k.socket))
		}
		k.mu.Unlock()
	}
	return lost
}

// DeadKeys are the connections that died.
func (t *Talks) DeadKeys() (keys []Key) {
	for _, k := range t.talks {
		k.mu.Lock()
		if k.err != nil {
			keys = append(keys, keyOf("tcp", k.conn))
		}
		k.mu.Unlock()
	}
	return keys
}

// Retransmissions sums what the clients' kernels sent again.
func (t *Talks) Retransmissions() (total uint64, err error) {
	for _, k := range t.talks {
		n, err := retransmissions(k.conn)
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, nil
}

// describe says what the kernel knows of a socket that gets no answer (TCP_INFO).
func describe(c *net.TCPConn) string {
	raw, err := c.SyscallConn()
	if err != nil {
		return err.Error()
	}
	said := ""
	if err := raw.Control(func(fd uintptr) {
		i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			said = err.Error()
			return
		}
		said = fmt.Sprintf("not acknowledged %d, sent again %d in a row and %d in all, heard %d ms ago", i.Unacked, i.Retransmits, i.Total_retrans, i.Last_ack_recv)
	}); err != nil {
		return err.Error()
	}
	return said
}

// retransmissions of one socket so far (TCP_INFO).
func retransmissions(c *net.TCPConn) (n uint64, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info *unix.TCPInfo
	if e := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); e != nil || err != nil {
		return 0, errors.Join(e, err)
	}
	return uint64(info.Total_retrans), nil
}

// Finish exchanges a last block on every connection and returns those that
// died. The connections stay open, so that they can be counted. Idempotent.
func (t *Talks) Finish() []error {
	t.stop.Do(func() { close(t.done) })
	t.ending.Wait()
	return t.Lost()
}

// Close is Finish, then closes the connections. Idempotent.
func (t *Talks) Close() {
	t.Finish()
	for _, k := range t.talks {
		k.conn.Close()
	}
}
