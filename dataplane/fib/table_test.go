package fib

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"cohort/dataplane"
	"cohort/dataplane/internal/nstest"
	"cohort/packet"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const insideID = 3

// world is a node (the test's namespace, in0 10.1.0.1/24) and a router at the
// other end of in0 (10.1.0.9 and .8).
type world struct {
	t      *testing.T
	peer   netns.NsHandle
	in     netlink.Link
	array  []dataplane.NextHop
	table  *Table
	router net.HardwareAddr

	notified atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	nstest.Enter(t)
	w := &world{t: t, peer: nstest.NewNS(t), array: sharedArray(t, 16)}
	_, far := nstest.Veth(t, "in0", "r0", 1500)
	nstest.Move(t, far, w.peer)
	nstest.In(t, w.peer, func() {
		w.router = nstest.Up(t, "r0", "10.1.0.9/24", "10.1.0.8/24").Attrs().HardwareAddr
	})
	w.in = nstest.Up(t, "in0", "10.1.0.1/24")
	nstest.Until(t, "in0 has carrier", func() bool {
		w.in = nstest.Link(t, "in0")
		return w.in.Attrs().RawFlags&unix.IFF_RUNNING != 0
	})
	w.start()
	t.Cleanup(func() { must(t, w.table.Close()) })
	return w
}

