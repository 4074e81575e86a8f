package scenario

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cohort/testenv/topology"
)

// TestEL7_AddressesThatSomebodyTakesOffAreBack takes the addresses of both families off
// the control node's inside, and sets that interface down and up where the kernel
// forgets the IPv6 ones with it: they are there again, and the router reaches them.
func TestEL7_AddressesThatSomebodyTakesOffAreBack(t *testing.T) {
	bothPaths(t, topology.Config{ClusterYAML: bothFamilies}, func(t *testing.T, top *topology.Topology) {
		router := top.Inside.Namespace
		link := linkOf(t, router, top.Inside.Segment)
		must(t, router.Sysctl("net/ipv6/conf/"+top.Inside.Segment+"/disable_ipv6", "0"))
		must(t, router.Netlink().AddrAdd(link, &netlink.Addr{
			IPNet: &net.IPNet{IP: routerIPv6.Addr().AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD,
		}))
		node, err := top.ControlNode(t.Context())
		must(t, err)
		at := node.Namespace()
		inside := linkOf(t, at, topology.InsideIface)
		addresses := func() (list []string) {
			all, err := at.Netlink().AddrList(inside, netlink.FAMILY_ALL)
			must(t, err)
			for _, a := range all {
				if a.IP.IsGlobalUnicast() {
					list = append(list, a.IP.String())
				}
			}
			slices.Sort(list)
			return list
		}
		all := addresses()
		if len(all) != 4 {
			t.Fatalf("the control node has %v", all)
		}
		back := func(what string) {
			t.Helper()
			for began := time.Now(); !slices.Equal(addresses(), all); pause(t, t.Context(), 10*time.Millisecond) {
				if time.Since(began) > 3*time.Second {
					t.Fatalf("%s: the control node has %v, before %v", what, addresses(), all)
				}
			}
		}
		output(t, at, "ip", "addr", "flush", "dev", topology.InsideIface, "scope", "global")
		back("flushed")

		must(t, at.Sysctl("net/ipv6/conf/"+topology.InsideIface+"/keep_addr_on_down", "0"))
		must(t, at.Netlink().LinkSetDown(inside))
		if len(addresses()) == 4 {
			t.Error("the kernel has forgotten nothing: nothing is tested")
		}
		must(t, at.Netlink().LinkSetUp(inside))
		back("set down and up")
		answers(t, router, clusterIPv6)
		info, err := node.API().Info(t.Context())
		must(t, err)
		if info.Control != node.Name {
			t.Errorf("%s rules now", info.Control)
		}
	})
}
