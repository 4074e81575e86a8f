package scenario

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cohort/api"
	"cohort/testenv/netns"
	"cohort/testenv/topology"
)

// bothFamilies is a topology of three whose inside has IPv6 too. fw-a and fw-b have
// pinned addresses, fw-c takes that of its id.
const bothFamilies = `
interfaces:
  inside:
    device: in0
    trust: 100
    cluster_address: [10.1.0.254/24, "fd00:1::fe/64"]
    pool: [10.1.0.1-10.1.0.16, "fd00:1::1-fd00:1::10"]
    pin: {fw-a: [10.1.0.1, "fd00:1::a"], fw-b: [10.1.0.2, "fd00:1::b"], fw-c: 10.1.0.3}
  outside: {device: out0, trust: 0, cluster_address: 198.51.100.254/24, pool: 198.51.100.1-198.51.100.16, pin: {fw-a: 198.51.100.1, fw-b: 198.51.100.2, fw-c: 198.51.100.3}}
health: {hold_time: 1s, join_grace: 0s}
limits: {connections: 16384, forwards: 16384}
`

var (
	clusterIPv6 = netip.MustParseAddr("fd00:1::fe")
	routerIPv6  = netip.MustParsePrefix("fd00:1::fa/64")
	insideIPv6  = routerIPv6.Masked()
)

// TestEL7_IPv6ClusterAddressFollowsTheControlNode kills the control node under a
// router that has its hardware address in its neighbour table and asks nobody: the
// advertisement of the next one is what tells it.
func TestEL7_IPv6ClusterAddressFollowsTheControlNode(t *testing.T) {
	bothPaths(t, topology.Config{ClusterYAML: bothFamilies}, func(t *testing.T, top *topology.Topology) {
		router := top.Inside.Namespace
		must(t, router.Sysctl("net/ipv6/conf/"+top.Inside.Segment+"/disable_ipv6", "0"))
		link := linkOf(t, router, top.Inside.Segment)
		must(t, router.Netlink().AddrAdd(link, &netlink.Addr{
			IPNet: &net.IPNet{IP: routerIPv6.Addr().AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD,
		}))
		old, err := top.ControlNode(t.Context())
		must(t, err)
		holds(t, top, old)
		own := ownIPv6(t, top)

		// It answers, for its service too; and so does every node's own address.
		answers(t, router, clusterIPv6)
		serves(t, router, old)
		for _, a := range own {
			answers(t, router, a)
		}
		// Of the cluster address the kernel begins nothing itself, wherever it leads.
		if out := output(t, old.Namespace(), "ip", "-6", "route", "get", routerIPv6.Addr().String()); !strings.Contains(out, "src "+own[old.Index-1].String()) {
			t.Errorf("%s speaks first from another address than its own: %s", old.Name, out)
		}
		if at := neighbour(t, router, link, clusterIPv6); at != macOf(t, old) {
			t.Fatalf("the cluster address is at %v, %s at %v", at, old.Name, macOf(t, old))
		}

		must(t, old.KillDaemon())
		if !has(t, old, clusterIPv6) {
			t.Error("a killed daemon took its address along: nothing is tested")
		}
		next, seen := successor(t, top, old)
		for neighbour(t, router, link, clusterIPv6) != macOf(t, next) {
			if time.Since(seen) > time.Second {
				t.Fatalf("the router still has %v, a second after %s has the role", neighbour(t, router, link, clusterIPv6), next.Name)
			}
			pause(t, t.Context(), time.Millisecond)
		}
		told := time.Since(seen)
		answers(t, router, clusterIPv6)
		if took := time.Since(seen); took > time.Second {
			t.Errorf("it answers %v after the view", took)
		}
		t.Logf("the router was told %v after the view, and had an answer after %v", told, time.Since(seen))
		serves(t, router, next)

		// The one that was killed comes back and does not have it twice.
		must(t, old.StartDaemon())
		must(t, top.WaitFormed(within(t, 30*time.Second), len(top.Nodes)))
		holds(t, top, next)
		answers(t, router, clusterIPv6)
		if at := neighbour(t, router, link, clusterIPv6); at != macOf(t, next) {
			t.Errorf("after the restart the cluster address is at %v, want %v", at, macOf(t, next))
		}
		if now := ownIPv6(t, top); !slices.Equal(now, own) {
			t.Errorf("own addresses %v, before %v", now, own)
		}
		for _, a := range own {
			answers(t, router, a)
		}
		shown(t, next)
	})
}

// linkOf is an interface of a namespace.
func linkOf(t *testing.T, n *netns.Namespace, name string) netlink.Link {
	t.Helper()
	l, err := n.Netlink().LinkByName(name)
	must(t, err)
	return l
}

func macOf(t *testing.T, n *topology.Node) string {
	t.Helper()
	return linkOf(t, n.Namespace(), topology.InsideIface).Attrs().HardwareAddr.String()
}

// inside6 lists the IPv6 addresses of a node's inside, without link-local ones.
func inside6(t *testing.T, n *topology.Node) (all []netip.Addr) {
	t.Helper()
	list, err := n.Namespace().Netlink().AddrList(linkOf(t, n.Namespace(), topology.InsideIface), netlink.FAMILY_V6)
	must(t, err)
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && insideIPv6.Contains(ip) {
			all = append(all, ip)
		}
	}
	return all
}

