package config

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"cohort/flowtable"
	"cohort/nat"
)

// MaxInterfaces bounds the logical interfaces: ids 1-31.
const MaxInterfaces = 31

// Cluster is the configuration that all nodes share.
type Cluster struct {
	Interfaces []Interface        // sorted by name; Interfaces[i].ID is i+1
	Rules      []Rule             // in the order of the file
	NAT        nat.Config         // zero without a nat section; nat.Compile takes it
	Timeouts   flowtable.Timeouts // idle times; defaults are flowtable's
	Health     Health
	Limits     Limits

	// OwnerOnly: packets of a connection go to its owner for all its life, and
	// nothing is delegated to the nodes where they enter (forwarding: owner-only).
	OwnerOnly bool

	// Sequences: owners give the initiators of TCP connections other sequence numbers,
	// which carry the owner (FR5; tcp.sequence_randomization). Default true.
	Sequences bool
}

// Interface is one logical interface, the same on every node.
type Interface struct {
	ID             uint8 // 1-31, the same on every node
	Name           string
	Device         string       // Linux interface on each node
	Trust          uint8        // 0-100
	ClusterAddress netip.Prefix // IPv4; follows the control node (EL7)
	Pool           Range        // the nodes' own addresses, inside the same network
	Pins           []Pin        // sorted by node
	MTU            uint16       // 1280-9044; default 1500
	Monitored      bool         // a failure may take its node out (HL2); default true

	// The same of IPv6: both or neither.
	ClusterAddressIPv6 netip.Prefix
	PoolIPv6           Range

	// Targets are asked through the interface; when none answers, it has failed
	// (HL6). Port 0: by ICMP echo.
	Targets []netip.AddrPort

	line int // in the file, for later checks
}

// Pin fixes which address of the pool a node gets (EL7). At least one of the two
// is there; the other may be zero, which is not pinned.
type Pin struct {
	Node        string
	Address     netip.Addr // IPv4
	AddressIPv6 netip.Addr
}

// Limits size a node's tables; they are allocated at start.
type Limits struct {
	Connections int // owned at once; default 1,048,576
	Forwards    int // forward entries at once; default 1,048,576
	Delegations int // of these, how many have a delegation; and of what a node owns, how much it lends; default 262,144
}

// LoadCluster reads a cluster configuration. Mistakes come back as Errors.
func LoadCluster(path string) (*Cluster, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, readError(path, err)
	}
	return ParseCluster(path, data)
}

