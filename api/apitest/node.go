// Package apitest has a made-up node for the tests of what shows nodes.
package apitest

import (
	"context"
	"net/netip"
	"time"

	"cohort/api"
)

// Node is an api.Provider and api.NATProvider that answers what its fields say.
// Err, if set, is the answer to everything.
type Node struct {
	Err       error
	Cluster   api.Info
	Past      []api.Event
	Condition api.Health
	Links     []api.Interface
	Counts    []api.Counter
	Fill      api.Tables
	Exposed   api.Exposure
	Held      []api.Conn
	Pools     []api.NATPool
	Blocks    map[string][]api.NATBlock // by pool
	Xlated    []api.Xlate
	Forgot    int      // times that fw-d was forgotten
	Absent    []string // who is missing besides it
	Unaware   []string // who has not confirmed it
}

var _ api.NATProvider = (*Node)(nil)

// pulse is that of Example.
var pulse = api.Pulse{
	Realtime: true, BeatMS: 18, LatenessMS: 6.2, WorstMS: 11.8,
	Peers: []api.PulsePeer{
		{Member: "fw-a", BeatMS: 21, LoopMS: 24, LongestMS: 96.4},
		{Member: "fw-c", BeatMS: -1, LoopMS: -1},
		{Member: "fw-d", BeatMS: 45, LoopMS: 61, LongestMS: 58.1, Hold: true},
	},
	Stages: []api.PulseStage{
		{Stage: "sender", Late: 2, P50MS: 1, P99MS: 1, WorstMS: 46, Beats: 1000, SumMS: 91, Buckets: []api.PulseBucket{{UpToMS: 1, Beats: 998}, {UpToMS: 128, Beats: 1000}}},
		{Stage: "transit", P50MS: 1, P99MS: 2, WorstMS: 2.5, Beats: 1000, SumMS: 310, Buckets: []api.PulseBucket{{UpToMS: 1, Beats: 980}, {UpToMS: 128, Beats: 1000}}},
		{Stage: "receiver", P50MS: 0.3, P99MS: 0.3, WorstMS: 0.3, Beats: 1000, SumMS: 40, Buckets: []api.PulseBucket{{UpToMS: 1, Beats: 1000}, {UpToMS: 128, Beats: 1000}}},
	},
}

