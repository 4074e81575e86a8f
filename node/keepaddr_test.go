package node

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"cohort/config"
)

var keptInterface = config.Interface{
	ID: 1, Name: "inside", Device: "in0",
	ClusterAddress: netip.MustParsePrefix("10.1.0.254/24"), Pool: config.Range{First: netip.MustParseAddr("10.1.0.1"), Last: netip.MustParseAddr("10.1.0.9")},
	ClusterAddressIPv6: netip.MustParsePrefix("fd00:1::fe/64"), PoolIPv6: config.Range{First: netip.MustParseAddr("fd00:1::1"), Last: netip.MustParseAddr("fd00:1::9")},
	Pins: []config.Pin{{Node: "fw-b", Address: netip.MustParseAddr("10.1.0.7")}},
}

// What an interface lacks, and in which order it is added.
func TestEL7_WhatAnInterfaceLacks(t *testing.T) {
	for _, c := range []struct {
		name  string
		node  string
		id    int
		rules bool
		has   []string
		want  string
	}{
		{"all there", "fw-a", 1, true, []string{"10.1.0.1", "10.1.0.254", "fd00:1::1", "fd00:1::fe"}, "[]"},
		{"nothing there", "fw-a", 1, true, nil, "[10.1.0.1/24 fd00:1::1/64 10.1.0.254/24 shared fd00:1::fe/64 shared]"},
		{"no control node", "fw-a", 1, false, nil, "[10.1.0.1/24 fd00:1::1/64]"},
		{"no member", "fw-a", 0, false, nil, "[]"},
		{"pinned, and no member", "fw-b", 0, false, nil, "[10.1.0.7/24]"},
		{"another one of the pool", "fw-a", 1, false, []string{"10.1.0.3", "fd00:1::5"}, "[]"},
		{"pinned, and another one of the pool", "fw-b", 1, false, []string{"10.1.0.3", "fd00:1::5"}, "[10.1.0.7/24]"},
		{"the own one before the cluster's", "fw-a", 1, true, []string{"10.1.0.254", "fd00:1::fe"}, "[10.1.0.1/24 fd00:1::1/64 10.1.0.254/24 shared]"},
		{"IPv6 went down", "fw-a", 1, true, []string{"10.1.0.1", "10.1.0.254"}, "[fd00:1::1/64 fd00:1::fe/64 shared]"},
	} {
		var has []netip.Addr
		for _, a := range c.has {
			has = append(has, netip.MustParseAddr(a))
		}
		var got []string
		for _, l := range lacking(&keptInterface, c.node, c.id, c.rules, has) {
			s := l.prefix.String()
			if l.shared {
				s += " shared"
			}
			got = append(got, s)
		}
		if s := fmt.Sprint(got); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

// ownNamespace moves the test's thread into a network namespace that ends with it: the
// thread is never unlocked.
func ownNamespace(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	runtime.LockOSThread()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
}

// The kernel itself forgets addresses: an interface that an administrator sets down and
// up loses those of IPv6 where the system says so, and the first address of an IPv4
// network takes the others along. They are back, the cluster's too; not before the
// interface is up, and at no node that does not rule.
func TestEL7_AddressesThatTheKernelForgotAreBack(t *testing.T) {
	ownNamespace(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "in0"}, PeerName: "peer"}))
	for _, name := range []string{"in0", "peer"} {
		l, err := netlink.LinkByName(name)
		must(err)
		must(netlink.LinkSetUp(l))
	}
	l, err := netlink.LinkByName("in0")
	must(err)
	there := func() (list []string) {
		all, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		must(err)
		for _, a := range all {
			if a.Scope == unix.RT_SCOPE_UNIVERSE {
				list = append(list, a.IP.String())
			}
			if a.Flags&unix.IFA_F_TENTATIVE != 0 && a.Scope == unix.RT_SCOPE_UNIVERSE {
				t.Errorf("%v is tentative", a.IP)
			}
		}
		return list
	}
	put := func(rules, announce bool) {
		t.Helper()
		_, shared, err := putBack(&keptInterface, "fw-a", 1, rules)
		must(err)
		if shared != announce {
			t.Errorf("cluster addresses are back: %v", shared)
		}
	}
	all := []string{"10.1.0.1", "10.1.0.254", "fd00:1::1", "fd00:1::fe"}
	check := func(what string, want ...string) {
		t.Helper()
		got := there()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	put(true, true)
	check("at first", all...)
	put(true, false)

	must(os.WriteFile("/proc/sys/net/ipv6/conf/in0/keep_addr_on_down", []byte("0"), 0o644))
	must(netlink.LinkSetDown(l))
	check("set down", all[:2]...)
	put(true, false)
	check("while it is down", all[:2]...)
	must(netlink.LinkSetUp(l))
	check("set up", all[:2]...)
	put(true, true)
	check("looked at", all...)

	first, err := netlink.ParseAddr("10.1.0.1/24")
	must(err)
	must(netlink.AddrDel(l, first))
	check("the first is gone", all[2:]...)
	put(false, false)
	check("of a node that does not rule", "10.1.0.1", "fd00:1::1", "fd00:1::fe")
	put(true, true)
	check("of one that does", all...)

	// With promotion the cluster's is the first one then, and must not stay it.
	must(os.WriteFile("/proc/sys/net/ipv4/conf/in0/promote_secondaries", []byte("1"), 0o644))
	must(netlink.AddrDel(l, first))
	check("the cluster's is the first", all[1:]...)
	put(true, true)
	if got := there(); !slices.Equal(got[:2], all[:2]) {
		t.Errorf("the kernel has them in the order %v", got)
	}
	put(true, false)

	must(netlink.LinkDel(l))
	put(true, false) // it is gone: nothing to do
}

// Somebody who takes the addresses off again and again is answered once a second.
func TestEL7_TheAddressesAreLookedAtOnceASecond(t *testing.T) {
	k := addressKeeper{}
	looks := 0
	for now := int64(0); now < 10*keepEvery; now += tickEvery {
		if k.due(now) {
			looks++
		}
		k.look = now >= 2*keepEvery && now < 7*keepEvery
	}
	if looks != 5 {
		t.Errorf("%d looks in five seconds of changes", looks)
	}
}
