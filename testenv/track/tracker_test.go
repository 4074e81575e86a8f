package track

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"cohort/testenv/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Hops are addresses on the loopback of a namespace; one dies when its address
// is taken away.
func TestTracker_WithdrawsAndReturnsAHop(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	n := namespace(t)
	hops := []netip.Addr{netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.2")}
	for _, h := range hops {
		address(t, n, h, true)
	}
	var calls []Event
	tr, err := New(n, Config{Interval: 10 * time.Millisecond}, hops, func(e Event) { calls = append(calls, e) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error)
	go func() { done <- tr.Run(ctx) }()

	before := time.Now()
	address(t, n, hops[1], false)
	at, err := tr.Wait(ctx, 1, false)
	if err != nil {
		t.Fatal(err)
	}
	if d := at.Sub(before); d < 20*time.Millisecond {
		t.Errorf("withdrawn after %v, before three probes could be lost", d)
	}
	address(t, n, hops[1], true)
	if _, err := tr.Wait(ctx, 1, true); err != nil {
		t.Fatal(err)
	}
	if err := tr.Steady(ctx); err != nil {
		t.Fatal(err)
	}
	address(t, n, hops[1], false)
	gone, stopGone := context.WithTimeout(ctx, 200*time.Millisecond)
	defer stopGone()
	if err := tr.Steady(gone); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("steady with a dead hop: %v", err)
	}
	address(t, n, hops[1], true)
	if err := tr.Steady(ctx); err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithTimeout(ctx, time.Millisecond)
	defer stop()
	if _, err := tr.Wait(short, 1, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for what does not happen: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	var of1 []bool
	for _, e := range calls {
		if e.Hop == 1 {
			of1 = append(of1, e.Alive)
		}
	}
	if len(of1) < 2 || of1[0] || !of1[1] {
		t.Errorf("changes of hop 1: %v, want dead, then alive", of1)
	}
	if len(calls) != len(tr.Events()) {
		t.Errorf("%d calls, %d events", len(calls), len(tr.Events()))
	}
}

func namespace(t *testing.T) *netns.Namespace {
	t.Helper()
	tag, err := netns.NewTag()
	if err != nil {
		t.Fatal(err)
	}
	n, err := netns.New(tag.Name("track"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func address(t *testing.T, n *netns.Namespace, a netip.Addr, present bool) {
	t.Helper()
	lo, err := n.Netlink().LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	host := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}}
	change := n.Netlink().AddrDel
	if present {
		change = n.Netlink().AddrAdd
	}
	if err := change(lo, host); err != nil {
		t.Fatal(err)
	}
}
