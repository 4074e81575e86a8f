package topology

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cohort/testenv/line"
	"cohort/testenv/track"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(childRole) != "":
		child()
		return
	case os.Getenv(daemonRole) != "":
		if err := fakeDaemon(os.Args[len(os.Args)-1]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	line.BecomeApart()
	goleak.VerifyTestMain(m)
}

// patient is a tracker for a busy machine: it must not lose a living hop.
var patient = track.Config{Interval: 100 * time.Millisecond, Losses: 5}

// calm is a tracker that changes nothing while a test counts packets.
var calm = track.Config{Interval: time.Second, Losses: 30}

// start makes a topology for one test.
func start(t *testing.T, cfg Config) *Topology {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	return Start(t, cfg)
}

// within gives a context that no step of a test should ever need all of.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// udpEcho answers every datagram at a host until the test ends.
func udpEcho(t *testing.T, h *Host) netip.AddrPort {
	t.Helper()
	c, err := h.Namespace.ListenPacket("udp4", netip.AddrPortFrom(h.Addr, 7).String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var b [2048]byte
		for {
			n, from, err := c.ReadFrom(b[:])
			if err != nil {
				return
			}
			c.WriteTo(b[:n], from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return netip.AddrPortFrom(h.Addr, 7)
}

// exchange sends a datagram and reads its echo, again after 200 ms without one.
func exchange(t *testing.T, c *net.UDPConn, ctx context.Context) {
	t.Helper()
	var b [64]byte
	for ctx.Err() == nil {
		if _, err := c.Write([]byte("ping")); err != nil {
			continue // an ICMP error for an earlier one
		}
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := c.Read(b[:]); err == nil {
			return
		}
	}
	t.Fatalf("no echo from %v: %v", c.RemoteAddr(), ctx.Err())
}

// growth returns after minus before.
func growth(before, after []uint64) []uint64 {
	d := make([]uint64, len(after))
	for i := range d {
		d[i] = after[i] - before[i]
	}
	return d
}

// busiest returns the index of the largest value and the sum of all.
func busiest(v []uint64) (at int, sum uint64) {
	for i, n := range v {
		sum += n
		if n > v[at] {
			at = i
		}
	}
	return at, sum
}

// must returns a value whose error would end the test.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
