package ccl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cohort/ccl/seal"
	"cohort/ccl/wire"
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

// watch opens a packet socket on a switch port.
func (w *wiring) watch(port string) (fd int) {
	w.t.Helper()
	w.in(w.sw, func() error {
		i, err := net.InterfaceByName(port)
		if err != nil {
			return err
		}
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index})
	})
	w.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// CL2: a datagram that fills the MTU is one frame of MTU bytes behind the
// Ethernet header, with DF outside and inside; one byte more is not sent.
func TestCL2FullMTUCrossesUnfragmented(t *testing.T) {
	for _, mtu := range []int{DefaultMTU, MaxMTU} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			w := newWiring(t, 2, mtu)
			var links []*Link
			for i := range 2 {
				cfg := w.config(i)
				cfg.MTU = mtu
				links = append(links, w.mustOpen(i, cfg))
			}
			fd := w.watch("p1")
			full := bytes.Repeat([]byte{0xa5}, mtu-VXLANOverhead-udpOverhead)
			links[0].Send(vtep(1), append(bytes.Clone(full), 1))
			if n := links[0].Counters().SendTooBig; n != 1 {
				t.Errorf("a datagram too large was not refused: %+v", links[0].Counters())
			}
			links[0].Send(vtep(1), full)
			by := collect(t, links, func(by [][]got) bool { return len(by[1]) == 1 })
			if by[1][0].data != string(full) {
				t.Error("changed on the way")
			}
			seen := 0
			frame := make([]byte, 10_000)
			for {
				n, _, err := unix.Recvfrom(fd, frame, 0)
				if err != nil {
					break
				}
				if n < 1000 {
					continue // ARP and the like
				}
				seen++
				outer, inner := frame[14:], frame[14+VXLANOverhead:]
				if n != mtu+14 || int(binary.BigEndian.Uint16(outer[2:])) != mtu || int(binary.BigEndian.Uint16(inner[2:])) != mtu-VXLANOverhead {
					t.Errorf("frame of %d bytes", n)
				}
				if outer[6]&0x40 == 0 || inner[6]&0x40 == 0 || outer[6]&0x3f|outer[7]|inner[6]&0x3f|inner[7] != 0 {
					t.Errorf("fragment fields %x outside, %x inside", outer[6:8], inner[6:8])
				}
			}
			if seen != 1 {
				t.Errorf("%d frames", seen)
			}
			// Membership may be larger than the MTU: IP fragments it.
			links[0].SendControl(vtep(1), append(bytes.Clone(full), 1))
			collect(t, links, func(by [][]got) bool { return len(by[1]) == 1 && len(by[1][0].data) == len(full)+1 })
		})
	}
}

