package ccl

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
)

// wiring is a switch (a bridge in a namespace of its own) and nodes on it.
type wiring struct {
	t     *testing.T
	sw    *netns.Namespace
	nodes []*netns.Namespace
}

const ccl0 = "ccl0"

func vtep(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, byte(i + 1)}) }

func peersOf(i, n int) (list []netip.Addr) {
	for j := range n {
		if j != i {
			list = append(list, vtep(j))
		}
	}
	return list
}

func newWiring(t *testing.T, n, mtu int) *wiring {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	tag, err := netns.NewTag()
	if err != nil {
		t.Fatal(err)
	}
	w := &wiring{t: t}
	space := func(role string) *netns.Namespace {
		s, err := netns.New(tag.Name(role))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	w.sw = space("sw")
	w.in(w.sw, func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
		br.Name, br.MTU = "br0", mtu
		if err := netlink.LinkAdd(br); err != nil {
			return err
		}
		return netlink.LinkSetUp(br)
	})
	for i := range n {
		node := space(fmt.Sprintf("n%d", i))
		w.nodes = append(w.nodes, node)
		w.in(w.sw, func() error { return plug(i, mtu, node.FD()) })
	}
	return w
}

// plug joins a new node to the bridge by a veth pair.
func plug(i, mtu, fd int) error {
	port := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: ccl0, PeerMTU: uint32(mtu), PeerNamespace: netlink.NsFd(fd)}
	port.Name, port.MTU = fmt.Sprintf("p%d", i), mtu
	if err := netlink.LinkAdd(port); err != nil {
		return err
	}
	br, err := netlink.LinkByName("br0")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMaster(port, br); err != nil {
		return err
	}
	return netlink.LinkSetUp(port)
}

func (w *wiring) in(s *netns.Namespace, f func() error) {
	w.t.Helper()
	if err := s.Do(f); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wiring) config(i int) LinkConfig {
	return LinkConfig{
		Interface: ccl0, Address: netip.PrefixFrom(vtep(i), 24), VNI: 77, Peers: peersOf(i, len(w.nodes)),
	}
}

func (w *wiring) open(i int, cfg LinkConfig) (l *Link, err error) {
	w.in(w.nodes[i], func() error { l, err = OpenLink(cfg); return nil })
	if err == nil {
		w.t.Cleanup(func() {
			if err := l.Close(); err != nil {
				w.t.Error(err)
			}
		})
	}
	return l, err
}

func (w *wiring) mustOpen(i int, cfg LinkConfig) *Link {
	w.t.Helper()
	l, err := w.open(i, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// got is what arrived at a link.
type got struct {
	from netip.Addr
	data string
}

// collect receives until ok or for ten seconds.
func collect(t *testing.T, links []*Link, ok func(by [][]got) bool) [][]got {
	t.Helper()
	by := make([][]got, len(links))
	deadline := time.Now().Add(10 * time.Second)
	for !ok(by) {
		wait(t, links, deadline)
		for i, l := range links {
			if _, err := l.Receive(100, func(from netip.Addr, b []byte) {
				by[i] = append(by[i], got{from, string(b)})
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return by
}

// wait polls the links' descriptors; past the deadline it fails the test.
func wait(t *testing.T, links []*Link, deadline time.Time) {
	t.Helper()
	left := time.Until(deadline)
	if left <= 0 {
		for _, l := range links {
			t.Logf("%s: %+v", l.Name(), l.Counters())
		}
		t.Fatal("not within 10 s")
	}
	fds := make([]unix.PollFd, len(links))
	for i, l := range links {
		fds[i] = unix.PollFd{Fd: int32(l.FD()), Events: unix.POLLIN}
	}
	if _, err := unix.Poll(fds, int(min(left, 20*time.Millisecond)/time.Millisecond)); err != nil && !errors.Is(err, unix.EINTR) {
		t.Fatal(err)
	}
}
