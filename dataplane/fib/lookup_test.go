package fib

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"cohort/dataplane/internal/nstest"
	"cohort/packet"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// known waits until answers are kept by prefix.
func (w *world) known() {
	w.t.Helper()
	nstest.Until(w.t, "the prefixes are known", func() bool {
		w.table.Tick()
		return w.table.Stats().Prefixes > 0
	})
}

// settle applies the events of everything that was done before.
func (w *world) settle() {
	w.t.Helper()
	w.table.mu.Lock()
	for w.table.watcher.pending() {
		w.table.receive()
	}
	w.table.mu.Unlock()
	w.known()
}

// via is the neighbour that dst goes to, "" if none.
func (w *world) via(dst string) string {
	nh, _, status := w.table.Lookup(addr(dst))
	if status == Unreachable {
		return ""
	}
	return w.array[nh].Addr.String()
}

func (w *world) wantVia(dst, want string) {
	w.t.Helper()
	if got := w.via(dst); got != want {
		w.t.Errorf("%s goes to %q, want %q", dst, got, want)
	}
}

// asked is how often do asks the kernel.
func (w *world) asked(do func()) uint64 {
	before := w.table.Stats().RouteLookups
	do()
	return w.table.Stats().RouteLookups - before
}

func ip(t testing.TB, args string) {
	t.Helper()
	must(t, try(args))
}

func try(args string) error {
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", args, err, out)
	}
	return nil
}

func TestTR1_NewAddressesOfAKnownPrefixAskNothing(t *testing.T) {
	w := newWorld(t)
	ip(t, "route add 192.0.2.0/24 via 10.1.0.9")
	ip(t, "route add prohibit 198.51.100.0/24")
	w.settle()
	for _, first := range []string{"192.0.2.1", "10.1.0.9", "198.51.100.1", "203.0.113.1"} {
		if n := w.asked(func() { w.via(first) }); n != 1 {
			t.Errorf("%s: %d questions for an unknown prefix", first, n)
		}
		w.settle() // an answer that comes with an event is for one address
	}
	if n := w.asked(func() {
		for i := 2; i < 250; i++ {
			w.wantVia(fmt.Sprint("192.0.2.", i), "10.1.0.9")
			w.wantVia(fmt.Sprint("198.51.100.", i), "")
			w.wantVia(fmt.Sprint("203.0.113.", i), "")
		}
		w.wantVia("10.1.0.8", "10.1.0.8") // on the link: each its own
		w.wantVia("10.1.0.7", "10.1.0.7")
		w.wantVia("10.1.0.255", "") // broadcast
		w.wantVia("10.1.0.1", "")   // ours
	}); n != 2 { // the last two are prefixes of their own
		t.Errorf("%d questions for known prefixes", n)
	}
}

func TestTR1_MoreSpecificRoutesUnderARememberedPrefix(t *testing.T) {
	w := newWorld(t)
	ip(t, "route add default via 10.1.0.9")
	w.settle()
	w.wantVia("192.0.2.1", "10.1.0.9")
	w.wantVia("192.0.2.2", "10.1.0.9")
	ip(t, "route add 192.0.2.0/24 via 10.1.0.8")
	ip(t, "route add 192.0.2.2/32 via 10.1.0.7")
	ip(t, "route add blackhole 192.0.2.128/25")
	w.settle()
	check := func(where string, want ...string) {
		t.Helper()
		for i, dst := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.130", "192.0.3.1"} {
			if got := w.via(dst); got != want[i] {
				t.Errorf("%s: %s goes to %q, want %q", where, dst, got, want[i])
			}
		}
	}
	check("with all routes", "10.1.0.8", "10.1.0.7", "10.1.0.8", "", "10.1.0.9")
	ip(t, "route del 192.0.2.2/32")
	ip(t, "route del blackhole 192.0.2.128/25")
	w.settle()
	check("without /25 and /32", "10.1.0.8", "10.1.0.8", "10.1.0.8", "10.1.0.8", "10.1.0.9")
	ip(t, "route del 192.0.2.0/24")
	w.settle()
	check("default only", "10.1.0.9", "10.1.0.9", "10.1.0.9", "10.1.0.9", "10.1.0.9")
	ip(t, "route flush table main")
	w.settle()
	check("flushed", "", "", "", "", "")
	w.wantVia("10.1.0.9", "")
}

