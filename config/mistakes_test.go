package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// mistake is an edit of an example file and what is said about the result.
type mistake struct {
	name     string
	old, new string // replaces old once; old "" = new is the whole file
	want     string
}

func (m mistake) apply(t *testing.T, example string) []byte {
	t.Helper()
	if m.old == "" {
		return []byte(m.new)
	}
	if !strings.Contains(example, m.old) {
		t.Fatalf("%s: the example has no %q", m.name, m.old)
	}
	return []byte(strings.Replace(example, m.old, m.new, 1))
}

func (m mistake) compare(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: accepted, want\n\t%s", m.name, m.want)
	case err.Error() != m.want:
		t.Errorf("%s:\n\t%s\nwant\n\t%s", m.name, err, m.want)
	}
	var one *Error
	if err != nil && !errors.As(err, &one) {
		t.Errorf("%s: %T does not hold an *Error", m.name, err)
	}
}

func TestNodeMistakesGetOneLineEach(t *testing.T) {
	for _, m := range nodeMistakes {
		n, err := ParseNode("node.yaml", m.apply(t, ExampleNode))
		m.compare(t, err)
		if n != nil {
			t.Errorf("%s: a bootstrap file came back beside the error", m.name)
		}
	}
}

func TestClusterMistakesGetOneLineEach(t *testing.T) {
	for _, m := range slices.Concat(clusterMistakes, ifaddressMistakes, natMistakes) {
		c, err := ParseCluster("cluster.yaml", m.apply(t, ExampleCluster))
		m.compare(t, err)
		if c != nil {
			t.Errorf("%s: a configuration came back beside the error", m.name)
		}
	}
}

