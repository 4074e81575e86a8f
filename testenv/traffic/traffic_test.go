package traffic

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cohort/testenv/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The tests of this package stay on the loopback of one namespace: what is
// proved is the load, not the network.
var (
	lo       = netip.MustParseAddr("127.0.0.1")
	anyPort  = netip.AddrPortFrom(lo, 0)
	somePort = netip.AddrPortFrom(lo, 2222)
)

func newTest(t *testing.T) (*netns.Namespace, context.Context) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	tag, err := netns.NewTag()
	if err != nil {
		t.Fatal(err)
	}
	n, err := netns.New(tag.Name("traffic"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return n, ctx
}

// served registers the end of a server.
func served(t *testing.T) func(*Server, error) netip.AddrPort {
	return func(s *Server, err error) netip.AddrPort {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s.Addr
	}
}

func TestTCP_CompletesAndChecksEveryConnection(t *testing.T) {
	n, ctx := newTest(t)
	addr := served(t)(ServeEcho(n, anyPort))
	r := TCP(ctx, n, addr, TCPLoad{Connections: 300})
	if err := r.Err(); err != nil || r.Done != 300 || len(r.Stalls) != 300 || r.Longest() <= 0 {
		t.Errorf("%v: %v", r, err)
	}
	if !slices.IsSorted(r.Stalls) || r.Quantile(0) > r.Quantile(0.5) {
		t.Error("stalls are not in order")
	}
}

// The server here echoes with one bit turned, and later nothing.
func TestTCP_NoticesWrongBytesAndSilence(t *testing.T) {
	n, ctx := newTest(t)
	l, err := n.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var silent atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 4096)
			io.ReadFull(c, b)
			if b[77] ^= 1; !silent.Load() {
				c.Write(b)
			}
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	defer func() { l.Close(); <-done }()
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	r := TCP(ctx, n, addr, TCPLoad{Connections: 2, AtOnce: 1})
	if r.Failed != 2 || !errors.Is(r.Err(), ErrContent) {
		t.Errorf("wrong bytes: %v: %v", r, r.Err())
	}
	silent.Store(true)
	r = TCP(ctx, n, addr, TCPLoad{Timeout: 20 * time.Millisecond})
	if r.Failed != 1 || !errors.Is(r.Err(), os.ErrDeadlineExceeded) {
		t.Errorf("silence: %v: %v", r, r.Err())
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if r = TCP(ended, n, addr, TCPLoad{Connections: 5}); r.Failed != 5 || !errors.Is(r.Err(), context.Canceled) {
		t.Errorf("ended context: %v: %v", r, r.Err())
	}
}

func TestPool_RestsAndReportsItsSurvivors(t *testing.T) {
	n, ctx := newTest(t)
	s, err := ServeEcho(n, anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cfg := PoolConfig{Connections: 200, Interval: 100 * time.Millisecond}
	p, err := OpenPool(ctx, n, s.Addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r := p.Close(); r.Err() != nil || r.Done != 200 || r.Longest() <= 0 {
		t.Errorf("%v: %v", r, r.Err())
	}
	if p, err = OpenPool(ctx, n, s.Addr, cfg); err != nil {
		t.Fatal(err)
	}
	s.Close() // every connection dies
	if r := p.Close(); r.Failed != 200 || r.Done != 0 {
		t.Errorf("after the server died: %v", r)
	}
	if _, err := OpenPool(ctx, n, s.Addr, cfg); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("pool without a server: %v", err)
	}
}

func TestUDP_CompletesEveryExchange(t *testing.T) {
	n, ctx := newTest(t)
	addr := served(t)(ServeUDPEcho(n, anyPort))
	if r := UDP(ctx, n, addr, DatagramLoad{Exchanges: 500}); r.Err() != nil {
		t.Errorf("%v: %v", r, r.Err())
	}
	r := UDP(ctx, n, netip.AddrPortFrom(lo, 9), DatagramLoad{Attempts: 3, Timeout: 10 * time.Millisecond})
	if r.Failed != 1 || r.Retries != 3 {
		t.Errorf("nobody answers: %v, want 1 failure after 3 attempts", r)
	}
}

func TestPings_CompleteWithIdentifiersOfTheirOwn(t *testing.T) {
	n, ctx := newTest(t)
	if r := Pings(ctx, n, lo, DatagramLoad{Exchanges: 100, AtOnce: 10}); r.Err() != nil {
		t.Errorf("%v: %v", r, r.Err())
	}
	nobody := netip.MustParseAddr("192.0.2.1") // no route
	if r := Pings(ctx, n, nobody, DatagramLoad{Attempts: 2}); r.Failed != 1 {
		t.Errorf("ping without a route: %v", r)
	}
}

func TestDownload_MeasuresAndVerifies(t *testing.T) {
	n, ctx := newTest(t)
	const size = 3 << 20
	addr := served(t)(ServeHTTP(n, anyPort, 0))
	var d Download
	if err := d.Run(ctx, n, addr, size, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	if d.Received() != size || d.Stall() <= 0 {
		t.Errorf("received %d of %d bytes, stall %v", d.Received(), size, d.Stall())
	}
	// At 1 MiB/s, 256 KiB last a quarter of a second less one step.
	slow := served(t)(ServeHTTP(n, anyPort, 1<<20))
	begin := time.Now()
	if err := new(Download).Run(ctx, n, slow, 256<<10, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 150*time.Millisecond {
		t.Errorf("256 KiB at 1 MiB/s took %v", took)
	}
	if err := new(Download).Run(ctx, n, slow, 1<<40, time.Nanosecond); err == nil || !strings.Contains(err.Error(), "no byte for") {
		t.Errorf("a stalled download: %v", err)
	}
}

// TestDownload_Hurries: what would last for an hour is over at once.
func TestDownload_Hurries(t *testing.T) {
	n, ctx := newTest(t)
	const size = 4 << 20
	server, err := ServeHTTP(n, anyPort, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var d Download
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx, n, server.Addr, size, 10*time.Second) }()
	for d.Received() < 1<<10 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if got := d.Received(); got > 10<<10 {
		t.Errorf("%d bytes at 1 KiB/s", got)
	}
	server.Hurry()
	server.Hurry()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("after Hurry %d bytes have come in 10 s", d.Received())
	}
}

func TestPrograms_Run(t *testing.T) {
	n, ctx := newTest(t)
	addr := served(t)(ServeHTTP(n, anyPort, 0))
	if err := Curl(ctx, n, addr, 1<<20); err != nil {
		t.Error(err)
	}
	if err := Curl(ctx, n, netip.AddrPortFrom(lo, 9), 1); err == nil {
		t.Error("curl without a server succeeded")
	}
	if got, err := PingProgram(ctx, n, lo, 3, 10*time.Millisecond); err != nil || got != 3 {
		t.Errorf("ping: %d of 3, %v", got, err)
	}
	if bits, err := Iperf3(ctx, n, n, netip.AddrPortFrom(lo, 5201), time.Second); err != nil || bits < 1e6 {
		t.Errorf("iperf3: %.0f bit/s, %v", bits, err)
	}
}

func TestSSH_SessionEchoesAndEnds(t *testing.T) {
	n, ctx := newTest(t)
	s, err := ServeSSH(ctx, n, somePort, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	x, err := s.Session(n)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := x.Exchange(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if x.Stall() <= 0 {
		t.Error("no stall was measured")
	}
	if err := x.Close(ctx); err != nil {
		t.Error(err)
	}
	dying, err := s.Session(n)
	if err != nil {
		t.Fatal(err)
	}
	if err := dying.Exchange(ctx); err != nil {
		t.Fatal(err)
	}
	if err := n.Kill(); err != nil { // server, session and all
		t.Fatal(err)
	}
	if err := dying.Exchange(ctx); err == nil {
		t.Error("a dead session still echoes")
	}
	if err := dying.Close(ctx); err == nil {
		t.Error("a dead session ended well")
	}
}
