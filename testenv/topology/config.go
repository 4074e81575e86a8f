package topology

import (
	"fmt"
	"time"

	"cohort/testenv/netns"
	"cohort/testenv/track"
)

// MaxNodes is how many nodes a Topology can have.
const MaxNodes = 16

// Mode says what the nodes are.
type Mode int

const (
	// Daemons runs cohortd on every node; the kernel itself forwards nothing.
	Daemons Mode = iota
	// Forwarders makes the nodes plain Linux routers without state or daemon:
	// the peer for benchmarks, and the proof that the network itself works.
	Forwarders
	// Bare leaves the nodes without daemon and without forwarding, for tests
	// that load programs of their own.
	Bare
)

// Config describes a Topology. Zero values take the defaults named here.
type Config struct {
	Nodes       int  // 1-16; 4
	Clients     int  // 1-16; 1
	Servers     int  // 1-16; 1
	MTU         int  // of data interfaces, 1280-9044; 1500. The link has 154 more (CL2)
	CCLOverIPv6 bool // the link's VTEPs have IPv6 addresses, and its MTU is 20 more (CL9)

	// LinesApart makes the cables of LineCCL processes of real-time priority
	// (line.OpenApart): for tests that fill the CPUs and judge times.
	LinesApart bool

	Queues int // receive and transmit queues of the nodes' interfaces; 1

	Mode  Mode
	Spray bool         // routers choose a random node per packet instead of ECMP
	Track track.Config // how routers notice dead next hops

	Daemon      string        // path of cohortd; bin/cohortd of the module
	DaemonArgs  []string      // more arguments for it
	OutsideMTU  int           // of the nodes' outside interfaces where it differs; MTU
	HoldTime    time.Duration // health.hold_time; 3 s
	Election    time.Duration // health.election_timeout; 45 s
	Health      string        // more keys of health, as in "join_grace: 0s"
	Connections int           // limits.connections and forwards; 131072
	Delegations int           // limits.delegations; the daemon's own default
	Rules       []string      // policy rules, each a YAML mapping in braces
	OwnerOnly   bool          // forwarding: owner-only
	OwnNumbers  bool          // tcp.sequence_randomization: false, initiators keep theirs
	Timeouts    string        // timeouts of connections, a YAML mapping in braces
	NAT         string        // nat section, a YAML mapping in braces; public addresses are PublicNet's
	ClusterYAML string        // whole cluster configuration instead of all the above
	Env         []string      // added to the daemons' environment

	Dir string    // state, configuration and logs; removed by Close if it was made here
	Tag netns.Tag // of all names; a fresh one
}

// setDefaults fills in and checks the configuration.
func (c *Config) setDefaults() error {
	for _, f := range []struct {
		name      string
		value     *int
		unset     int
		low, high int
	}{
		{"nodes", &c.Nodes, 4, 1, MaxNodes},
		{"clients", &c.Clients, 1, 1, 16},
		{"servers", &c.Servers, 1, 1, 16},
		{"MTU", &c.MTU, 1500, 1280, 9044},
		{"queues", &c.Queues, 1, 1, 16},
		{"connections", &c.Connections, 131072, 1024, 1 << 26},
	} {
		if *f.value == 0 {
			*f.value = f.unset
		}
		if *f.value < f.low || *f.value > f.high {
			return fmt.Errorf("topology: %d %s, want %d to %d", *f.value, f.name, f.low, f.high)
		}
	}
	if c.OutsideMTU == 0 {
		c.OutsideMTU = c.MTU
	}
	if c.HoldTime == 0 {
		c.HoldTime = 3 * time.Second
	}
	if c.Election == 0 {
		c.Election = 45 * time.Second
	}
	return nil
}