func has(t *testing.T, n *topology.Node, a netip.Addr) bool {
	t.Helper()
	return slices.Contains(inside6(t, n), a)
}

// holds checks that one node alone has the cluster address.
func holds(t *testing.T, top *topology.Topology, want *topology.Node) {
	t.Helper()
	for _, n := range top.Nodes {
		if got := has(t, n, clusterIPv6); got != (n == want) {
			t.Errorf("%s has the cluster address: %v; the control node is %s", n.Name, got, want.Name)
		}
	}
}

// ownIPv6 returns each node's own address, which is one: the pinned one, or that of
// the pool.
func ownIPv6(t *testing.T, top *topology.Topology) (own []netip.Addr) {
	t.Helper()
	for _, n := range top.Nodes {
		for _, a := range inside6(t, n) {
			if a != clusterIPv6 {
				own = append(own, a)
			}
		}
	}
	pool := netip.MustParsePrefix("fd00:1::/124") // without ::10, which is no node's id here
	if len(own) != 3 || own[0].String() != "fd00:1::a" || own[1].String() != "fd00:1::b" || !pool.Contains(own[2]) {
		t.Fatalf("own addresses %v, want those pinned and one of the pool", own)
	}
	return own
}

// neighbour returns where the router has an address; "" while it does not know.
func neighbour(t *testing.T, router *netns.Namespace, link netlink.Link, a netip.Addr) string {
	t.Helper()
	list, err := router.Netlink().NeighList(link.Attrs().Index, netlink.FAMILY_V6)
	must(t, err)
	for _, n := range list {
		if ip, ok := netip.AddrFromSlice(n.IP); ok && ip == a && n.State&(unix.NUD_INCOMPLETE|unix.NUD_FAILED) == 0 {
			return n.HardwareAddr.String()
		}
	}
	return ""
}

func answers(t *testing.T, from *netns.Namespace, a netip.Addr) {
	t.Helper()
	if out := output(t, from, "ping", "-6", "-c", "2", "-i", "0.05", "-W", "1", a.String()); !strings.Contains(out, " 2 received") {
		t.Errorf("ping %v:\n%s", a, out)
	}
}

// serves opens a connection to a service of the node at the cluster address.
func serves(t *testing.T, from *netns.Namespace, n *topology.Node) {
	t.Helper()
	var l net.Listener
	must(t, n.Namespace().Do(func() (err error) {
		l, err = net.Listen("tcp6", netip.AddrPortFrom(clusterIPv6, 2222).String())
		return err
	}))
	defer l.Close()
	must(t, from.Do(func() error {
		c, err := net.DialTimeout("tcp6", l.Addr().String(), 2*time.Second)
		if err != nil {
			return fmt.Errorf("a service of %s at the cluster address: %w", n.Name, err)
		}
		return c.Close()
	}))
}

// successor waits until another node has the control role, and says who and when.
func successor(t *testing.T, top *topology.Topology, old *topology.Node) (*topology.Node, time.Time) {
	t.Helper()
	ctx := within(t, 10*time.Second)
	for {
		for _, n := range top.Nodes {
			if n == old {
				continue
			}
			info, err := n.API().Info(ctx)
			must(t, err)
			if i := slices.IndexFunc(top.Nodes, func(n *topology.Node) bool { return n.Name == info.Control }); i >= 0 && top.Nodes[i] != old {
				return top.Nodes[i], time.Now()
			}
		}
		pause(t, ctx, time.Millisecond)
	}
}

// shown checks what a node says of the addresses.
func shown(t *testing.T, n *topology.Node) {
	t.Helper()
	info, err := n.API().Info(t.Context())
	must(t, err)
	want := api.ClusterAddresses{Interface: "inside", Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.254/24"), netip.PrefixFrom(clusterIPv6, 64)}}
	if len(info.Addresses) != 2 || info.Addresses[0].Interface != "inside" || !slices.Equal(info.Addresses[0].Addresses, want.Addresses) {
		t.Errorf("show cluster info has %+v, want %+v first", info.Addresses, want)
	}
	list, err := n.API().Interfaces(t.Context())
	must(t, err)
	i := slices.IndexFunc(list, func(i api.Interface) bool { return i.Name == "inside" })
	if i < 0 || !slices.Contains(list[i].Addresses, netip.PrefixFrom(clusterIPv6, 64)) {
		t.Errorf("show interfaces has %+v", list)
	}
}
