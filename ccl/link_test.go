package ccl

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
)

func TestCL1BroadcastAndUnicastReachTheRightPeers(t *testing.T) {
	w := newWiring(t, 3, DefaultMTU)
	var links []*Link
	for i := range 3 {
		links = append(links, w.mustOpen(i, w.config(i)))
	}
	links[0].Broadcast([]byte("to all"))
	links[0].Send(vtep(2), []byte("state to c"))
	links[1].SendControl(vtep(2), []byte("control to c"))
	by := collect(t, links, func(by [][]got) bool { return len(by[1]) == 1 && len(by[2]) == 3 })
	if by[1][0] != (got{vtep(0), "to all"}) || len(by[0]) != 0 {
		t.Errorf("a %v, b %v", by[0], by[1])
	}
	want := map[got]bool{{vtep(0), "to all"}: true, {vtep(0), "state to c"}: true, {vtep(1), "control to c"}: true}
	for _, g := range by[2] {
		if !want[g] {
			t.Errorf("c got %v", g)
		}
	}
}

func TestCL1UnknownPeerIsRefusedAndCounted(t *testing.T) {
	w := newWiring(t, 3, DefaultMTU)
	cfg := w.config(0)
	cfg.Peers = peersOf(0, 2) // without c
	a, b, c := w.mustOpen(0, cfg), w.mustOpen(1, w.config(1)), w.mustOpen(2, w.config(2))
	c.Broadcast([]byte("stranger"))
	collect(t, []*Link{b}, func(by [][]got) bool { return len(by[0]) == 1 })
	b.Send(vtep(0), []byte("friend"))
	by := collect(t, []*Link{a}, func(by [][]got) bool { return a.Counters().UnknownPeer == 1 && len(by[0]) == 1 })
	if by[0][0].data != "friend" {
		t.Errorf("got %v", by[0])
	}
	a.Send(vtep(2), []byte("x"))
	if n := a.Counters().SendFailed; n != 1 {
		t.Errorf("%d sends to a stranger refused", n)
	}
	// Peers can change while the link runs.
	w.in(w.nodes[0], func() error { return a.SetPeers(peersOf(0, 3)) })
	c.Broadcast([]byte("no stranger any more"))
	collect(t, []*Link{a}, func(by [][]got) bool { return len(by[0]) == 1 })
	w.in(w.nodes[0], func() error { return a.SetPeers(nil) })
	w.in(w.nodes[0], func() error {
		for _, family := range []int{unix.AF_BRIDGE, unix.AF_INET} {
			list, err := netlink.NeighList(a.dev.Attrs().Index, family)
			if err != nil {
				return err
			}
			for i := range list {
				list[i].Family = family
				if ours(&list[i]) {
					t.Errorf("entry left: %+v", list[i])
				}
			}
		}
		return nil
	})
}

func TestCL1WrongVNIIsRefused(t *testing.T) {
	w := newWiring(t, 3, DefaultMTU)
	a, b := w.mustOpen(0, w.config(0)), w.mustOpen(1, w.config(1))
	cfg := w.config(2)
	cfg.VNI = 78
	c := w.mustOpen(2, cfg)
	c.Broadcast([]byte("other cluster"))
	c.Send(vtep(0), []byte("other cluster"))
	if n := c.Counters().Sent; n != 2 {
		t.Fatalf("sent %d", n)
	}
	// veth and bridge keep order and lose nothing here: what b sends after c
	// arrives after what c sent would have.
	b.Broadcast([]byte("ours"))
	by := collect(t, []*Link{a}, func(by [][]got) bool { return len(by[0]) > 0 })
	if len(by[0]) != 1 || by[0][0].data != "ours" || a.Counters().Received != 1 {
		t.Errorf("got %v, counters %+v", by[0], a.Counters())
	}
}