func TestTR1_RuleWithADestinationDividesAPrefix(t *testing.T) {
	w := newWorld(t)
	ip(t, "route add default via 10.1.0.9")
	ip(t, "route add default via 10.1.0.8 table 100")
	w.settle()
	w.wantVia("192.0.2.1", "10.1.0.9")
	ip(t, "rule add to 192.0.2.0/25 lookup 100")
	w.settle()
	w.wantVia("192.0.2.1", "10.1.0.8")
	w.wantVia("192.0.2.129", "10.1.0.9")
	w.wantVia("192.0.3.1", "10.1.0.9")
	ip(t, "rule del to 192.0.2.0/25 lookup 100")
	w.settle()
	w.wantVia("192.0.2.1", "10.1.0.9")
	ip(t, "rule add to 192.0.2.0/25 lookup 100")
	must(t, w.table.Close())
	w.start() // rules are read at start too
	w.wantVia("192.0.2.200", "10.1.0.9")
	w.wantVia("192.0.2.1", "10.1.0.8")
}

func TestTR1_MultipathIsAskedForEachAddress(t *testing.T) {
	for what, setUp := range map[string][]string{
		"multipath": {"route add default nexthop via 10.1.0.8 nexthop via 10.1.0.9"},
		"group": {"nexthop add id 1 via 10.1.0.8 dev in0", "nexthop add id 2 via 10.1.0.9 dev in0",
			"nexthop add id 3 group 1/2", "route add default nhid 3"},
		"two defaults": {"route add default via 10.1.0.9", "route append default via 10.1.0.8"},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			for _, args := range setUp {
				ip(t, args)
			}
			w.settle()
			if n := w.asked(func() {
				for i := range 100 {
					dst := packet.Addr{198, 51, byte(i), 7}
					routes, err := netlink.RouteGet(net.IP(dst[:]))
					must(t, err)
					w.wantVia(dst.String(), routes[0].Gw.String())
				}
			}); n != 101 {
				t.Errorf("%d questions for 100 addresses", n)
			}
			if n := w.asked(func() { w.via("198.51.7.7") }); n != 0 {
				t.Error("a remembered address is asked for again")
			}
		})
	}
}

func TestTR1_MultipathChangeMovesEveryAddress(t *testing.T) {
	w := newWorld(t)
	ip(t, "route add default nexthop via 10.1.0.8 nexthop via 10.1.0.9")
	w.settle()
	w.via("192.0.2.1")
	w.via("192.0.2.2")
	ip(t, "route replace default nexthop via 10.1.0.6 nexthop via 10.1.0.7")
	w.settle()
	for _, dst := range []string{"192.0.2.1", "192.0.2.2"} {
		if got := w.via(dst); got != "10.1.0.6" && got != "10.1.0.7" {
			t.Errorf("%s still goes to %s", dst, got)
		}
	}
}

// Linux forwards to none of these whatever its tables say.
func TestSpecialAddressesUnderADefaultRoute(t *testing.T) {
	special := []string{"0.0.0.0", "224.0.0.5", "239.255.1.1", "255.255.255.255"}
	for _, dst := range special {
		w := newWorld(t)
		ip(t, "route add default via 10.1.0.9")
		w.settle()
		w.wantVia(dst, "")
		w.wantVia("203.0.113.1", "10.1.0.9")
		for _, dst := range special {
			w.wantVia(dst, "")
		}
		w.wantVia("203.0.113.2", "10.1.0.9")
	}
}

// An IPv4 route over an IPv6 neighbour (RFC 5549) is none for XDP.
func TestRouteOverAnIPv6NeighbourIsUnreachable(t *testing.T) {
	w := newWorld(t)
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/in0/disable_ipv6", []byte("0"), 0o644))
	ip(t, "route add 192.0.2.0/24 via inet6 fe80::1 dev in0")
	w.settle()
	w.wantVia("192.0.2.1", "")
}

