package config

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// What the example says of the outside interface, and the same with IPv6 beside it.
const (
	outsideIPv4 = "cluster_address: 198.51.100.254/24, pool: 198.51.100.1-198.51.100.16"
	outsideBoth = `cluster_address: [198.51.100.254/24, "2001:db8:2::254/64"], pool: ["2001:db8:2::1-2001:db8:2::10", 198.51.100.1-198.51.100.16], ` +
		`pin: {fw-a: [198.51.100.1, "2001:db8:2::1"], fw-b: "2001:db8:2::2", fw-c: 198.51.100.3}`
)

func TestEL7_AnInterfaceHasIPv6BesideIPv4(t *testing.T) {
	c, err := ParseCluster("cluster.yaml", []byte(strings.Replace(ExampleCluster, outsideIPv4, outsideBoth, 1)))
	if err != nil {
		t.Fatal(err)
	}
	i := c.Interface("outside")
	addr := netip.MustParseAddr
	pins := []Pin{
		{Node: "fw-a", Address: addr("198.51.100.1"), AddressIPv6: addr("2001:db8:2::1")},
		{Node: "fw-b", AddressIPv6: addr("2001:db8:2::2")},
		{Node: "fw-c", Address: addr("198.51.100.3")},
	}
	switch {
	case i.ClusterAddress.String() != "198.51.100.254/24" || i.ClusterAddressIPv6.String() != "2001:db8:2::254/64":
		t.Errorf("cluster addresses %v", i.ClusterAddresses())
	case i.Pool.String() != "198.51.100.1-198.51.100.16" || i.PoolIPv6.String() != "2001:db8:2::1-2001:db8:2::10":
		t.Errorf("pools %v and %v", i.Pool, i.PoolIPv6)
	case !slices.Equal(i.Pins, pins):
		t.Errorf("pins %v", i.Pins)
	}
	if in := c.Interface("inside"); len(in.ClusterAddresses()) != 1 || in.PoolIPv6.Size() != 0 {
		t.Errorf("an interface without IPv6: %+v", in)
	}
	without, err := ParseCluster("cluster.yaml", []byte(ExampleCluster))
	if err != nil {
		t.Fatal(err)
	}
	if err := without.Reloads("cluster.yaml", c); err == nil || !strings.Contains(err.Error(), "interfaces.outside differs") {
		t.Errorf("IPv6 added by reload: %v", err)
	}
}

func TestPoolForIPv6IsProposedBesideTheClusterAddress(t *testing.T) {
	for cluster, want := range map[string]string{
		"2001:db8::254/64":   "2001:db8::1-2001:db8::10",
		"2001:db8::1/64":     "2001:db8::2-2001:db8::11",
		"2001:db8::9/64":     "2001:db8::a-2001:db8::19",
		"2001:db8::11/64":    "2001:db8::1-2001:db8::10",
		"2001:db8::3/126":    "2001:db8::1-2001:db8::2",
		"2001:db8::2/126":    "2001:db8::3-2001:db8::3",
		"2001:db8::1/126":    "2001:db8::2-2001:db8::3",
		"2001:db8::ff/120":   "2001:db8::1-2001:db8::10",
		"2001:db8:0:1::f/64": "2001:db8:0:1::10-2001:db8:0:1::1f",
	} {
		if got := poolForIPv6(netip.MustParsePrefix(cluster)).String(); got != want {
			t.Errorf("pool for %s: %s, want %s", cluster, got, want)
		}
	}
}

// TestEL7_IPv6NetworksAreApart: from each other, and from the control link's.
func TestEL7_IPv6NetworksAreApart(t *testing.T) {
	both := strings.Replace(ExampleCluster, outsideIPv4, outsideBoth, 1)
	inside := strings.NewReplacer(
		"cluster_address: 10.1.0.254/24 ", `cluster_address: [10.1.0.254/24, "2001:db8:2::1:1/112"] `,
		"pool: 10.1.0.1-10.1.0.16 ", `pool: [10.1.0.1-10.1.0.16, "2001:db8:2::1:2"] `)
	_, err := ParseCluster("cluster.yaml", []byte(inside.Replace(both)))
	want := "cluster.yaml:10: interfaces.outside.cluster_address 2001:db8:2::254/64 overlaps the network of inside (line 3); give every interface a network of its own"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want\n%s", err, want)
	}
	c, err := ParseCluster("cluster.yaml", []byte(both))
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{Name: "fw-a", CCL: CCL{Interface: "ccl0", Address: netip.MustParsePrefix("2001:db8:2::8000:1/112")}}
	want = "cluster.yaml:10: interfaces.outside.cluster_address 2001:db8:2::254/64 overlaps the cluster control link's network 2001:db8:2::8000:0/112; give the link a network of its own"
	if err := c.Fits("cluster.yaml", n); err == nil || err.Error() != want {
		t.Errorf("%v, want\n%s", err, want)
	}
}