func TestLinkConfigurationIsChecked(t *testing.T) {
	good := LinkConfig{Interface: "x", Address: netip.MustParsePrefix("10.99.0.1/24"), VNI: 1, Peers: peersOf(0, 3)}
	if err := good.check(); err != nil || good.Name != "cohort-vx1" || good.MTU != 1654 {
		t.Fatal(err, good)
	}
	long := good
	long.Name, long.VNI = "", 1<<24-1
	if err := long.check(); err != nil || long.Name != "cohvx16777215" {
		t.Errorf("%v %q", err, long.Name)
	}
	for name, spoil := range map[string]func(*LinkConfig){
		"interface": func(c *LinkConfig) { c.Interface = "" },
		"vni":       func(c *LinkConfig) { c.VNI = 1 << 24 },
		"mtu":       func(c *LinkConfig) { c.MTU = 9199 },
		"name":      func(c *LinkConfig) { c.Name = "a-name-that-is-too-long" },
		"port":      func(c *LinkConfig) { c.ControlPort = 65535 },
		"no prefix": func(c *LinkConfig) { c.Address = netip.Prefix{} },
		"ipv6":      func(c *LinkConfig) { c.Peers = []netip.Addr{netip.MustParseAddr("fd00::1")} },
		"zero host": func(c *LinkConfig) { c.Peers = []netip.Addr{netip.MustParseAddr("10.99.0.0")} },
		"ones":      func(c *LinkConfig) { c.Peers = []netip.Addr{netip.MustParseAddr("10.99.255.255")} },
		"same host": func(c *LinkConfig) { c.Peers = []netip.Addr{netip.MustParseAddr("10.98.0.1")} },
	} {
		c := good
		spoil(&c)
		if err := c.check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLinkDoesNotAllocatePerDatagram(t *testing.T) {
	w := newWiring(t, 2, DefaultMTU)
	links := []*Link{w.mustOpen(0, w.config(0)), w.mustOpen(1, w.config(1))}
	b := make([]byte, 1000)
	links[0].Send(vtep(1), b) // resolves what there is to resolve
	collect(t, links[1:], func(by [][]got) bool { return len(by[0]) == 1 })
	n := 0
	count := func(netip.Addr, []byte) { n++ }
	allocs := testing.AllocsPerRun(50, func() {
		for range 20 {
			links[0].Send(vtep(1), b)
		}
		if _, err := links[1].Receive(1000, count); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 || n < 500 {
		t.Errorf("%v allocations for 20 datagrams, %d received", allocs, n)
	}
}

// What one call takes bounds how long packets wait for it.
func TestCL5_ReceiveKeepsToItsLimit(t *testing.T) {
	w := newWiring(t, 2, DefaultMTU)
	links := []*Link{w.mustOpen(0, w.config(0)), w.mustOpen(1, w.config(1))}
	links[0].Send(vtep(1), []byte{1}) // resolves what there is to resolve
	collect(t, links[1:], func(by [][]got) bool { return len(by[0]) == 1 })
	const sent, limit = 50, 7
	for range sent {
		links[0].Send(vtep(1), []byte{1})
	}
	total := 0
	for deadline := time.Now().Add(5 * time.Second); total < sent && time.Now().Before(deadline); {
		n, err := links[1].Receive(limit, func(netip.Addr, []byte) { total++ })
		if err != nil || n > limit {
			t.Fatalf("one call took %d datagrams, want at most %d; %v", n, limit, err)
		}
	}
	if total != sent {
		t.Errorf("%d of %d datagrams", total, sent)
	}
}

// CL3: what the link takes is what its interface and its device have now, not what they
// had when it was opened; a device that is adopted gets the present size first.
func TestCL3_WhatTheLinkTakesFollowsTheKernel(t *testing.T) {
	for _, v := range []struct {
		name   string
		config func(w *wiring) LinkConfig
	}{
		{"ipv4", func(w *wiring) LinkConfig { return w.config(0) }},
		{"ipv6", func(w *wiring) LinkConfig { return w.configIPv6(0) }},
	} {
		t.Run(v.name, func(t *testing.T) {
			w := newWiring(t, 2, 9000)
			cfg := v.config(w)
			cfg.MTU = 2000
			if err := w.mustOpen(0, cfg).Close(); err != nil {
				t.Fatal(err)
			}
			cfg.MTU = 3000
			l := w.mustOpen(0, cfg)
			set := func(name string, mtu int) {
				w.in(w.nodes[0], func() error {
					dev, err := netlink.LinkByName(name)
					if err != nil {
						return err
					}
					return netlink.LinkSetMTU(dev, mtu)
				})
			}
			wants := func(when string, mtu int) {
				if got := l.Takes(); got != mtu {
					t.Errorf("%s: %d, want %d", when, got, mtu)
				}
			}
			inside := 3000 - VXLANOverheadFor(cfg.Address.Addr())
			wants("adopted", 3000) // the interface has 9000
			set(ccl0, 2500)
			wants("a lower interface", 2500)
			set(ccl0, 9000)
			set(l.Name(), inside-1)
			wants("a lower device", 2999)
			set(l.Name(), inside)
			wants("as before", 3000)
			w.in(w.nodes[0], func() error {
				dev, err := netlink.LinkByName(ccl0)
				if err != nil {
					return err
				}
				return netlink.LinkDel(dev)
			})
			wants("gone", 0)
		})
	}
}

// TestHL2_TheControlLinkRuns: while its interface is up and has its carrier.
func TestHL2_TheControlLinkRuns(t *testing.T) {
	w := newWiring(t, 1, DefaultMTU)
	l := w.mustOpen(0, w.config(0))
	set := func(s *netns.Namespace, name string, change func(netlink.Link) error) {
		w.in(s, func() error {
			dev, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			return change(dev)
		})
	}
	until := func(what string, want bool) { // the carrier is told with a delay
		t.Helper()
		for end := time.Now().Add(10 * time.Second); l.Running() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: running is %v", what, !want)
			}
		}
	}
	until("plugged in", true)
	set(w.sw, "p0", netlink.LinkSetDown)
	until("the other end is down", false)
	set(w.sw, "p0", netlink.LinkSetUp)
	until("and up again", true)
	set(w.nodes[0], ccl0, netlink.LinkSetDown)
	until("down itself", false)
	set(w.nodes[0], ccl0, netlink.LinkSetUp)
	until("and up again", true)
	set(w.nodes[0], ccl0, netlink.LinkDel)
	until("gone", false)
}