// sharedArray is outside the Go heap like the real one: tests read it while
// the table writes, as XDP does.
func sharedArray(t *testing.T, n int) []dataplane.NextHop {
	t.Helper()
	b, err := unix.Mmap(-1, 0, n*int(unsafe.Sizeof(dataplane.NextHop{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_SHARED)
	must(t, err)
	t.Cleanup(func() { must(t, unix.Munmap(b)) })
	return unsafe.Slice((*dataplane.NextHop)(unsafe.Pointer(&b[0])), n)
}

func (w *world) start() {
	w.t.Helper()
	var err error
	w.table, err = New(Config{
		Notify:     func() { w.notified.Add(1) },
		Interfaces: []Interface{{ID: insideID, Ifindex: w.in.Attrs().Index}},
		NextHops:   w.array,
	})
	must(w.t, err)
	w.known()
}

// reread is what the loss of events leads to.
func (w *world) reread() {
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	w.table.reread()
}

func (w *world) route(dst, via string) *netlink.Route {
	return &netlink.Route{Dst: network(dst), Gw: net.ParseIP(via), LinkIndex: w.in.Attrs().Index}
}

// ok waits until dst is reachable and returns its entry's number.
func (w *world) ok(dst string) uint16 {
	w.t.Helper()
	var nh uint16
	nstest.Until(w.t, dst+" is resolved", func() bool {
		n, iface, status := w.table.Lookup(addr(dst))
		nh = n
		return status == OK && iface == insideID
	})
	return nh
}

func (w *world) neigh(ip string, state int, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: w.in.Attrs().Index, IP: net.ParseIP(ip), State: state, HardwareAddr: mac}
}

func (w *world) state(ip string) int {
	list, err := netlink.NeighList(w.in.Attrs().Index, unix.AF_INET)
	must(w.t, err)
	for _, n := range list {
		if n.IP.Equal(net.ParseIP(ip)) {
			return n.State
		}
	}
	return 0
}

// await waits for a change that satisfies ok.
func (w *world) await(what string, ok func(Changes) bool) {
	w.t.Helper()
	var seen Changes
	nstest.Until(w.t, what, func() bool {
		select {
		case <-w.table.Changed():
			c := w.table.Take()
			seen.Routes = seen.Routes || c.Routes
			seen.NextHops = seen.NextHops || c.NextHops
			seen.Addrs = seen.Addrs || c.Addrs
			seen.Links = seen.Links || c.Links
		default:
		}
		return ok(seen)
	})
}

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

func network(s string) *net.IPNet {
	n, err := netlink.ParseIPNet(s)
	if err != nil {
		panic(err)
	}
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTR1_OnLinkNeighbourIsResolvedOnFirstUse(t *testing.T) {
	w := newWorld(t)
	nh, iface, status := w.table.Lookup(addr("10.1.0.9"))
	if status != Unresolved || nh == 0 || iface != insideID {
		t.Fatalf("first lookup: %d %d %v, want an unresolved entry", nh, iface, status)
	}
	w.await("the neighbour to become valid", func(c Changes) bool { return c.NextHops && w.array[nh].Valid() })
	if got := w.ok("10.1.0.9"); got != nh {
		t.Errorf("entry number moved from %d to %d", nh, got)
	}
	e := w.array[nh]
	want := dataplane.NextHop{
		DMAC: [6]byte(w.router), SMAC: [6]byte(w.in.Attrs().HardwareAddr), Ifindex: uint32(w.in.Attrs().Index),
		MTU: 1500, Iface: insideID, Flags: dataplane.NextHopValid, Addr: addr("10.1.0.9"), Seq: e.Seq,
	}
	if e != want || e.Seq%2 != 0 {
		t.Errorf("entry %+v, want %+v", e, want)
	}
}

func TestTR1_DestinationsBehindOneGatewayShareItsEntry(t *testing.T) {
	w := newWorld(t)
	must(t, netlink.RouteAdd(w.route("192.0.2.0/24", "10.1.0.9")))
	a, b := w.ok("192.0.2.1"), w.ok("192.0.2.2")
	if a != b || w.array[a].Addr != addr("10.1.0.9") {
		t.Errorf("entries %d and %d for one gateway, address %v", a, b, w.array[a].Addr)
	}
	asked := w.table.Stats().RouteLookups
	w.ok("192.0.2.1")
	if n := w.table.Stats().RouteLookups; n != asked {
		t.Errorf("a cached destination asked the kernel again")
	}
}

func TestCachedLookupAllocatesNothing(t *testing.T) {
	w := newWorld(t)
	w.ok("10.1.0.9")
	dst := addr("10.1.0.9")
	if n := testing.AllocsPerRun(100, func() { w.table.Lookup(dst) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTR1_MultipathTakesOneOfTheGateways(t *testing.T) {
	w := newWorld(t)
	i := w.in.Attrs().Index
	must(t, netlink.RouteAdd(&netlink.Route{Dst: network("0.0.0.0/0"), MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: i, Gw: net.ParseIP("10.1.0.8")}, {LinkIndex: i, Gw: net.ParseIP("10.1.0.9")},
	}}))
	a := w.array[w.ok("198.51.100.7")].Addr
	if a != addr("10.1.0.8") && a != addr("10.1.0.9") {
		t.Errorf("gateway %v is none of the route's", a)
	}
}

func TestWhatIsNotRoutedOverADataInterfaceIsUnreachable(t *testing.T) {
	w := newWorld(t)
	nstest.Veth(t, "mgmt0", "m0", 1500)
	nstest.Up(t, "mgmt0", "172.16.0.1/24")
	must(t, netlink.RouteAdd(&netlink.Route{Dst: network("203.0.113.0/24"), Type: unix.RTN_BLACKHOLE}))
	must(t, netlink.RouteAdd(&netlink.Route{Dst: network("203.0.112.0/24"), Type: unix.RTN_PROHIBIT}))
	w.await("the routes are seen", func(c Changes) bool { return c.Routes })
	for what, dst := range map[string]string{
		"no route": "192.0.2.1", "blackhole": "203.0.113.1", "prohibit": "203.0.112.1", "management": "172.16.0.9",
		"own address": "10.1.0.1", "broadcast": "10.1.0.255", "multicast": "224.0.0.5", "loopback": "127.0.0.1",
	} {
		if nh, _, status := w.table.Lookup(addr(dst)); status != Unreachable || nh != 0 {
			t.Errorf("%s (%s): %d %v", what, dst, nh, status)
		}
	}
	if e := w.table.Stats().RouteErrors; e != 0 {
		t.Errorf("%d refusals were taken for errors", e)
	}
}

func TestNeighbourThatMovesIsUpdatedInPlace(t *testing.T) {
	w := newWorld(t)
	nh := w.ok("10.1.0.9")
	moved := net.HardwareAddr{2, 0, 0, 0, 0, 0x77}
	must(t, netlink.NeighSet(w.neigh("10.1.0.9", netlink.NUD_REACHABLE, moved)))
	nstest.Until(t, "the entry has the new address", func() bool {
		return w.array[nh].DMAC == [6]byte(moved) && w.array[nh].Valid()
	})
}

func TestFailedNeighbourIsInvalidUntilItAnswers(t *testing.T) {
	w := newWorld(t)
	nh := w.ok("10.1.0.9")
	w.table.Take()
	must(t, netlink.NeighSet(w.neigh("10.1.0.9", netlink.NUD_FAILED, nil)))
	w.await("the entry is invalid", func(c Changes) bool { return c.NextHops && !w.array[nh].Valid() })
	if got := w.ok("10.1.0.9"); got != nh { // asked again, and the router does answer
		t.Errorf("entry number moved from %d to %d", nh, got)
	}
}

func TestDeletedNeighbourInUseIsResolvedAgainUnasked(t *testing.T) {
	w := newWorld(t)
	w.table.mu.Lock()
	now := w.table.now()
	w.table.now = func() time.Time { now = now.Add(2 * probeInterval); return now } // every probe is due
	w.table.mu.Unlock()
	nh := w.ok("10.1.0.9")
	w.table.Take()
	must(t, netlink.NeighDel(w.neigh("10.1.0.9", 0, nil)))
	w.await("the entry was touched and is valid again", func(c Changes) bool {
		return c.NextHops && w.array[nh].Valid() && w.state("10.1.0.9")&usable != 0
	})
}

// Addresses that nobody has must not be asked for over and over: the kernel's
// table of neighbours is small, and the control link needs its own in it.
func TestNeighbourThatNeverAnsweredIsNotAskedForUnasked(t *testing.T) {
	w := newWorld(t)
	w.table.mu.Lock()
	now := w.table.now()
	w.table.now = func() time.Time { now = now.Add(2 * probeInterval); return now } // every probe is due
	w.table.mu.Unlock()
	if _, _, s := w.table.Lookup(addr("10.1.0.77")); s != Unresolved {
		t.Fatalf("status %v", s)
	}
	key := hopKey{w.in.Attrs().Index, addr("10.1.0.77")}
	heard := func() bool {
		w.table.mu.Lock()
		defer w.table.mu.Unlock()
		_, ok := w.table.neighs[key]
		return ok
	}
	nstest.Until(t, "the kernel has the entry", heard)
	asked := w.table.Stats().Probes
	must(t, netlink.NeighDel(w.neigh("10.1.0.77", 0, nil)))
	nstest.Until(t, "the kernel dropped it", func() bool { return !heard() })
	// Events come in order: with this one, all that the removal led to is known.
	later := hopKey{w.in.Attrs().Index, addr("10.1.0.78")}
	must(t, netlink.NeighSet(w.neigh("10.1.0.78", netlink.NUD_PERMANENT, net.HardwareAddr{2, 0, 0, 0, 0, 0x78})))
	nstest.Until(t, "the later event arrived", func() bool {
		w.table.mu.Lock()
		defer w.table.mu.Unlock()
		_, ok := w.table.neighs[later]
		return ok
	})
	if n := w.table.Stats().Probes; n != asked || heard() {
		t.Errorf("%d more probes for an address that nobody asked for again", n-asked)
	}
}

func TestCL5_ScanLeavesTheKernelRoomForOtherNeighbours(t *testing.T) {
	var b bucket
	now := time.Unix(1e9, 0)
	sent := 0
	for range 2000 { // two seconds of a scan
		now = now.Add(time.Millisecond)
		if b.take(now) {
			sent++
		}
	}
	if sent < 2*strangerRate || sent > 3*strangerRate+1 {
		t.Errorf("%d asked for in two seconds, want the burst and %d a second", sent, strangerRate)
	}
	w := newWorld(t)
	w.ok("10.1.0.9")
	w.table.mu.Lock()
	now = time.Now()
	w.table.now = func() time.Time { return now }
	w.table.strangers.spent = now
	w.table.mu.Unlock()
	asked := w.table.Stats().Probes
	w.table.Lookup(addr("10.1.0.77"))
	if s := w.table.Stats(); s.Probes != asked || s.ProbesHeld != 1 {
		t.Errorf("%d probes beyond the bound, %d held", s.Probes-asked, s.ProbesHeld)
	}
	now = now.Add(2 * time.Second)
	w.table.Lookup(addr("10.1.0.77"))
	if s := w.table.Stats(); s.Probes != asked+1 {
		t.Error("the address is never asked for")
	}
}

func TestStaleNeighbourInUseIsConfirmed(t *testing.T) {
	w := newWorld(t)
	must(t, os.WriteFile("/proc/sys/net/ipv4/neigh/in0/delay_first_probe_time", []byte("1"), 0o644))
	w.ok("10.1.0.9")
	w.table.mu.Lock()
	w.table.keys[1].probed = w.table.keys[1].probed.Add(-probeInterval)
	w.table.mu.Unlock()
	must(t, netlink.NeighSet(w.neigh("10.1.0.9", netlink.NUD_STALE, w.router)))
	nstest.Until(t, "the kernel has confirmed it", func() bool {
		w.table.Tick()
		return w.state("10.1.0.9") == netlink.NUD_REACHABLE
	})
}

func TestStaleNeighbourNobodyUsesIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	must(t, netlink.NeighSet(w.neigh("10.1.0.8", netlink.NUD_STALE, w.router)))
	nstest.Until(t, "the event is seen", func() bool {
		w.table.mu.Lock()
		defer w.table.mu.Unlock()
		_, seen := w.table.neighs[hopKey{w.in.Attrs().Index, addr("10.1.0.8")}]
		return seen
	})
	w.table.Tick()
	if s := w.table.Stats(); s.Probes != 0 {
		t.Errorf("%d probes for nobody", s.Probes)
	}
}

func TestPermanentNeighbourStaysPermanent(t *testing.T) {
	w := newWorld(t)
	for range 20 { // the lookup races with the event of the new entry
		must(t, netlink.NeighSet(w.neigh("10.1.0.50", netlink.NUD_PERMANENT, w.router)))
		w.ok("10.1.0.50")
		w.table.Tick()
		if s := w.state("10.1.0.50"); s != netlink.NUD_PERMANENT {
			t.Fatalf("state became %#x", s)
		}
		must(t, netlink.NeighDel(w.neigh("10.1.0.50", 0, nil)))
		w.reread()
	}
}

func TestUnansweredNeighbourIsAskedForOnceASecond(t *testing.T) {
	w := newWorld(t)
	for range 100 {
		if _, _, s := w.table.Lookup(addr("10.1.0.77")); s != Unresolved {
			t.Fatalf("status %v", s)
		}
	}
	if n := w.table.Stats().Probes; n < 1 || n > 3 { // a slow machine may see a second pass
		t.Errorf("%d probes for 100 lookups", n)
	}
}

func TestTR1_RouteChangeMovesCachedDestinations(t *testing.T) {
	w := newWorld(t)
	must(t, netlink.RouteAdd(w.route("192.0.2.0/24", "10.1.0.9")))
	first := w.ok("192.0.2.1")
	gen := w.table.Generation()
	w.table.Take()
	must(t, netlink.RouteReplace(w.route("192.0.2.0/24", "10.1.0.8")))
	w.await("the route change", func(c Changes) bool { return c.Routes && w.table.Generation() > gen })
	if second := w.ok("192.0.2.1"); second == first || w.array[second].Addr != addr("10.1.0.8") {
		t.Errorf("entry %d still leads to %v", second, w.array[second].Addr)
	}
	must(t, netlink.RouteDel(w.route("192.0.2.0/24", "10.1.0.8")))
	nstest.Until(t, "no route any more", func() bool {
		_, _, s := w.table.Lookup(addr("192.0.2.1"))
		return s == Unreachable
	})
}

func TestLinkDownInvalidatesItsEntriesAndUpRestoresThem(t *testing.T) {
	w := newWorld(t)
	nh := w.ok("10.1.0.9")
	w.table.Take()
	nstest.In(t, w.peer, func() { must(t, netlink.LinkSetDown(nstest.Link(t, "r0"))) })
	w.await("carrier is lost", func(c Changes) bool { return c.Links && !w.table.Links()[0].Up })
	if w.array[nh].Valid() {
		t.Error("entry is valid without a carrier")
	}
	nstest.In(t, w.peer, func() { must(t, netlink.LinkSetUp(nstest.Link(t, "r0"))) })
	if got := w.ok("10.1.0.9"); got != nh {
		t.Errorf("entry number moved from %d to %d", nh, got)
	}
}

func TestMTUChangeReachesLinksAndEntries(t *testing.T) {
	w := newWorld(t)
	nh := w.ok("10.1.0.9")
	must(t, netlink.LinkSetMTU(w.in, 1400))
	w.await("the MTU", func(c Changes) bool {
		return c.Links && w.table.Links()[0].MTU == 1400 && w.array[nh].MTU == 1400
	})
}

func TestLocalAddressesFollowTheHost(t *testing.T) {
	w := newWorld(t)
	have := func(s string) bool { return slices.Contains(w.table.LocalAddrs(), netip.MustParseAddr(s)) }
	if !have("10.1.0.1") || have("127.0.0.1") {
		t.Errorf("addresses at start: %v", w.table.LocalAddrs())
	}
	w.table.Take()
	a, err := netlink.ParseAddr("10.1.0.200/32")
	must(t, err)
	must(t, netlink.AddrAdd(w.in, a))
	w.await("the address", func(c Changes) bool { return c.Addrs && have("10.1.0.200") })
	if w.notified.Load() == 0 {
		t.Error("nobody was notified")
	}
	must(t, netlink.AddrDel(w.in, a))
	nstest.Until(t, "the address is gone", func() bool { return !have("10.1.0.200") })
}

// An IPv6 address is one of the host too, and changes no route of IPv4: the flows
// need not be looked at again.
func TestEL7_LocalIPv6AddressesFollowTheHost(t *testing.T) {
	w := newWorld(t)
	have := func(s string) bool { return slices.Contains(w.table.LocalAddrs(), netip.MustParseAddr(s)) }
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/in0/disable_ipv6", []byte("0"), 0o644)) // begins with a link-local address
	a, err := netlink.ParseAddr("2001:db8:1::254/64")
	must(t, err)
	a.Flags = unix.IFA_F_NODAD
	w.table.Take()
	must(t, netlink.AddrAdd(w.in, a))
	must(t, w.table.ReadAddrs())
	if !have("2001:db8:1::254") {
		t.Errorf("read now: %v", w.table.LocalAddrs())
	}
	w.await("the address", func(c Changes) bool {
		if c.Routes {
			t.Errorf("routes changed: %+v", c)
		}
		return c.Addrs && have("2001:db8:1::254")
	})
	for _, got := range w.table.LocalAddrs() {
		if got.Is6() && got != netip.MustParseAddr("2001:db8:1::254") {
			t.Errorf("%v is listed", got)
		}
	}
	must(t, netlink.AddrDel(w.in, a))
	nstest.Until(t, "the address is gone", func() bool { return !have("2001:db8:1::254") })
}

func TestHL5_RestartedDaemonKeepsEntryNumbers(t *testing.T) {
	w := newWorld(t)
	w.ok("10.1.0.8")
	nh := w.ok("10.1.0.9")
	must(t, w.table.Close())
	w.array[9] = dataplane.NextHop{Ifindex: 9999, Flags: dataplane.NextHopValid} // of an interface that is gone
	if !w.array[nh].Valid() {
		t.Error("closing invalidated an entry that XDP still uses")
	}
	w.start()
	if got := w.ok("10.1.0.9"); got != nh {
		t.Errorf("number %d before the restart, %d after", nh, got)
	}
	if w.array[9].Valid() {
		t.Error("entry of a vanished interface is still valid")
	}
}

func TestEntryNumberIsReusedOnlyWhenNobodyHoldsIt(t *testing.T) {
	w := newWorld(t)
	a, b := w.ok("10.1.0.8"), w.ok("10.1.0.9")
	if n := w.table.Collect(func(nh uint16) bool { return nh == a }); n != 1 {
		t.Errorf("collected %d, want only entry %d", n, b)
	}
	if !w.array[a].Valid() || w.array[b].Valid() {
		t.Error("the held entry must stay valid, the freed one must not")
	}
	if s := w.table.Stats(); s.NextHopEntries != 1 {
		t.Errorf("stats %+v", s)
	}
	c, _, _ := w.table.Lookup(addr("10.1.0.7")) // nobody's: it takes the freed number
	if c != b || w.ok("10.1.0.9") == c || w.array[w.ok("10.1.0.9")].Addr != addr("10.1.0.9") || w.ok("10.1.0.8") != a {
		t.Error("a destination leads to another one's neighbour")
	}
}

func TestFreedEntryIsForgottenByTheCache(t *testing.T) {
	w := newWorld(t)
	must(t, netlink.RouteAdd(w.route("192.0.2.0/24", "10.1.0.9")))
	w.settle()
	w.ok("192.0.2.1")
	w.table.Collect(func(uint16) bool { return false })
	if s := w.table.Stats(); s.Destinations != 0 {
		t.Errorf("stats %+v: the cache still leads to the freed entry", s)
	}
	w.ok("192.0.2.1")
}

func TestFullArrayRefusesAndCounts(t *testing.T) {
	w := newWorld(t)
	for i := range len(w.array) - 1 {
		w.table.Lookup(packet.Addr{10, 1, 0, byte(100 + i)})
	}
	if _, _, s := w.table.Lookup(addr("10.1.0.9")); s != Unreachable || w.table.Stats().NextHopsFull != 1 {
		t.Fatalf("status %v, stats %+v", s, w.table.Stats())
	}
	w.table.Collect(func(uint16) bool { return false })
	w.ok("10.1.0.9")
}

func TestLostEventsAreMadeUpByReading(t *testing.T) {
	w := newWorld(t)
	nh := w.ok("10.1.0.9")
	w.table.mu.Lock() // what the table would hold had the events been lost
	w.table.neighs = map[hopKey]neighbour{}
	w.table.locals = nil
	w.table.refresh(nh)
	w.table.mu.Unlock()
	w.reread()
	if !w.array[nh].Valid() || len(w.table.LocalAddrs()) == 0 {
		t.Error("the kernel was not read again")
	}
}

func TestCloseWaitsForItsGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	w := newWorld(t)
	must(t, w.table.Close())
	must(t, w.table.Close())
	goleak.VerifyNone(t, before)
	if _, _, s := w.table.Lookup(addr("10.1.0.9")); s != Unreachable {
		t.Errorf("a closed table answered %v", s)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	room := make([]dataplane.NextHop, 4)
	for _, c := range []Config{
		{},
		{NextHops: room, Destinations: 1},
		{NextHops: room, Interfaces: []Interface{{ID: 0, Ifindex: 1}}},
		{NextHops: room, Interfaces: []Interface{{ID: 32, Ifindex: 1}}},
		{NextHops: room, Interfaces: []Interface{{ID: 1, Ifindex: 1}, {ID: 1, Ifindex: 2}}},
		{NextHops: room, Interfaces: []Interface{{ID: 1, Ifindex: 1}, {ID: 2, Ifindex: 1}}},
	} {
		if _, err := New(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
