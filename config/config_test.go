package config

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cohort/flowtable"
	"cohort/nat"
	"cohort/packet"
	"cohort/policy"
)

var compareAddrs = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmpopts.IgnoreUnexported(Interface{}),
}

func addrs(text ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range text {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestExampleNode(t *testing.T) {
	got, err := ParseNode("/etc/cohort/node.yaml", []byte(ExampleNode))
	if err != nil {
		t.Fatal(err)
	}
	want := &Node{
		Cluster: "edge", Name: "fw-a", Priority: 10, Serial: "A1B2C3", Tier: "large",
		StateDir: "/var/lib/cohort", ControlSocket: "/run/cohort/fw-a.sock",
		CCL: CCL{
			Interface: "ccl0", Address: netip.MustParsePrefix("10.99.0.1/24"), VNI: 1, MTUCheck: MTUEnforce,
			Peers: addrs("10.99.0.2", "10.99.0.3", "10.99.0.4", "10.99.0.5", "10.99.0.6", "10.99.0.7", "10.99.0.8", "10.99.0.9",
				"10.99.0.10", "10.99.0.11", "10.99.0.12", "10.99.0.13", "10.99.0.14", "10.99.0.15", "10.99.0.16"),
		},
		KeyFile: "/etc/cohort/cluster.key", Config: "/etc/cohort/cluster.yaml",
		Metrics: netip.MustParseAddrPort("127.0.0.1:9464"),
	}
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Error(diff)
	}
}

// The smallest file gets all defaults; its relative paths start at the file.
func TestNodeDefaults(t *testing.T) {
	got, err := ParseNode("lab/b.yaml", []byte("cluster: edge\nnode: fw-b\nccl: {interface: ccl0, address: 10.99.0.2/24}\nkey_file: the.key\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Node{
		Cluster: "edge", Name: "fw-b", Priority: 100,
		StateDir: "/var/lib/cohort", ControlSocket: "/run/cohort/fw-b.sock",
		CCL:     CCL{Interface: "ccl0", Address: netip.MustParsePrefix("10.99.0.2/24"), VNI: 1, MTUCheck: MTUEnforce},
		KeyFile: "lab/the.key",
	}
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Error(diff)
	}
}

// Every node may list the whole cluster: a node is not its own peer.
func TestCL1_PeersLeaveOutTheNodeItself(t *testing.T) {
	n, err := ParseNode("n.yaml", []byte("cluster: c\nnode: n\nccl: {interface: i, peers: [10.99.0.1-10.99.0.3], address: 10.99.0.2/24}\nkey_file: k\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(addrs("10.99.0.1", "10.99.0.3"), n.CCL.Peers, compareAddrs); diff != "" {
		t.Error(diff)
	}
}

func TestExampleCluster(t *testing.T) {
	got, err := ParseCluster("cluster.yaml", []byte(ExampleCluster))
	if err != nil {
		t.Fatal(err)
	}
	want := &Cluster{
		Interfaces: []Interface{
			{
				ID: 1, Name: "inside", Device: "in0", Trust: 100, MTU: 1500, Monitored: true,
				ClusterAddress: netip.MustParsePrefix("10.1.0.254/24"),
				Pool:           Range{netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.16")},
				Pins:           []Pin{{Node: "fw-a", Address: netip.MustParseAddr("10.1.0.1")}},
			},
			{
				ID: 2, Name: "outside", Device: "out0", Trust: 0, MTU: 1500, Monitored: true,
				Targets:        []netip.AddrPort{netip.MustParseAddrPort("198.51.100.250:0"), netip.MustParseAddrPort("198.51.100.250:179")},
				ClusterAddress: netip.MustParsePrefix("198.51.100.254/24"),
				Pool:           Range{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.16")},
			},
		},
		Rules: []Rule{
			{
				Name: "web-in", From: "outside", To: "inside", Destination: []netip.Prefix{netip.MustParsePrefix("10.1.8.80/32")},
				Protocol: packet.ProtoTCP, Ports: []policy.Ports{{First: 80, Last: 80}, {First: 443, Last: 443}}, Allow: true,
			},
			{
				Name: "ping-in", From: "outside", To: "inside", Destination: []netip.Prefix{netip.MustParsePrefix("10.1.8.0/24")},
				Protocol: packet.ProtoICMP, Allow: true, Durability: policy.None,
			},
			{
				Name: "no-mail", From: "inside", Protocol: packet.ProtoTCP,
				Source: []netip.Prefix{
					netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.0.1/32"), netip.MustParsePrefix("10.2.0.2/31"),
					netip.MustParsePrefix("10.2.0.4/30"), netip.MustParsePrefix("10.2.0.8/31"),
				},
				Ports: []policy.Ports{{First: 25, Last: 25}, {First: 465, Last: 587}},
			},
		},
		NAT:      exampleNAT,
		Timeouts: flowtable.DefaultTimeouts(),
		Health:   defaultHealth(),
		Limits:   Limits{Connections: 1 << 20, Forwards: 1 << 20, Delegations: 1 << 18},

		Sequences: true,
	}
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Error(diff)
	}
	if i := got.Interface("outside"); i == nil || i.ID != 2 || got.Interface("dmz") != nil {
		t.Errorf("Interface finds %+v", i)
	}
	if got.MaxMTU() != 1500 {
		t.Errorf("MaxMTU %d", got.MaxMTU())
	}
}

// The example states the defaults: without its optional parts, nothing changes.
func TestClusterDefaultsAreThoseOfTheExample(t *testing.T) {
	full, err := ParseCluster("c.yaml", []byte(ExampleCluster))
	if err != nil {
		t.Fatal(err)
	}
	interfaces, _, _ := strings.Cut(ExampleCluster, "policy:")
	short, err := ParseCluster("c.yaml", []byte(interfaces))
	if err != nil {
		t.Fatal(err)
	}
	full.Rules, full.NAT = nil, nat.Config{}
	if diff := cmp.Diff(full, short, compareAddrs); diff != "" {
		t.Error(diff)
	}
}

// The configuration in DESIGN 11.
func TestDesignExampleIsAccepted(t *testing.T) {
	const design = `interfaces:
  inside:  {device: in0,  trust: 100, cluster_address: 10.1.0.254/24,    pool: 10.1.0.1-10.1.0.16, pin: {fw-a: 10.1.0.1}}
  outside: {device: out0, trust: 0,   cluster_address: 198.51.100.254/24, pool: 198.51.100.1-198.51.100.16}
policy:
  rules:
    - {name: web-in, from: outside, to: inside, destination: 10.1.8.80, protocol: tcp, ports: [80, 443], action: allow}
nat:
  pools: {egress: {addresses: [203.0.113.10-203.0.113.11], block_size: 512}}
  rules:
    - {name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}
    - {name: web, type: static, from: inside, to: outside, original: 10.1.8.80, mapped: 203.0.113.80}
health: {hold_time: 3s}
`
	if _, err := ParseCluster("cluster.yaml", []byte(design)); err != nil {
		t.Error(err)
	}
}

// Rules may stand before the interfaces that they name, and lists may be
// single values.
func TestOrderOfSectionsDoesNotMatter(t *testing.T) {
	c, err := ParseCluster("c.yaml", []byte(`
policy: {rules: [{name: r, from: b, to: any, source: any, destination: [10.0.0.1, 0.0.0.0/0], protocol: 6, ports: [5-7, 8, 1-5], action: deny, durability: none}]}
interfaces:
  b: {device: b0, trust: 1, cluster_address: 10.2.0.1/24, pool: 10.2.0.2}
  a: {device: a0, trust: 2, cluster_address: 10.1.0.1/24, pool: 10.1.0.2-10.1.0.9, mtu: 9044}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Rule{{Name: "r", From: "b", Protocol: 6, Ports: []policy.Ports{{First: 1, Last: 8}}, Durability: policy.None}}
	if diff := cmp.Diff(want, c.Rules, compareAddrs); diff != "" {
		t.Error(diff)
	}
	if c.Interfaces[0].Name != "a" || c.Interfaces[0].ID != 1 || c.Interfaces[1].ID != 2 || c.MaxMTU() != 9044 {
		t.Errorf("interfaces %+v", c.Interfaces)
	}
}

func TestTR2_PolicyOfTheExample(t *testing.T) {
	c, err := ParseCluster("c.yaml", []byte(ExampleCluster))
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.CompilePolicy()
	if err != nil {
		t.Fatal(err)
	}
	inside, outside := c.Interface("inside").ID, c.Interface("outside").ID
	key := func(proto uint8, src, dst string, port uint16) packet.FlowKey {
		return packet.FlowKey{
			Src: packet.AddrFrom(netip.MustParseAddr(src)), Dst: packet.AddrFrom(netip.MustParseAddr(dst)),
			SrcPort: 50000, DstPort: port, Proto: proto,
		}
	}
	for _, want := range []struct {
		in, out uint8
		key     packet.FlowKey
		allow   bool
		rule    string
	}{
		{outside, inside, key(packet.ProtoTCP, "192.0.2.1", "10.1.8.80", 443), true, "web-in"},
		{outside, inside, key(packet.ProtoTCP, "192.0.2.1", "10.1.8.80", 22), false, "default"},
		{outside, inside, key(packet.ProtoICMP, "192.0.2.1", "10.1.8.9", 0), true, "ping-in"},
		{inside, outside, key(packet.ProtoTCP, "10.2.0.9", "192.0.2.1", 500), false, "no-mail"},
		{inside, outside, key(packet.ProtoTCP, "10.2.0.10", "192.0.2.1", 500), true, "default"},
	} {
		got := p.Judge(want.in, want.out, want.key)
		if got.Allow != want.allow || p.RuleName(got.Rule) != want.rule {
			t.Errorf("%s: %+v by %s, want %+v", want.key, got, p.RuleName(got.Rule), want)
		}
	}
}
