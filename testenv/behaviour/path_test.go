package behaviour

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"cohort/testenv/netns"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// traceroutes walks the path of every kind of translation; the cluster is one
// hop, and what the routers behind it say finds its way back.
func traceroutes(t *testing.T, s *site) {
	server := s.server.Addr.String()
	out := []string{"10.0.", "10.1.0.", "198.51.100.250", server}
	for name, c := range map[string]struct {
		from, to string
		host     *topology.Host
		path     []string
		how      [][]string
	}{
		"port pool":  {host: s.plain, to: server, path: out, how: [][]string{{"-U"}, {"-I"}, {"-T"}, nil}},
		"static":     {host: s.static, to: server, path: out, how: [][]string{{"-U"}, {"-I"}, {"-T"}}},
		"one-to-one": {host: s.own, to: server, path: out, how: [][]string{{"-U"}, {"-I"}}},
		// Inward: what is behind the translation must not show (RFC 5508, REQ-5).
		"static, inward": {
			host: s.server, to: "203.0.113.80",
			path: []string{"192.0.2.250", "198.51.100.", "203.0.113.80", "203.0.113.80"},
			how:  [][]string{{"-U", "-p", "9999"}, {"-I"}},
		},
		"forwarded port": {
			host: s.server, to: egress.String(),
			path: []string{"192.0.2.250", "198.51.100.", egress.String(), egress.String()},
			how:  [][]string{{"-U", "-p", "53"}, {"-T", "-p", "80"}},
		},
	} {
		for _, how := range c.how {
			args := append([]string{"-n", "-w", "5", "-q", "2", "-m", "6"}, append(how, c.to)...)
			text := output(t, c.host.Namespace, "traceroute", args...)
			lines := strings.Split(strings.TrimSpace(text), "\n")[1:]
			if len(lines) != len(c.path) {
				t.Errorf("%s %v:\n%s\nwant %d hops", name, how, text, len(c.path))
				continue
			}
			for hop, want := range c.path {
				if !strings.Contains(lines[hop], " "+want) || strings.Contains(lines[hop], "*") {
					t.Errorf("%s %v:\n%s\nhop %d: want %s and no star", name, how, text, hop+1, want)
				}
			}
		}
	}
}

// pathMTU finds three narrowing places: the node's own outside interface (1400,
// all along), and then a router's link on either side, which quotes what it
// got: a packet as the cluster translated it.
func pathMTU(t *testing.T, s *site) {
	t.Run("node", func(t *testing.T) {
		for _, from := range []*topology.Host{s.plain, s.static, s.own} {
			findsMTU(t, from, s.server.Addr, 1400)
		}
	})
	narrow(t, s.Outside.Namespace, "192.0.2.0/24", 1320)
	t.Run("outside", func(t *testing.T) {
		for _, from := range []*topology.Host{s.plain, s.static, s.own} {
			findsMTU(t, from, s.server.Addr, 1320)
		}
		transfer(t, s.plain, s.server, netip.AddrPortFrom(s.server.Addr, 7100))
		transfer(t, s.static, s.server, netip.AddrPortFrom(s.server.Addr, 7101))
	})
	for i, c := range []struct {
		name   string
		inside *topology.Host
		at     string
	}{{"static, inward", s.static, "203.0.113.80:7200"}, {"forwarded port, inward", s.forward, "203.0.113.10:80"}} {
		t.Run(c.name, func(t *testing.T) {
			// The last link is narrower still, and nobody on the way but its
			// router knows.
			mtu := 1300 - 20*i
			narrow(t, s.Inside.Namespace, netip.PrefixFrom(c.inside.Addr, 24).Masked().String(), mtu)
			at := netip.MustParseAddrPort(c.at)
			if c.inside == s.static {
				findsMTU(t, s.server, at.Addr(), mtu)
			}
			listen := netip.AddrPortFrom(c.inside.Addr, at.Port())
			if c.inside == s.forward {
				listen = netip.AddrPortFrom(c.inside.Addr, 8080)
			}
			transferTo(t, s.server, c.inside, listen, at)
			if got := routeMTU(t, s.server.Namespace, at.Addr()); got != mtu {
				t.Errorf("the server's route to %v has MTU %d, want %d", at.Addr(), got, mtu)
			}
		})
	}
	t.Run("port pool, inward", func(t *testing.T) {
		// What the server sends back on a connection from inside is too large
		// for the client's link.
		narrow(t, s.Inside.Namespace, "10.0.1.0/24", 1290)
		transfer(t, s.plain, s.server, netip.AddrPortFrom(s.server.Addr, 7102))
		if got := routeMTU(t, s.server.Namespace, egress); got > 1290 {
			t.Errorf("the server's route to %v has MTU %d, want 1290 at most", egress, got)
		}
	})
}

