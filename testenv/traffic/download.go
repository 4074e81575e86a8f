package traffic

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"cohort/testenv/netns"
)

// Content is a stream of size bytes that looks random and is always the same.
func Content(size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{'c', 'o', 'h', 'o', 'r', 't'}), size)
}

// ContentSum is the sha256 of Content(size) in hexadecimal.
func ContentSum(size int64) string {
	h := sha256.New()
	io.Copy(h, Content(size))
	return hex.EncodeToString(h.Sum(nil))
}

// ServeHTTP serves Content(N) at /N, until Close. A positive rate limits each
// answer to so many bytes a second, so that a download lasts, until Hurry.
func ServeHTTP(n *netns.Namespace, addr netip.AddrPort, rate int64) (*Server, error) {
	l, err := n.Listen(addr.String())
	if err != nil {
		return nil, err
	}
	hurry := make(chan struct{})
	hs := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size, err := strconv.ParseInt(r.URL.Path[1:], 10, 64)
		if err != nil || size < 0 {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		io.Copy(w, &paced{ctx: r.Context(), from: Content(size), rate: rate, begin: time.Now(), hurry: hurry})
	})}
	s := &Server{Addr: l.Addr().(*net.TCPAddr).AddrPort(), listener: hs, hurry: hurry}
	s.running.Go(func() { hs.Serve(l) })
	return s, nil
}

// Hurry lifts the rate of ServeHTTP: when a download has lasted as long as it had to,
// its rest comes as fast as it can. Idempotent.
func (s *Server) Hurry() {
	if s.hurry != nil {
		s.hurried.Do(func() { close(s.hurry) })
	}
}

// paced is a reader that keeps to a rate on average, until hurry is closed.
type paced struct {
	ctx   context.Context
	from  io.Reader
	rate  int64
	begin time.Time
	given int64
	hurry <-chan struct{}
}

func (p *paced) Read(b []byte) (int, error) {
	if p.rate > 0 {
		due := time.Duration(float64(p.given) / float64(p.rate) * float64(time.Second))
		timer := time.NewTimer(due - time.Since(p.begin))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.hurry:
			p.rate = 0
			return p.Read(b)
		case <-p.ctx.Done():
			return 0, p.ctx.Err()
		}
		// Small enough steps that the rate holds from moment to moment.
		b = b[:min(int64(len(b)), max(p.rate/50, 1024))]
	}
	n, err := p.from.Read(b)
	p.given += int64(n)
	return n, err
}

// Download is one long HTTP transfer. Its numbers may be read while it runs.
type Download struct {
	received atomic.Int64
	stall    atomic.Int64
}

// Received returns the bytes that have come so far.
func (d *Download) Received() int64 { return d.received.Load() }

// Stall returns the longest gap so far, connecting included.
func (d *Download) Stall() time.Duration { return time.Duration(d.stall.Load()) }

// Run fetches Content(size) from ServeHTTP at addr and compares its sum; a gap
// longer than timeout is a failure. It is called once.
func (d *Download) Run(ctx context.Context, from *netns.Namespace, addr netip.AddrPort, size int64, timeout time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := time.AfterFunc(timeout, func() { cancel(fmt.Errorf("no byte for %v", timeout)) })
	defer patience.Stop()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return from.DialTCP(ctx, addr)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%v/%d", addr, size), nil)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	last := time.Now()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("download: %w", errors.Join(err, context.Cause(ctx)))
	}
	defer resp.Body.Close()
	h := sha256.New()
	b := make([]byte, 64<<10)
	for {
		n, err := resp.Body.Read(b)
		now := time.Now()
		d.stall.Store(max(d.stall.Load(), int64(now.Sub(last))))
		last = now
		patience.Reset(timeout)
		h.Write(b[:n])
		d.received.Add(int64(n))
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("download: after %d of %d bytes: %w", d.Received(), size, errors.Join(err, context.Cause(ctx)))
		}
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != ContentSum(size) {
		return fmt.Errorf("download: sha256 of %d bytes is %s: %w", d.Received(), got, ErrContent)
	}
	return nil
}