var nodeMistakes = []mistake{
	{
		"empty", "", "",
		"node.yaml:1: the file is empty; begin with cluster: NAME",
	},
	{
		"only a comment", "", "# nothing\n",
		"node.yaml:1: the file is empty; begin with cluster: NAME",
	},
	{
		"a list", "", "- cluster: edge\n",
		"node.yaml:1: the file is a list, not a mapping; write cluster: NAME",
	},
	{
		"a word", "", "edge\n",
		"node.yaml:1: the file is edge, not a mapping; write cluster: NAME",
	},
	{
		"not YAML", "priority: 10", "priority: [10",
		"node.yaml:3: not YAML: did not find expected ',' or ']'; check indentation, brackets and quotes around this line",
	},
	{
		"a tab", "  vni: 1", "\tvni: 1",
		"node.yaml:10: not YAML: found a tab character that violates indentation; check indentation, brackets and quotes around this line",
	},
	{
		"control character", "node: fw-a", "node: fw\aa",
		"node.yaml:3: the file holds byte 0x07, which is not text; write plain UTF-8 text",
	},
	{
		"second document", "metrics:", "---\nmetrics:",
		"node.yaml:16: a second document begins; keep one document in the file",
	},
	{
		"unknown field, near", "priority: 10", "priorty: 10",
		"node.yaml:4: unknown field priorty; did you mean priority?",
	},
	{
		"unknown field, far", "priority: 10", "weight: 10",
		"node.yaml:4: unknown field weight; known here: cluster, node, priority, serial, tier, state_dir, control_socket, ccl, key_file, config, metrics",
	},
	{
		"unknown field of ccl", "  vni: 1", "  vnid: 1",
		"node.yaml:11: unknown field ccl.vnid; did you mean vni?",
	},
	{
		"field twice", "metrics: 127.0.0.1:9464", "priority: 20",
		"node.yaml:16: priority is written twice; keep this or line 4",
	},
	{
		"missing cluster", "cluster: edge", "",
		"node.yaml:3: cluster is missing; add cluster: edge",
	},
	{
		"missing key_file", "key_file: /etc/cohort/cluster.key", "",
		"node.yaml:2: key_file is missing; add key_file: /etc/cohort/cluster.key",
	},
	{
		"missing ccl address", "  address: 10.99.0.1/24\n", "",
		"node.yaml:9: ccl.address is missing; add address: 10.99.0.1/24",
	},
	{
		"empty value", "cluster: edge", "cluster:",
		"node.yaml:2: cluster is empty; write cluster: edge",
	},
	{
		"null value", "cluster: edge", "cluster: ~",
		"node.yaml:2: cluster is empty; write cluster: edge",
	},
	{
		"list for a name", "node: fw-a", "node: [fw-a]",
		"node.yaml:3: node is a list, not a name; write node: fw-a",
	},
	{
		"mapping for a number", "priority: 10", "priority: {value: 10}",
		"node.yaml:4: priority is a mapping, not a number; write priority: 10",
	},
	{
		"bad name", "node: fw-a", `node: "fw a"`,
		`node.yaml:3: node "fw a" is not a name of at most 31 letters, digits, '-', '_' or '.'; write node: fw-a`,
	},
	{
		"newline in a name", "node: fw-a", "node: \"fw\\na\"",
		"node.yaml:3: node \"fw\\na\" is not a name of at most 31 letters, digits, '-', '_' or '.'; write node: fw-a",
	},
	{
		"long name", "node: fw-a", "node: fw-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"node.yaml:3: node fw-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa is not a name of at most 31 letters, digits, '-', '_' or '.'; write node: fw-a",
	},
	{
		"priority 0", "priority: 10", "priority: 0",
		"node.yaml:4: priority 0 is outside 1-100; write priority: 10",
	},
	{
		"priority 101", "priority: 10", "priority: 101",
		"node.yaml:4: priority 101 is outside 1-100; write priority: 10",
	},
	{
		"tier with a space", "tier: large", "tier: very large",
		"node.yaml:17: tier \"very large\" is not a name of at most 31 letters, digits, '-', '_' or '.'; write tier: large",
	},
	{
		"priority in words", "priority: 10", "priority: high",
		"node.yaml:4: priority high is not a whole number from 1 to 100; write priority: 10",
	},
	{
		"priority as a fraction", "priority: 10", "priority: 1.5",
		"node.yaml:4: priority 1.5 is not a whole number from 1 to 100; write priority: 10",
	},
	{
		"vni too large", "vni: 1", "vni: 16777216",
		"node.yaml:11: ccl.vni 16777216 is outside 1-16777215; write vni: 1",
	},
	{
		"interface name", "interface: ccl0", "interface: much-too-long-name0",
		"node.yaml:9: ccl.interface much-too-long-name0 is not an interface name of at most 15 characters; write interface: ccl0",
	},
	{
		"address without length", "address: 10.99.0.1/24", "address: 10.99.0.1",
		"node.yaml:10: ccl.address 10.99.0.1 has no network length; write address: 10.99.0.1/24",
	},
	{
		"address of the network", "address: 10.99.0.1/24", "address: 10.99.0.0/24",
		"node.yaml:10: ccl.address 10.99.0.0 is the network or broadcast address of 10.99.0.0/24; write address: 10.99.0.1/24",
	},
	{
		"broadcast address", "address: 10.99.0.1/24", "address: 10.99.0.255/24",
		"node.yaml:10: ccl.address 10.99.0.255 is the network or broadcast address of 10.99.0.0/24; write address: 10.99.0.1/24",
	},
	{
		"IPv6 address with IPv4 peers", "address: 10.99.0.1/24\n  vni: 1                               # default\n  peers: [10.99.0.2, 10.99.0.3-10.99.0.16]",
		"address: fd00:99::1/64\n  vni: 1\n  peers: [10.99.0.3-10.99.0.16]",
		"node.yaml:12: ccl.peers 10.99.0.3 is not of the family of this node's address fd00:99::1; a cluster has one; write " + examplePeersIPv6,
	},
	{
		"IPv4 address with an IPv6 peer", "peers: [10.99.0.2, 10.99.0.3-10.99.0.16]", `peers: [10.99.0.2, "fd00:99::3"]`,
		"node.yaml:12: ccl.peers fd00:99::3 is not of the family of this node's address 10.99.0.1; a cluster has one; write peers: [10.99.0.2, 10.99.0.3-10.99.0.16]",
	},
	{
		"range from one family to the other", "peers: [10.99.0.2, 10.99.0.3-10.99.0.16]", `peers: "10.99.0.2-fd00:99::3"`,
		"node.yaml:12: ccl.peers fd00:99::3 is not of the family of this node's address 10.99.0.1; a cluster has one; write peers: [10.99.0.2, 10.99.0.3-10.99.0.16]",
	},
	{
		"bad address", "address: 10.99.0.1/24", "address: 10.99.0.256/24",
		"node.yaml:10: ccl.address 10.99.0.256/24 is not an IPv4 network; write address: 10.99.0.1/24",
	},
	{
		"address length 31", "address: 10.99.0.1/24", "address: 10.99.0.1/31",
		"node.yaml:10: ccl.address 10.99.0.1/31 has a network length outside 8-30; write address: 10.99.0.1/24",
	},
	{
		"address length 12", "address: 10.99.0.1/24", "address: 10.99.0.1/12",
		"node.yaml:10: ccl.address 10.99.0.1/12 is a network of more than 65,536 addresses; write address: 10.99.0.1/24",
	},
	{
		"multicast address", "address: 10.99.0.1/24", "address: 239.1.1.1/24",
		"node.yaml:10: ccl.address 239.1.1.1/24 is not a unicast address; write address: 10.99.0.1/24",
	},
	{
		"peer off the link", "peers: [10.99.0.2, 10.99.0.3-10.99.0.16]", "peers: [10.98.0.2]",
		"node.yaml:12: ccl.peers 10.98.0.2 is not a host of the link's network 10.99.0.0/24; write peers: [10.99.0.2, 10.99.0.3-10.99.0.16]",
	},
	{
		"peer twice", "peers: [10.99.0.2, 10.99.0.3-10.99.0.16]", "peers: [10.99.0.2, 10.99.0.2-10.99.0.4]",
		"node.yaml:12: ccl.peers 10.99.0.2 is listed twice; write peers: [10.99.0.2, 10.99.0.3-10.99.0.16]",
	},
	{
		"peer range reversed", "peers: [10.99.0.2, 10.99.0.3-10.99.0.16]", "peers: [10.99.0.16-10.99.0.3]",
		"node.yaml:12: ccl.peers 10.99.0.16-10.99.0.3 is reversed; write peers: [10.99.0.2, 10.99.0.3-10.99.0.16]",
	},
	{
		"peer range large", "peers: [10.99.0.2, 10.99.0.3-10.99.0.16]", "peers: 10.99.0.2-10.99.0.200",
		"node.yaml:12: ccl.peers 10.99.0.2-10.99.0.200 has 199 addresses, more than a cluster's 63; write peers: [10.99.0.2, 10.99.0.3-10.99.0.16]",
	},
	{
		"many peers", "peers: [10.99.0.2, 10.99.0.3-10.99.0.16]", "peers: [10.99.0.2-10.99.0.60, 10.99.0.70-10.99.0.90]",
		"node.yaml:12: ccl.peers has 80 addresses, more than 62; write peers: [10.99.0.2, 10.99.0.3-10.99.0.16]",
	},
	{
		"no peers in the list", "peers: [10.99.0.2, 10.99.0.3-10.99.0.16]", "peers: []",
		"node.yaml:12: ccl.peers is an empty list; write peers: [10.99.0.2, 10.99.0.3-10.99.0.16]",
	},
	{
		"mtu_check", "mtu_check: enforce", "mtu_check: yes",
		"node.yaml:13: ccl.mtu_check yes is not one of enforce, warn; write mtu_check: enforce",
	},
	{
		"metrics", "metrics: 127.0.0.1:9464", "metrics: 9464",
		"node.yaml:16: metrics 9464 is not an address with a port; write metrics: 127.0.0.1:9464",
	},
	{
		"an unknown anchor", "metrics: 127.0.0.1:9464", "metrics: *m",
		"node.yaml:16: not YAML: unknown anchor 'm' referenced; check indentation, brackets and quotes around this line",
	},
	{
		"an alias of an anchor", "cluster: edge", "cluster: &m edge\nserial: *m",
		"node.yaml:3: serial is an alias; write the value out\nnode.yaml:6: serial is written twice; keep this or line 3",
	},
	{
		"two mistakes", "priority: 10", "priority: 0\nstatedir: /x",
		"node.yaml:4: priority 0 is outside 1-100; write priority: 10\nnode.yaml:5: unknown field statedir; did you mean state_dir?",
	},
	{
		"socket path", "/run/cohort/fw-a.sock", "/run/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
		"node.yaml:7: control_socket is longer than 107 bytes, the limit of a unix socket; write control_socket: /run/cohort/fw-a.sock",
	},
}

