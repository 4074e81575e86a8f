package config

import (
	"math"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func linkOf(address, peers string) []byte {
	return []byte("cluster: c\nnode: n\nccl:\n  interface: i\n  address: " + address + "\n  peers: " + peers + "\nkey_file: k\n")
}

func TestCL9_LinkOverIPv6(t *testing.T) {
	n, err := ParseNode("n.yaml", linkOf("fd00:99::1/64", `["fd00:99::2", "fd00:99::e-fd00:99::11", "FD00:99:0::0001"]`))
	if err != nil {
		t.Fatal(err)
	}
	if want := netip.MustParsePrefix("fd00:99::1/64"); n.CCL.Address != want {
		t.Errorf("address %v, want %v", n.CCL.Address, want)
	}
	if diff := cmp.Diff(addrs("fd00:99::2", "fd00:99::e", "fd00:99::f", "fd00:99::10", "fd00:99::11"), n.CCL.Peers, compareAddrs); diff != "" {
		t.Error(diff)
	}
}

func TestCL9_MistakesAboutIPv6GetOneLineEach(t *testing.T) {
	const address, peer = "fd00:99::1/64", `"fd00:99::2"`
	const writeAddress, writePeers = "; write " + exampleVTEPIPv6, "; write " + examplePeersIPv6
	for _, c := range []struct{ address, peers, want string }{
		{"fd00:99::1", peer, "n.yaml:5: ccl.address fd00:99::1 has no network length" + writeAddress},
		{"fd00:99::g/64", peer, "n.yaml:5: ccl.address fd00:99::g/64 is not an IPv6 network" + writeAddress},
		{"fe80::1%eth0/64", peer, "n.yaml:5: ccl.address fe80::1%eth0/64 has a zone, which means nothing to the other nodes" + writeAddress},
		{"fe80::1/64", peer, "n.yaml:5: ccl.address fe80::1/64 is a link-local address, which a VTEP cannot have" + writeAddress},
		{`"::1/64"`, peer, "n.yaml:5: ccl.address ::1/64 is not a unicast address" + writeAddress},
		{"ff02::1/64", peer, "n.yaml:5: ccl.address ff02::1/64 is not a unicast address" + writeAddress},
		{`"::ffff:10.99.0.1/112"`, peer, "n.yaml:5: ccl.address ::ffff:10.99.0.1/112 is an IPv4 address in the form of IPv6" + writeAddress},
		{"fd00:99::1/48", peer, "n.yaml:5: ccl.address fd00:99::1/48 has a network length outside 64-112" + writeAddress},
		{"fd00:99::1/128", peer, "n.yaml:5: ccl.address fd00:99::1/128 has a network length outside 64-112" + writeAddress},
		{"fd00:99::1:0/64", peer, "n.yaml:5: ccl.address fd00:99::1:0 ends in 16 bits that are all zero or all one; members are told apart by them" + writeAddress},
		{"fd00:99::ffff/64", peer, "n.yaml:5: ccl.address fd00:99::ffff ends in 16 bits that are all zero or all one; members are told apart by them" + writeAddress},
		{address, `"fd00:98::2"`, "n.yaml:6: ccl.peers fd00:98::2 is not a host of the link's network fd00:99::/64" + writePeers},
		{address, `"fd00:99::fffe-fd00:99::1:2"`, "n.yaml:6: ccl.peers fd00:99::ffff is not a host of the link's network fd00:99::/64" + writePeers},
		{address, `"fd00:99::2%eth0"`, "n.yaml:6: ccl.peers fd00:99::2%eth0 has a zone, which means nothing to the other nodes" + writePeers},
		{address, `"::ffff:10.99.0.2"`, "n.yaml:6: ccl.peers ::ffff:10.99.0.2 is not a host of the link's network fd00:99::/64" + writePeers},
		{address, `"fd00:99::3-fd00:99::2"`, "n.yaml:6: ccl.peers fd00:99::3-fd00:99::2 is reversed" + writePeers},
		{address, `"fd00:99::3-x"`, "n.yaml:6: ccl.peers x is not an address" + writePeers},
		{address, `"fd00:99::2-fd00:99::200"`, "n.yaml:6: ccl.peers fd00:99::2-fd00:99::200 has 511 addresses, more than a cluster's 63" + writePeers},
		{address, `["fd00:99::2", "fd00:99::2"]`, "n.yaml:6: ccl.peers fd00:99::2 is listed twice" + writePeers},
		{address, `["fd00:99::2", "fd00:99:0:0:5::2"]`, "n.yaml:6: ccl.peers fd00:99::2 and fd00:99::5:0:0:2 end in the same 12 bits, by which members are told apart in elections" + writePeers},
	} {
		_, err := ParseNode("n.yaml", linkOf(c.address, c.peers))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s, %s:\n\t%v\nwant\n\t%s", c.address, c.peers, err, c.want)
		}
	}
}

func TestSizeOfARange(t *testing.T) {
	for _, c := range []struct {
		first, last string
		want        int
	}{
		{"10.0.0.255", "10.0.1.0", 2},
		{"fd00::1", "fd00::1", 1},
		{"fd00::ffff:ffff:ffff:ffff", "fd00:0:0:1::1", 3}, // over a border of words
		{"fd00::", "fd00:0:0:1::", math.MaxInt},
		{"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", math.MaxInt},
	} {
		r := Range{netip.MustParseAddr(c.first), netip.MustParseAddr(c.last)}
		if got := r.Size(); got != c.want {
			t.Errorf("%v has %d addresses, want %d", r, got, c.want)
		}
	}
}