// CL5: switches see outside which frames go before data: membership, then state.
func TestCL5ClassesShowOutside(t *testing.T) {
	w := newWiring(t, 2, DefaultMTU)
	a, b := w.mustOpen(0, w.config(0)), w.mustOpen(1, w.config(1))
	fd := w.watch("p1")
	a.Send(vtep(1), []byte("state"))
	a.SendControl(vtep(1), []byte("control"))
	a.Broadcast([]byte("to all"))
	collect(t, []*Link{b}, func(by [][]got) bool { return len(by[0]) == 3 })
	want := map[string]byte{"state": 0xa0, "control": 0xc0, "to all": 0xc0}
	frame := make([]byte, 10_000)
	for {
		n, _, err := unix.Recvfrom(fd, frame, 0)
		if err != nil {
			break
		}
		for text, tos := range want {
			if !bytes.HasSuffix(frame[:n], []byte(text)) {
				continue
			}
			delete(want, text)
			if got := frame[14+1]; got != tos {
				t.Errorf("%q has TOS %#x outside, want %#x", text, got, tos)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("not seen on the wire: %v", want)
	}
}

func TestCL2DeviceThatRefusesTheMTUIsNamedWithBothValues(t *testing.T) {
	w := newWiring(t, 1, DefaultMTU)
	w.in(w.nodes[0], func() error { // a macvlan cannot be larger than what it stands on
		under, err := netlink.LinkByName(ccl0)
		if err != nil {
			return err
		}
		m := &netlink.Macvlan{LinkAttrs: netlink.NewLinkAttrs(), Mode: netlink.MACVLAN_MODE_BRIDGE}
		m.Name, m.ParentIndex, m.MTU = "narrow0", under.Attrs().Index, 1500
		return netlink.LinkAdd(m)
	})
	cfg := w.config(0)
	cfg.Interface, cfg.MTU = "narrow0", 9198
	_, err := w.open(0, cfg)
	if !errors.Is(err, ErrMTU) {
		t.Fatal(err)
	}
	const want = "ccl: interface narrow0: mtu 9198 is needed (data mtu 9044 + 154), the device has 1500 and refuses more"
	if !strings.HasPrefix(err.Error(), want) {
		t.Error(err)
	}
}

func TestCL2MTUIsRaisedWhenItIsTooSmall(t *testing.T) {
	w := newWiring(t, 1, 1500)
	l := w.mustOpen(0, w.config(0))
	w.in(w.nodes[0], func() error {
		under, err := netlink.LinkByName(ccl0)
		if err != nil {
			return err
		}
		over, err := netlink.LinkByName(l.Name())
		if err != nil {
			return err
		}
		if under.Attrs().MTU != 1654 || over.Attrs().MTU != 1604 {
			t.Errorf("mtu %d below, %d above", under.Attrs().MTU, over.Attrs().MTU)
		}
		return nil
	})
}

// HL5: the device outlives the daemon and is adopted; one with other properties
// is replaced; something else under its name is not touched.
func TestDeviceIsAdoptedByTheNextRun(t *testing.T) {
	w := newWiring(t, 2, DefaultMTU)
	index := func() (n int) {
		w.in(w.nodes[0], func() error {
			l, err := netlink.LinkByName("cohort-vx77")
			if err == nil {
				n = l.Attrs().Index
			}
			return err
		})
		return n
	}
	if err := w.mustOpen(0, w.config(0)).Close(); err != nil {
		t.Fatal(err)
	}
	first := index()
	again := w.mustOpen(0, w.config(0))
	if index() != first {
		t.Error("the device was made anew")
	}
	b := w.mustOpen(1, w.config(1))
	b.Broadcast([]byte("hello"))
	again.Broadcast([]byte("hello"))
	collect(t, []*Link{again, b}, func(by [][]got) bool { return len(by[0]) == 1 && len(by[1]) == 1 })
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := w.config(0)
	cfg.VXLANPort, cfg.Name = 4999, "cohort-vx77"
	moved := w.mustOpen(0, cfg)
	if index() == first {
		t.Error("a device with another port was adopted")
	}
	w.in(w.nodes[0], moved.Remove)
	cfg.Name = ccl0
	if _, err := w.open(0, cfg); err == nil || !strings.Contains(err.Error(), "exists and is a veth") {
		t.Errorf("%v", err)
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

// station is a sealed Endpoint on a real Link, in real time.
type station struct {
	*Endpoint
	link *Link
	got  []wire.Message
	from []netip.Addr
}

func newStation(t *testing.T, i int, l *Link) *station {
	t.Helper()
	rnd := rand.New(rand.NewSource(int64(i)))
	s, err := seal.New(seal.Config{Local: vtep(i), Keys: []seal.Key{clusterKey}, Rand: rnd})
	if err != nil {
		t.Fatal(err)
	}
	st := &station{link: l}
	st.Endpoint, err = NewEndpoint(EndpointConfig{
		Local: vtep(i), MTU: l.MTU(), Sealer: s, Rand: rnd, Output: l.Send, OutputControl: l.SendControl,
		Deliver: func(from netip.Addr, m wire.Message) { st.got, st.from = append(st.got, m), append(st.from, from) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// converse runs stations until ok; each turn has its own time.
func converse(t *testing.T, stations []*station, ok func(now int64) bool) {
	t.Helper()
	began := time.Now()
	var links []*Link
	for _, s := range stations {
		links = append(links, s.link)
	}
	for {
		now := int64(time.Since(began))
		for _, s := range stations {
			if _, err := s.link.Receive(1000, func(from netip.Addr, b []byte) { s.Receive(now, from, b) }); err != nil {
				t.Fatal(err)
			}
			s.Tick(now)
		}
		if ok(now) {
			return
		}
		wait(t, links, began.Add(10*time.Second))
	}
}

// CL3: a switch port that is too narrow in the middle is found and named; the
// same link, repaired, passes.
func TestCL3ProberFindsABlackHole(t *testing.T) {
	w := newWiring(t, 2, DefaultMTU)
	a, b := newStation(t, 0, w.mustOpen(0, w.config(0))), newStation(t, 1, w.mustOpen(1, w.config(1)))
	stations := []*station{a, b}
	setMTU := func(mtu int) {
		w.in(w.sw, func() error {
			port, err := netlink.LinkByName("p1")
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(port, mtu)
		})
	}
	if err := a.Send(0, vtep(1), wire.Synced{View: 1}); err != nil {
		t.Fatal(err)
	}
	converse(t, stations, func(int64) bool { return len(b.got) == 1 })
	verdict := func() error {
		var p *Prober
		a.got, a.from = nil, nil
		converse(t, stations, func(now int64) bool {
			if p == nil {
				p = NewProber(now, vtep(1), a.link.MTU(), 4000, func(to netip.Addr, m wire.Probe) { _ = a.Datagram(now, to, m) })
			}
			for i, m := range a.got {
				if r, ok := m.(wire.ProbeReply); ok {
					p.Reply(a.from[i], r)
				}
			}
			a.got, a.from = nil, nil
			p.Tick(now)
			done, _ := p.Done()
			return done
		})
		_, err := p.Done()
		return err
	}
	if err := verdict(); err != nil {
		t.Errorf("full size on a good link: %v", err)
	}
	setMTU(1500)
	var e *MTUError
	if err := verdict(); !errors.As(err, &e) || e.Configured != 1654 || e.Passing != 827 || len(e.Failing) != 1 || e.Failing[0] != 1654 {
		t.Errorf("black hole: %v", err)
	}
	setMTU(1653) // one byte
	if err := verdict(); !errors.As(err, &e) || e.Passing != 827 {
		t.Errorf("one byte: %v", err)
	}
	setMTU(1654)
	if err := verdict(); err != nil {
		t.Errorf("repaired: %v", err)
	}
}

// CL7 end to end: messages over real sockets, sealed, in order, all of them.
func TestCL7StateArrivesOverTheRealLink(t *testing.T) {
	w := newWiring(t, 3, DefaultMTU)
	var stations []*station
	for i := range 3 {
		stations = append(stations, newStation(t, i, w.mustOpen(i, w.config(i))))
	}
	const count = 20_000
	sent := 0
	converse(t, stations, func(now int64) bool {
		for range 500 {
			if sent < count {
				for _, to := range peersOf(0, 3) {
					if err := stations[0].Send(now, to, wire.Synced{View: uint32(sent)}); err != nil {
						t.Fatal(err)
					}
				}
				sent++
			}
		}
		return len(stations[1].got) == count && len(stations[2].got) == count
	})
	for _, s := range stations[1:] {
		for i, m := range s.got {
			if m.(wire.Synced).View != uint32(i) {
				t.Fatalf("message %d is %v", i, m)
			}
		}
	}
	st, _ := stations[0].Stats(vtep(1))
	t.Logf("%d messages in %d segments, rtt %d us, %d repeated", count, st.State.SentSegments, st.State.RTT/1000, st.State.Retransmits)
}