func TestTR1_NextHopObjects(t *testing.T) {
	for _, mode := range []string{"1", "0"} { // 0: routes do not show their gateways
		w := newWorld(t)
		must(t, os.WriteFile("/proc/sys/net/ipv4/nexthop_compat_mode", []byte(mode), 0o644))
		ip(t, "nexthop add id 1 via 10.1.0.9 dev in0")
		ip(t, "nexthop add id 2 blackhole")
		ip(t, "route add 192.0.2.0/24 nhid 1")
		ip(t, "route add 198.51.100.0/24 nhid 2")
		w.settle()
		w.wantVia("192.0.2.1", "10.1.0.9")
		w.wantVia("192.0.2.2", "10.1.0.9")
		w.wantVia("198.51.100.1", "")
		ip(t, "nexthop replace id 1 via 10.1.0.8 dev in0")
		w.settle()
		w.wantVia("192.0.2.1", "10.1.0.8")
		w.wantVia("192.0.2.3", "10.1.0.8")
	}
}

// The kernel may answer by a route whose event is still to come: the answer
// must not be taken for that of the addresses beside it.
func TestAnswerAheadOfItsEventIsForOneAddress(t *testing.T) {
	for _, change := range []string{
		"route add 192.0.2.0/25 via 10.1.0.8", "route add blackhole 192.0.2.0/25",
		"rule add to 192.0.2.0/25 lookup 100", "route add 192.0.2.1/32 dev in0",
	} {
		w := newWorld(t)
		ip(t, "route add default via 10.1.0.9")
		ip(t, "route add default via 10.1.0.8 table 100")
		w.settle()
		w.table.mu.Lock() // no event is received
		ip(t, change)
		w.table.answer(addr("192.0.2.1"))
		a := w.table.answer(addr("192.0.2.129"))
		if w.array[a.nh].Addr != addr("10.1.0.9") {
			t.Errorf("%s: 192.0.2.129 goes to %v", change, w.array[a.nh].Addr)
		}
		w.table.mu.Unlock()
	}
}

func TestRouteWithoutAnEventDoesNotSpread(t *testing.T) {
	w := newWorld(t)
	ip(t, "route add default via 10.1.0.9")
	w.settle()
	w.table.mu.Lock()
	ip(t, "route add 192.0.2.0/25 via 10.1.0.8")
	for w.table.watcher.pending() { // the moment before the kernel sends it
		_, err := receive(w.table.watcher.fd, make([]byte, datagramSize), unix.MSG_DONTWAIT)
		must(t, err)
	}
	w.table.answer(addr("192.0.2.1"))
	a := w.table.answer(addr("192.0.2.129"))
	w.table.mu.Unlock()
	if got := w.array[a.nh].Addr; got != addr("10.1.0.9") {
		t.Errorf("192.0.2.129 goes to %v", got)
	}
	w.known() // it was read again
	w.wantVia("192.0.2.2", "10.1.0.8")
	w.wantVia("192.0.2.200", "10.1.0.9")
}

// Linux removes the routes of a link that goes down without an event for each.
func TestTR1_OtherLinksTakeTheirRoutesWithThem(t *testing.T) {
	w := newWorld(t)
	nstest.Veth(t, "mgmt0", "m0", 1500)
	nstest.Up(t, "m0")
	nstest.Up(t, "mgmt0", "172.16.0.1/24")
	ip(t, "route add default via 10.1.0.9")
	ip(t, "route add 192.0.2.0/24 via 172.16.0.2")
	w.settle()
	w.wantVia("192.0.2.1", "")
	ip(t, "link set mgmt0 down")
	w.settle()
	w.wantVia("192.0.2.1", "10.1.0.9")
	w.wantVia("192.0.2.2", "10.1.0.9")
}

func TestNewAddressesAllocateNothing(t *testing.T) {
	w := newWorld(t)
	ip(t, "route add default via 10.1.0.9")
	w.settle()
	w.ok("192.0.2.1")
	dst := uint32(100 << 24)
	if n := testing.AllocsPerRun(1000, func() { dst++; w.table.Lookup(toAddr(dst)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