var clusterMistakes = []mistake{
	{
		"empty", "", "",
		"cluster.yaml:1: the file is empty; begin with interfaces:",
	},
	{
		"no interfaces", "", "health: {hold_time: 3s}\n",
		"cluster.yaml:1: interfaces is missing; add interfaces: {inside: {device: in0, ...}}",
	},
	{
		"empty interfaces", "", "interfaces: {}\n",
		"cluster.yaml:1: interfaces is empty; add inside: {device: in0, trust: 100, cluster_address: 10.1.0.254/24, pool: 10.1.0.1-10.1.0.16}",
	},
	{
		"interfaces as a list", "", "interfaces: [inside]\n",
		"cluster.yaml:1: interfaces is a list, not a mapping; write interfaces: {inside: {device: in0, ...}}",
	},
	{
		"unknown section", "health:", "helth:",
		"cluster.yaml:26: unknown field helth; did you mean health?",
	},
	{
		"unknown field of an interface", "device: out0, trust", "devise: out0, trust",
		"cluster.yaml:10: unknown field interfaces.outside.devise; did you mean device?\ncluster.yaml:10: interfaces.outside.device is missing; add device: in0",
	},
	{
		"interface twice", "  outside:", "  inside:",
		"cluster.yaml:10: interfaces.inside is written twice; keep this or line 3\ncluster.yaml:13: policy.rules[1].from outside is not an interface; known interfaces: inside, any\ncluster.yaml:14: policy.rules[2].from outside is not an interface; known interfaces: inside, any" + natWithoutOutside,
	},
	{
		"interface named any", "  outside:", "  any:",
		"cluster.yaml:10: any is not a name for an interface; write at most 31 letters, digits, '-', '_' or '.', and not any\ncluster.yaml:13: policy.rules[1].from outside is not an interface; known interfaces: inside, any\ncluster.yaml:14: policy.rules[2].from outside is not an interface; known interfaces: inside, any" + natWithoutOutside,
	},
	{
		"interface name", "  outside:", "  out side:",
		"cluster.yaml:10: \"out side\" is not a name for an interface; write at most 31 letters, digits, '-', '_' or '.', and not any\ncluster.yaml:13: policy.rules[1].from outside is not an interface; known interfaces: inside, any\ncluster.yaml:14: policy.rules[2].from outside is not an interface; known interfaces: inside, any" + natWithoutOutside,
	},
	{
		"missing trust", "device: out0, trust: 0,", "device: out0,",
		"cluster.yaml:10: interfaces.outside.trust is missing; add trust: 100",
	},
	{
		"trust 101", "trust: 0,", "trust: 101,",
		"cluster.yaml:10: interfaces.outside.trust 101 is outside 0-100; write trust: 100",
	},
	{
		"device twice", "device: out0", "device: in0",
		"cluster.yaml:10: interfaces.outside.device in0 is the device of inside (line 3) too; give every interface a device of its own",
	},
	{
		"networks overlap", "cluster_address: 198.51.100.254/24, pool: 198.51.100.1-198.51.100.16", "cluster_address: 10.1.3.254/16, pool: 10.1.3.1-10.1.3.16",
		"cluster.yaml:10: interfaces.outside.cluster_address 10.1.3.254/16 overlaps the network of inside (line 3); give every interface a network of its own",
	},
	{
		"pool outside", "pool: 198.51.100.1-198.51.100.16", "pool: 198.51.101.1-198.51.101.16",
		"cluster.yaml:10: interfaces.outside.pool 198.51.101.1 is outside the hosts of cluster_address 198.51.100.254/24; write pool: 198.51.100.1-198.51.100.16",
	},
	{
		"pool with the network address", "pool: 198.51.100.1-198.51.100.16", "pool: 198.51.100.0-198.51.100.16",
		"cluster.yaml:10: interfaces.outside.pool 198.51.100.0 is outside the hosts of cluster_address 198.51.100.254/24; write pool: 198.51.100.1-198.51.100.16",
	},
	{
		"pool with the cluster address", "pool: 198.51.100.1-198.51.100.16", "pool: 198.51.100.240-198.51.100.254",
		"cluster.yaml:10: interfaces.outside.pool 198.51.100.240-198.51.100.254 contains the cluster address 198.51.100.254; write pool: 198.51.100.1-198.51.100.16",
	},
	{
		"pool reversed", "pool: 198.51.100.1-198.51.100.16", "pool: 198.51.100.16-198.51.100.1",
		"cluster.yaml:10: interfaces.outside.pool 198.51.100.16-198.51.100.1 is reversed; write pool: 198.51.100.1-198.51.100.16",
	},
	{
		"pool as a network", "pool: 198.51.100.1-198.51.100.16", "pool: 198.51.100.0/28",
		"cluster.yaml:10: interfaces.outside.pool 198.51.100.0/28 is not an IPv4 address or a range of them; write pool: 198.51.100.1-198.51.100.16",
	},
	{
		"pin outside the pool", "pin: {fw-a: 10.1.0.1}", "pin: {fw-a: 10.1.0.99}",
		"cluster.yaml:8: interfaces.inside.pin.fw-a 10.1.0.99 is outside the pool 10.1.0.1-10.1.0.16; write fw-a: 10.1.0.1",
	},
	{
		"pins overlap", "pin: {fw-a: 10.1.0.1}", "pin: {fw-a: 10.1.0.1, fw-b: 10.1.0.1}",
		"cluster.yaml:8: interfaces.inside.pin.fw-b 10.1.0.1 is pinned to fw-a already; give every node an address of its own",
	},
	{
		"pin of a node twice", "pin: {fw-a: 10.1.0.1}", "pin: {fw-a: 10.1.0.1, fw-a: 10.1.0.2}",
		"cluster.yaml:8: interfaces.inside.pin.fw-a is written twice; keep this or line 8",
	},
	{
		"pin as a word", "pin: {fw-a: 10.1.0.1}", "pin: fw-a",
		"cluster.yaml:8: interfaces.inside.pin is fw-a, not a mapping; write pin: {fw-a: 10.1.0.1}",
	},
	{
		"mtu 1279", "mtu: 1500", "mtu: 1279",
		"cluster.yaml:9: interfaces.inside.mtu 1279 is outside 1280-9044; write mtu: 1500",
	},
	{
		"mtu 9045", "mtu: 1500", "mtu: 9045",
		"cluster.yaml:9: interfaces.inside.mtu 9045 is outside 1280-9044; write mtu: 1500",
	},
	{
		"rules as a mapping", "  rules:                               # the first match decides\n", "  rules: {name: x}\n  rule:\n",
		"cluster.yaml:12: policy.rules is a mapping, not a list; write rules: [{name: web, action: allow}]\ncluster.yaml:13: unknown field policy.rule; did you mean rules?",
	},
	{
		"rule without name", "name: web-in, ", "",
		"cluster.yaml:13: policy.rules[1].name is missing; add name: web-in",
	},
	{
		"rule without action", ", action: deny", "",
		"cluster.yaml:15: policy.rules[3].action is missing; add action: allow",
	},
	{
		"rule name twice", "name: ping-in", "name: web-in",
		"cluster.yaml:14: policy.rules[2].name web-in is the name of the rule in line 13 too; give every rule a name of its own",
	},
	{
		"unknown interface, near", "{name: web-in, from: outside", "{name: web-in, from: outsid",
		"cluster.yaml:13: policy.rules[1].from outsid is not an interface; did you mean outside?",
	},
	{
		"unknown interface, far", "{name: web-in, from: outside", "{name: web-in, from: dmz",
		"cluster.yaml:13: policy.rules[1].from dmz is not an interface; known interfaces: inside, outside, any",
	},
	{
		"action", "action: deny", "action: drop",
		"cluster.yaml:15: policy.rules[3].action drop is not one of allow, deny; write action: allow",
	},
	{
		"protocol", "protocol: icmp", "protocol: icmp6",
		"cluster.yaml:14: policy.rules[2].protocol icmp6 is not tcp, udp, icmp, any or a number from 1 to 255; write protocol: tcp",
	},
	{
		"protocol number", "protocol: icmp", "protocol: 256",
		"cluster.yaml:14: policy.rules[2].protocol 256 is not tcp, udp, icmp, any or a number from 1 to 255; write protocol: tcp",
	},
	{
		"port 0", "ports: [80, 443]", "ports: [0, 443]",
		"cluster.yaml:13: policy.rules[1].ports 0 is not a port from 1 to 65535 or a range of them; write ports: [80, 443, 8000-8099]",
	},
	{
		"port 65536", "ports: [80, 443]", "ports: 65536",
		"cluster.yaml:13: policy.rules[1].ports 65536 is not a port from 1 to 65535 or a range of them; write ports: [80, 443, 8000-8099]",
	},
	{
		"port name", "ports: [80, 443]", "ports: [http]",
		"cluster.yaml:13: policy.rules[1].ports http is not a port from 1 to 65535 or a range of them; write ports: [80, 443, 8000-8099]",
	},
	{
		"port range reversed", "465-587", "587-465",
		"cluster.yaml:15: policy.rules[3].ports 587-465 is reversed; write ports: [80, 443, 8000-8099]",
	},
	{
		"ports of icmp", "protocol: icmp,", "protocol: icmp, ports: 8,",
		"cluster.yaml:14: policy.rules[2].ports has no meaning without protocol tcp or udp; add protocol: tcp",
	},
	{
		"ports without protocol", "protocol: tcp, ports: [80, 443]", "ports: [80, 443]",
		"cluster.yaml:13: policy.rules[1].ports has no meaning without protocol tcp or udp; add protocol: tcp",
	},
	{
		"no ports in the list", "ports: [80, 443]", "ports: []",
		"cluster.yaml:13: policy.rules[1].ports is an empty list; write ports: [80, 443, 8000-8099]",
	},
	{
		"network with host bits", "destination: 10.1.8.0/24", "destination: 10.1.8.1/24",
		"cluster.yaml:14: policy.rules[2].destination 10.1.8.1/24 has bits behind its length (the network is 10.1.8.0/24); write destination: 10.1.8.80",
	},
	{
		"network", "destination: 10.1.8.0/24", "destination: 10.1.8.0/33",
		"cluster.yaml:14: policy.rules[2].destination 10.1.8.0/33 is not an IPv4 network; write destination: 10.1.8.80",
	},
	{
		"IPv6 network", "destination: 10.1.8.0/24", "destination: 2001:db8::/32",
		"cluster.yaml:14: policy.rules[2].destination 2001:db8::/32 is not IPv4, the only family supported in this version; write destination: 10.1.8.80",
	},
	{
		"destination as a mapping", "destination: 10.1.8.80", "destination: {host: 10.1.8.80}",
		"cluster.yaml:13: policy.rules[1].destination is a mapping, not an address or network; write destination: 10.1.8.80",
	},
	{
		"range in a list reversed", "10.2.0.1-10.2.0.9", "10.2.0.9-10.2.0.1",
		"cluster.yaml:15: policy.rules[3].source 10.2.0.9-10.2.0.1 is reversed; write source: 10.0.0.0/8",
	},
	{
		"durability", "durability: none", "durability: full",
		"cluster.yaml:14: policy.rules[2].durability full is not one of none, async, sync; write durability: async",
	},
	{
		"hold_time too short", "hold_time: 3s", "hold_time: 299ms",
		"cluster.yaml:27: health.hold_time 299ms is outside 300ms to 45s; write hold_time: 3s",
	},
	{
		"unknown profile", "hold_time: 3s", "profile: quick",
		"cluster.yaml:27: health.profile quick is not one of normal, fast; write profile: normal",
	},
	{
		"fast profile with a short hold_time", "hold_time: 3s", "hold_time: 400ms\n  profile: fast",
		"cluster.yaml:28: health.profile fast needs a hold_time of at least 500ms, it is 400ms; write hold_time: 500ms, or profile: normal",
	},
	{
		"hold_time too long", "hold_time: 3s", "hold_time: 46s",
		"cluster.yaml:27: health.hold_time 46s is outside 300ms to 45s; write hold_time: 3s",
	},
	{
		"debounce", "interface_debounce: 500ms", "interface_debounce: 100ms",
		"cluster.yaml:29: health.interface_debounce 100ms is outside 300ms to 9s; write interface_debounce: 500ms",
	},
	{
		"attempts", "attempts: 3,", "attempts: always,",
		"cluster.yaml:32: health.rejoin.interface.attempts always is not a whole number from 0 to 1000; write attempts: 3, or attempts: forever",
	},
	{
		"variation", "variation: 2", "variation: 4",
		"cluster.yaml:32: health.rejoin.interface.variation 4 is outside 1-3; write variation: 1",
	},
	{
		"target", "targets: [198.51.100.250,", "targets: [router,",
		"cluster.yaml:10: interfaces.outside.targets router is not an address, nor an address with a port; write targets: [10.1.0.250, 10.1.0.250:179]",
	},
	{
		"target twice", "targets: [198.51.100.250, 198.51.100.250:179]", "targets: [198.51.100.250, 198.51.100.250]",
		"cluster.yaml:10: interfaces.outside.targets 198.51.100.250 is listed twice; write targets: [10.1.0.250, 10.1.0.250:179]",
	},
	{
		"target everybody", "198.51.100.250:179]", "224.0.0.5]",
		"cluster.yaml:10: interfaces.outside.targets 224.0.0.5 is not the IPv4 address of a host; write targets: [10.1.0.250, 10.1.0.250:179]",
	},
	{
		"monitor", "monitor: yes", "monitor: maybe",
		"cluster.yaml:10: interfaces.outside.monitor maybe is not one of yes, no; write monitor: yes",
	},
	{
		"hold_time without unit", "hold_time: 3s", "hold_time: 3",
		"cluster.yaml:27: health.hold_time 3 is not a time with a unit (ms, s, m, h); write hold_time: 3s",
	},
	{ // what was meant, with its unit, and not an example that is less (RFC 5508, REQ-2)
		"timeout without unit", "icmp: 1m", "icmp: 60",
		"cluster.yaml:24: timeouts.icmp 60 is not a time with a unit (ms, s, m, h); write icmp: 60s",
	},
	{
		"timeout without unit and too long", "icmp: 1m", "icmp: 65000",
		"cluster.yaml:24: timeouts.icmp 65000 is not a time with a unit (ms, s, m, h); write icmp: 1m",
	},
	{
		"timeout in words", "icmp: 1m", "icmp: short",
		"cluster.yaml:24: timeouts.icmp short is not a time with a unit (ms, s, m, h); write icmp: 1m",
	},
	{
		"timeout of a fraction", "udp: 2m", "udp: 1500ms",
		"cluster.yaml:22: timeouts.udp 1.5s is not a whole number of seconds; write udp: 2m",
	},
	{
		"timeout too long", "tcp_established: 2h4m", "tcp_established: 19h",
		"cluster.yaml:18: timeouts.tcp_established 19h is outside 1s to 18h; write tcp_established: 2h4m",
	},
	{
		"limits", "connections: 1048576", "connections: 10",
		"cluster.yaml:36: limits.connections 10 is outside 1024-67108864; write connections: 1048576",
	},
}