// bothWith changes what outsideBoth says.
func bothWith(old, new string) string {
	if !strings.Contains(outsideBoth, old) {
		panic(old)
	}
	return strings.Replace(outsideBoth, old, new, 1)
}

const (
	writeBoth = `; write cluster_address: [10.1.0.254/24, "2001:db8:1::254/64"]`
	writePool = `; write pool: [198.51.100.1-198.51.100.16, "2001:db8:2::1-2001:db8:2::10"]`
)

var ifaddressMistakes = []mistake{
	{
		"IPv6 alone", outsideIPv4, bothWith("[198.51.100.254/24, \"2001:db8:2::254/64\"]", "\"2001:db8:2::254/64\""),
		"cluster.yaml:10: interfaces.outside.cluster_address has 2001:db8:2::254/64 alone; an interface needs an IPv4 address too" + writeBoth,
	},
	{
		"two IPv6 addresses", outsideIPv4, bothWith("198.51.100.254/24, \"2001:db8:2::254/64\"", "198.51.100.254/24, \"2001:db8:2::254/64\", \"2001:db8:3::254/64\""),
		"cluster.yaml:10: interfaces.outside.cluster_address has 2001:db8:2::254/64 and 2001:db8:3::254/64, both IPv6; keep one of each family",
	},
	{
		"two IPv4 addresses", outsideIPv4, "cluster_address: [198.51.100.254/24, 198.51.100.253/24], pool: 198.51.100.1-198.51.100.16",
		"cluster.yaml:10: interfaces.outside.cluster_address has 198.51.100.254/24 and 198.51.100.253/24, both IPv4; keep one of each family",
	},
	{
		"no address", outsideIPv4, "cluster_address: [], pool: 198.51.100.1-198.51.100.16",
		"cluster.yaml:10: interfaces.outside.cluster_address is an empty list; write cluster_address: 10.1.0.254/24",
	},
	{
		"no length", outsideIPv4, bothWith("::254/64", "::254"),
		"cluster.yaml:10: interfaces.outside.cluster_address 2001:db8:2::254 has no network length" + writeBoth,
	},
	{
		"a length that is none", outsideIPv4, bothWith("::254/64", "::254/129"),
		"cluster.yaml:10: interfaces.outside.cluster_address 2001:db8:2::254/129 has 129 for a network length" + writeBoth,
	},
	{
		"length 63", outsideIPv4, bothWith("::254/64", "::254/63"),
		"cluster.yaml:10: interfaces.outside.cluster_address 2001:db8:2::254/63 has a network length outside 64-126" + writeBoth,
	},
	{
		"length 127", outsideIPv4, bothWith("::254/64", "::254/127"),
		"cluster.yaml:10: interfaces.outside.cluster_address 2001:db8:2::254/127 has a network length outside 64-126" + writeBoth,
	},
	{
		"not an address", outsideIPv4, bothWith("2001:db8:2::254/64", "2001:db8:2::25g/64"),
		"cluster.yaml:10: interfaces.outside.cluster_address 2001:db8:2::25g is not an IPv6 address" + writeBoth,
	},
	{
		"link-local", outsideIPv4, bothWith("2001:db8:2::254/64", "fe80::254/64"),
		"cluster.yaml:10: interfaces.outside.cluster_address fe80::254/64 is a link-local address, which means nothing beyond one link" + writeBoth,
	},
	{
		"multicast", outsideIPv4, bothWith("2001:db8:2::254/64", "ff02::1/64"),
		"cluster.yaml:10: interfaces.outside.cluster_address ff02::1/64 is not a unicast address" + writeBoth,
	},
	{
		"zone", outsideIPv4, bothWith("2001:db8:2::254/64", "2001:db8:2::254%out0/64"),
		"cluster.yaml:10: interfaces.outside.cluster_address 2001:db8:2::254%out0 has a zone, which means nothing to the other nodes" + writeBoth,
	},
	{
		"IPv4 in IPv6", outsideIPv4, bothWith("2001:db8:2::254/64", "::ffff:198.51.100.254/120"),
		"cluster.yaml:10: interfaces.outside.cluster_address ::ffff:198.51.100.254 is an IPv4 address in the form of IPv6" + writeBoth,
	},
	{
		"all routers", outsideIPv4, bothWith("2001:db8:2::254/64", "2001:db8:2::/64"),
		"cluster.yaml:10: interfaces.outside.cluster_address 2001:db8:2:: is the address of all routers of 2001:db8:2::/64" + writeBoth,
	},
	{
		"pool without IPv6", outsideIPv4, bothWith("\"2001:db8:2::1-2001:db8:2::10\", ", ""),
		"cluster.yaml:10: interfaces.outside.pool has no IPv6 range beside cluster_address 2001:db8:2::254/64" + writePool,
	},
	{
		"pool without IPv4", outsideIPv4, bothWith(", 198.51.100.1-198.51.100.16]", "]"),
		"cluster.yaml:10: interfaces.outside.pool has no IPv4 range beside cluster_address 198.51.100.254/24" + writePool,
	},
	{
		"IPv6 pool alone", outsideIPv4, bothWith(", \"2001:db8:2::254/64\"", ""),
		`cluster.yaml:10: interfaces.outside.pool has 2001:db8:2::1-2001:db8:2::10, but cluster_address has no IPv6 address; remove it, or add one as in cluster_address: [10.1.0.254/24, "2001:db8:1::254/64"]`,
	},
	{
		"IPv6 pool outside", outsideIPv4, bothWith("2001:db8:2::1-2001:db8:2::10", "2001:db8:3::1-2001:db8:3::10"),
		"cluster.yaml:10: interfaces.outside.pool 2001:db8:3::1 is outside the hosts of cluster_address 2001:db8:2::254/64" + writePool,
	},
	{
		"IPv6 pool with all routers", outsideIPv4, bothWith("2001:db8:2::1-2001:db8:2::10", "2001:db8:2::-2001:db8:2::10"),
		"cluster.yaml:10: interfaces.outside.pool 2001:db8:2:: is outside the hosts of cluster_address 2001:db8:2::254/64" + writePool,
	},
	{
		"IPv6 pool with the cluster address", outsideIPv4, bothWith("2001:db8:2::1-2001:db8:2::10", "2001:db8:2::1-2001:db8:2::ffff"),
		"cluster.yaml:10: interfaces.outside.pool 2001:db8:2::1-2001:db8:2::ffff contains the cluster address 2001:db8:2::254" + writePool,
	},
	{
		"IPv6 pool reversed", outsideIPv4, bothWith("2001:db8:2::1-2001:db8:2::10", "2001:db8:2::10-2001:db8:2::1"),
		"cluster.yaml:10: interfaces.outside.pool 2001:db8:2::10-2001:db8:2::1 is reversed" + writePool,
	},
	{
		"pool from one family to the other", outsideIPv4, bothWith("2001:db8:2::1-2001:db8:2::10", "2001:db8:2::1-198.51.100.16"),
		"cluster.yaml:10: interfaces.outside.pool 198.51.100.16 is not an IPv6 address" + writePool,
	},
	{
		"IPv6 pin outside the pool", outsideIPv4, bothWith(`fw-b: "2001:db8:2::2"`, `fw-b: "2001:db8:2::99"`),
		`cluster.yaml:10: interfaces.outside.pin.fw-b 2001:db8:2::99 is outside the pool 2001:db8:2::1-2001:db8:2::10; write fw-b: [198.51.100.1, "2001:db8:2::1"]`,
	},
	{
		"IPv6 pins overlap", outsideIPv4, bothWith(`fw-b: "2001:db8:2::2"`, `fw-b: "2001:db8:2::1"`),
		"cluster.yaml:10: interfaces.outside.pin.fw-b 2001:db8:2::1 is pinned to fw-a already; give every node an address of its own",
	},
	{
		"IPv6 pin without such a pool", "pin: {fw-a: 10.1.0.1}", `pin: {fw-a: [10.1.0.1, "2001:db8:1::1"]}`,
		"cluster.yaml:8: interfaces.inside.pin.fw-a has 2001:db8:1::1, but the pool has no IPv6 range; write fw-a: 10.1.0.1",
	},
}