// Start is the moment at which the events of Example begin.
var Start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Example returns the data node of a cluster of three, one of which has just
// died.
func Example() *Node {
	next := Start.Add(25 * time.Second)
	tcp := func(src, dst string) (netip.AddrPort, netip.AddrPort) {
		return netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	}
	n := &Node{
		Cluster: api.Info{
			Cluster: "edge", Self: "fw-b", State: "in sync", View: "3.1/17", Term: 3, Epoch: 17, Config: "1a2b3c4d", Control: "fw-a",
			Addresses: []api.ClusterAddresses{
				{Interface: "inside", Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.254/24"), netip.MustParsePrefix("2001:db8:1::254/64")}},
				{Interface: "outside", Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.254/24")}},
			},
			Members: []api.Member{
				{ID: 1, Name: "fw-a", Serial: "A1", Priority: 10, Role: api.RoleControl, State: "in sync", VTEP: netip.MustParseAddr("10.99.0.1"), Incarnation: "5c0ffee5c0ffee01", LastHeardMS: 120},
				{ID: 2, Name: "fw-b", Serial: "B2", Priority: 20, Role: api.RoleData, State: "in sync", VTEP: netip.MustParseAddr("10.99.0.2"), Incarnation: "00000000000000b2", LastHeardMS: -1},
				{ID: 3, Name: "fw-long-name", Serial: "C3", Priority: 100, Role: api.RoleData, State: "joining", VTEP: netip.MustParseAddr("10.99.0.13"), Incarnation: "ffffffffffffffff", LastHeardMS: 2950},
			},
		},
		Past: []api.Event{
			{Time: Start, From: "disabled", To: "election", Cause: "start", Node: "fw-b"},
			{Time: Start.Add(1500 * time.Millisecond), From: "election", To: "joining", Cause: "fw-a is the control node", Node: "fw-b"},
			{Time: Start.Add(2 * time.Second), From: "joining", To: "in sync", Cause: "view 3.16", Node: "fw-b"},
			{Time: Start.Add(20 * time.Second), To: "removed", Cause: "silent for 3s", Node: "fw-d"},
		},
		Condition: api.Health{State: "in sync", HoldTimeMS: 3000, Profile: "fast", LeaseMS: 62, Pulse: &pulse, Checks: []api.Check{
			{Member: "fw-a", Name: "heartbeat", OK: true, Since: Start},
			{Member: "fw-d", Name: "heartbeat", Cause: "silent for 3s", Since: Start.Add(20 * time.Second), Next: &next},
		}},
		Links: []api.Interface{
			{Name: "inside", ID: 1, Device: "in0", Trust: 100, MTU: 1500, Up: true, XDP: "native", Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24")}},
			{Name: "outside", ID: 2, Device: "out0", MTU: 1500, XDP: "generic"},
			{Name: "ccl", Device: "ccl0", MTU: 1654, Up: true, XDP: "native", Addresses: []netip.Prefix{netip.MustParsePrefix("10.99.0.2/24")}},
		},
		Counts: []api.Counter{
			{Kind: "forward", Name: "owner", Value: 123456789, Description: "Sent on by its owner."},
			{Kind: "punt", Name: "miss", Value: 42, Description: "No entry is known."},
			{Kind: "drop", Name: "policy", Value: 7, Description: "No rule allows it."},
			{Kind: "drop", Name: "bad_ip", Value: 0, Description: "The IP header is malformed."},
			{Kind: "cluster", Name: "claims", Value: 9, Description: "Connections claimed."},
		},
		Fill: api.Tables{Owned: 2, Copies: 1, Forwards: 1, MaxOwned: 1 << 20, MaxCopies: 1 << 21, MaxForwards: 1 << 20, Lent: 2, Delegated: 1, MaxDelegations: 1 << 18},
	}
	n.Exposed = api.Exposure{
		Self: "fw-b",
		Nodes: []api.NodeExposure{
			{Node: "fw-a", AgeMS: 420, Owned: 1200, Async: 3, Sync: 1, Behind: 2, LagMS: 1.5, P50MS: 0.18, P99MS: 2.3, IfDies: api.IfDies{
				Lost: 2, Moves: 1198, To: []api.Heir{{Node: "fw-b", Connections: 1000}, {Node: "fw-long-name", Connections: 198}}, CopiesLost: 1,
			}},
			{Node: "fw-b", AgeMS: 70, Owned: 2, NoCopy: 1, P50MS: 0.15, P99MS: 12.5, IfDies: api.IfDies{
				Lost: 1, Moves: 1, To: []api.Heir{{Node: "fw-a", Connections: 1}}, CopiesLost: 1000,
			}},
			{Node: "fw-long-name", AgeMS: -1, IfDies: api.IfDies{To: []api.Heir{}, CopiesLost: 198}},
		},
		Peers: []api.Replication{
			{Peer: "fw-a", P50MS: 0.15, P99MS: 12.5, Count: 1400},
			{Peer: "fw-long-name", Queued: 17, LagMS: 2600},
		},
	}
	c := api.Conn{Protocol: "tcp", In: "inside", Out: "outside", Roles: "O", Owner: "fw-b", Backup: "fw-a", State: "established", Rule: "default", Gen: 1, IdleMS: 1500, AgeMS: 61_000, Timeout: 3600, Packets: [2]uint64{10, 12}, Bytes: [2]uint64{1200, 987654321}}
	c.LentTo = []api.Delegation{
		{Node: "fw-long-name", Direction: 1, EndsInMS: 2700, Packets: 9, Bytes: 987654000}, {Node: "fw-a", EndsInMS: 1300, CalledBack: true},
		{Node: "fw-a", Direction: 1, EndsInMS: 400, Packets: 2, Bytes: 120}, {Node: "fw-d"},
	}
	c.Source, c.Destination = tcp("10.1.0.77:50123", "192.0.2.80:443")
	n.Held = append(n.Held, c)
	c = api.Conn{Protocol: "udp", In: "inside", Out: "outside", Roles: "OD", Owner: "fw-b", Rule: "dns", Gen: 1, IdleMS: 20, AgeMS: 250, Timeout: 120, Packets: [2]uint64{1, 0}, Bytes: [2]uint64{70, 0}}
	c.Source, c.Destination = tcp("10.1.0.77:40000", "192.0.2.53:53")
	n.Held = append(n.Held, c)
	c = api.Conn{Protocol: "tcp", In: "inside", Out: "outside", Roles: "DB", Owner: "fw-a", State: "established", Rule: "default", Gen: 2, IdleMS: 90_000, Timeout: 3600}
	c.Source, c.Destination = tcp("10.1.0.78:50999", "192.0.2.80:443")
	n.Held = append(n.Held, c)
	c = api.Conn{Protocol: "tcp", Roles: "F", Owner: "fw-a", Gen: 1, IdleMS: 3, DelegatedFrom: &api.Delegation{Node: "fw-a", EndsInMS: 2100, Packets: 17, Bytes: 900}, Packets: [2]uint64{99, 0}, Bytes: [2]uint64{4096, 0}}
	c.Source, c.Destination = tcp("192.0.2.80:443", "10.1.0.79:51000")
	n.Held = append(n.Held, c)
	n.addNAT()
	return n
}

// Info implements api.Provider.
func (n *Node) Info(context.Context) (api.Info, error) { return n.Cluster, n.Err }

// History implements api.Provider.
func (n *Node) History(context.Context) ([]api.Event, error) { return n.Past, n.Err }

// Health implements api.Provider.
func (n *Node) Health(context.Context) (api.Health, error) { return n.Condition, n.Err }

// Interfaces implements api.Provider.
func (n *Node) Interfaces(context.Context) ([]api.Interface, error) { return n.Links, n.Err }

// Counters implements api.Provider.
func (n *Node) Counters(context.Context) ([]api.Counter, error) { return n.Counts, n.Err }

// Tables implements api.Provider.
func (n *Node) Tables(context.Context) (api.Tables, error) { return n.Fill, n.Err }

// Exposure implements api.Provider.
func (n *Node) Exposure(context.Context) (api.Exposure, error) { return n.Exposed, n.Err }

// Conns implements api.Provider; Err comes after the connections.
func (n *Node) Conns(ctx context.Context, _ api.ConnFilter, visit func(*api.Conn) bool) error {
	for i := range n.Held {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c := n.Held[i]
		if !visit(&c) {
			break
		}
	}
	return n.Err
}