// ParseCluster reads the text of a cluster configuration; file is its name in
// messages. It opens nothing.
func ParseCluster(file string, data []byte) (*Cluster, error) {
	p := &problems{file: file}
	root := document(p, data, "interfaces:")
	if root == nil {
		return nil, p.err()
	}
	c := &Cluster{
		Timeouts: flowtable.DefaultTimeouts(),
		Health:   defaultHealth(),
		Limits:   Limits{Connections: 1 << 20, Forwards: 1 << 20, Delegations: 1 << 18},

		Sequences: true,
	}
	// Rules name interfaces, so they are read after them wherever they stand.
	var rules, translation *value
	value{p, root, "", "interfaces:"}.fields(
		field{"interfaces", true, "interfaces: {inside: {device: in0, ...}}", c.readInterfaces},
		field{"policy", false, "policy: {rules: [...]}", func(v value) {
			v.fields(field{"rules", false, "rules: [{name: web, action: allow}]", func(v value) { rules = &v }})
		}},
		field{"nat", false, "nat: {pools: {" + poolExample + "}, rules: [...]}", func(v value) { translation = &v }},
		field{"timeouts", false, "timeouts: {udp: 2m}", func(v value) { readTimeouts(v, &c.Timeouts) }},
		field{"health", false, "health: {hold_time: 3s}", c.Health.read},
		field{"forwarding", false, "forwarding: delegate", func(v value) { c.OwnerOnly = v.choice("delegate", "owner-only") == "owner-only" }},
		field{"tcp", false, "tcp: {sequence_randomization: false}", func(v value) {
			v.fields(field{"sequence_randomization", false, "sequence_randomization: false", func(v value) { c.Sequences = v.choice("true", "false") == "true" }})
		}},
		field{"limits", false, "limits: {connections: 1048576}", c.Limits.read},
	)
	if rules != nil {
		c.readRules(*rules)
	}
	if translation != nil {
		c.readNAT(*translation)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// Interface returns the logical interface of this name, or nil.
func (c *Cluster) Interface(name string) *Interface {
	i, found := slices.BinarySearchFunc(c.Interfaces, name, func(i Interface, n string) int { return strings.Compare(i.Name, n) })
	if !found {
		return nil
	}
	return &c.Interfaces[i]
}

// readInterfaces reads the interfaces and checks them against each other.
func (c *Cluster) readInterfaces(v value) {
	v.pairs(func(key *yaml.Node, content value) {
		if !isName(key.Value) || key.Value == "any" {
			v.p.add(key.Line, fmt.Sprintf("%s is not a name for an interface", quote(key.Value)), "write at most 31 letters, digits, '-', '_' or '.', and not any")
			return
		}
		before := len(v.p.list)
		i := Interface{Name: key.Value, MTU: 1500, Monitored: true, line: key.Line}
		i.read(content)
		if len(v.p.list) > before {
			// Later checks would only repeat it, but rules may still name it.
			i = Interface{Name: key.Value, line: key.Line}
		}
		for _, other := range c.Interfaces {
			i.compare(content, &other)
		}
		c.Interfaces = append(c.Interfaces, i)
	})
	if len(c.Interfaces) == 0 && len(v.p.list) == 0 {
		v.p.add(v.n.Line, "interfaces is empty", "add "+interfaceExample)
	}
	if len(c.Interfaces) > MaxInterfaces {
		v.p.add(v.n.Line, fmt.Sprintf("interfaces has %d entries, more than %d", len(c.Interfaces), MaxInterfaces), "remove some")
	}
	slices.SortFunc(c.Interfaces, func(a, b Interface) int { return strings.Compare(a.Name, b.Name) })
	for i := range c.Interfaces {
		c.Interfaces[i].ID = uint8(i + 1)
	}
}

const interfaceExample = "inside: {device: in0, trust: 100, cluster_address: 10.1.0.254/24, pool: 10.1.0.1-10.1.0.16}"

// read reads one interface.
func (i *Interface) read(v value) {
	v.example = interfaceExample
	var pool, pin *value
	addressed := false
	v.fields(
		field{"device", true, "device: in0", func(v value) { i.Device = v.device() }},
		field{"trust", true, "trust: 100", func(v value) { i.Trust = uint8(v.number(0, 100)) }},
		field{"cluster_address", true, "cluster_address: 10.1.0.254/24", func(v value) { addressed = i.readClusterAddress(v) }},
		field{"pool", true, "pool: 10.1.0.1-10.1.0.16", func(v value) { pool = &v }},
		field{"pin", false, "pin: {fw-a: 10.1.0.1}", func(v value) { pin = &v }},
		field{"monitor", false, "monitor: yes", func(v value) { i.Monitored = v.choice("yes", "no") != "no" }},
		field{"targets", false, "targets: [10.1.0.250, 10.1.0.250:179]", func(v value) { v.each(i.addTarget) }},
		field{"mtu", false, "mtu: 1500", func(v value) { i.MTU = uint16(v.number(1280, 9044)) }},
	)
	if pool == nil || !addressed || !i.readPool(*pool) {
		return
	}
	if pin != nil {
		i.readPins(*pin)
	}
}

// compare checks two interfaces against each other.
func (i *Interface) compare(v value, other *Interface) {
	if i.Device != "" && i.Device == other.Device {
		v.p.add(v.n.Line, fmt.Sprintf("%s.device %s is the device of %s (line %d) too", v.path, i.Device, other.Name, other.line), "give every interface a device of its own")
	}
	for _, a := range i.ClusterAddresses() {
		for _, b := range other.ClusterAddresses() {
			if a.Masked().Overlaps(b.Masked()) {
				v.p.add(v.n.Line, fmt.Sprintf("%s.cluster_address %s overlaps the network of %s (line %d)", v.path, a, other.Name, other.line), "give every interface a network of its own")
			}
		}
	}
}

// readTimeouts reads the timeouts section. Flows keep theirs in 16 bits.
func readTimeouts(v value, t *flowtable.Timeouts) {
	seconds := func(name, example string, to *uint16) field {
		return field{name, false, name + ": " + example, func(v value) {
			d := v.duration(time.Second, 18*time.Hour)
			if d%time.Second != 0 {
				v.wrong("%s is not a whole number of seconds", short(d))
			}
			*to = uint16(d / time.Second)
		}}
	}
	v.fields(
		seconds("tcp_syn", "30s", &t.TCPSyn),
		seconds("tcp_established", "2h4m", &t.TCPEstablished),
		seconds("tcp_half_closed", "4m", &t.TCPHalfClosed),
		seconds("tcp_closing", "30s", &t.TCPClosing),
		seconds("tcp_time_wait", "10s", &t.TCPTimeWait),
		seconds("tcp_reset", "4m", &t.TCPReset),
		seconds("udp", "2m", &t.UDP),
		seconds("udp_stream", "5m", &t.UDPStream),
		seconds("icmp", "1m", &t.ICMP),
		seconds("other", "10m", &t.Other),
	)
}

func (l *Limits) read(v value) {
	v.fields(
		field{"connections", false, "connections: 1048576", func(v value) { l.Connections = v.number(1024, 1<<26) }},
		field{"forwards", false, "forwards: 1048576", func(v value) { l.Forwards = v.number(1024, 1<<26) }},
		field{"delegations", false, "delegations: 262144", func(v value) { l.Delegations = v.number(1, 1<<26) }},
	)
}

// MaxMTU returns the largest MTU of the data interfaces; the link needs 154
// bytes more (CL2).
func (c *Cluster) MaxMTU() int {
	mtu := 0
	for _, i := range c.Interfaces {
		mtu = max(mtu, int(i.MTU))
	}
	return mtu
}

// maxRules is what a flow's 16-bit rule number allows.
const maxRules = math.MaxUint16