// narrow makes a router believe that the link to a connected network takes only
// small packets. The interface stays as it is: a veth drops what it receives
// beyond its MTU, so that the other direction would be narrow without anybody
// saying so.
func narrow(t *testing.T, router *netns.Namespace, network string, mtu int) {
	t.Helper()
	to, err := netlink.ParseIPNet(network)
	if err != nil {
		t.Fatal(err)
	}
	routes, err := router.Netlink().RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: to}, netlink.RT_FILTER_DST)
	if err != nil || len(routes) != 1 {
		t.Fatalf("routes to %s: %v, %v", network, routes, err)
	}
	r := routes[0]
	t.Cleanup(func() {
		if err := router.Netlink().RouteReplace(&routes[0]); err != nil {
			t.Error(err)
		}
	})
	r.MTU = mtu
	if err := router.Netlink().RouteReplace(&r); err != nil {
		t.Fatal(err)
	}
}

// findsMTU sends echo requests of exactly an MTU and of one byte more, which
// must be answered by an error that the kernel believes.
func findsMTU(t *testing.T, from *topology.Host, to netip.Addr, mtu int) {
	t.Helper()
	output(t, from.Namespace, "ip", "route", "flush", "cache")
	ping := func(size int) string {
		return output(t, from.Namespace, "ping", "-n", "-c", "2", "-i", "0.2", "-W", "5", "-M", "do", "-s", fmt.Sprint(size-28), to.String())
	}
	if out := ping(mtu); !strings.Contains(out, " 2 received") {
		t.Errorf("%s to %v, %d bytes:\n%s", from.Name, to, mtu, out)
	}
	want := fmt.Sprint(mtu)
	if out := ping(mtu + 1); !strings.Contains(out, "mtu = "+want) && !strings.Contains(out, "mtu="+want) {
		t.Errorf("%s to %v, one byte more than %d:\n%s", from.Name, to, mtu, out)
	}
	if got := routeMTU(t, from.Namespace, to); got != mtu {
		t.Errorf("the route of %s to %v has MTU %d, want %d: the quoted packet did not convince its kernel", from.Name, to, got, mtu)
	}
}

// routeMTU is what a kernel has learnt of the path to an address, 0 if nothing.
func routeMTU(t *testing.T, ns *netns.Namespace, to netip.Addr) int {
	t.Helper()
	words := strings.Fields(output(t, ns, "ip", "route", "get", to.String()))
	for i, w := range words[:len(words)-1] {
		if w == "mtu" {
			var n int
			fmt.Sscan(words[i+1], &n)
			return n
		}
	}
	return 0
}

// transfer sends data both ways over TCP connections whose ends must find out
// how long their segments may be.
func transfer(t *testing.T, from, server *topology.Host, at netip.AddrPort) {
	t.Helper()
	transferTo(t, from, server, at, at)
}

// transferTo is transfer to a server whose clients know it by another address.
func transferTo(t *testing.T, from, server *topology.Host, listen, at netip.AddrPort) {
	t.Helper()
	echo, err := traffic.ServeEcho(server.Namespace, listen)
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	r := traffic.TCP(within(t, 60*time.Second), from.Namespace, at, traffic.TCPLoad{Connections: 10, Rounds: 2, Bytes: 20000})
	if err := r.Err(); err != nil {
		t.Errorf("%s to %v: %v", from.Name, at, err)
	}
}
