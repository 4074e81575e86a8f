package apitest

import (
	"context"
	"net/netip"

	"cohort/api"
)

// addNAT gives the node two pools: one address of which fw-d had blocks when it
// died, and two addresses for one-to-one translation.
func (n *Node) addNAT() {
	egress, direct := netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("203.0.113.64")
	n.Pools = []api.NATPool{
		{
			Name: "egress", Type: api.PoolPorts, BlockSize: 4096,
			Blocks: api.NATCount{Total: 16, Held: 11, Free: 2, Frozen: 4, Limbo: 1}, WaitsFor: []string{"fw-d"}, Why: "fw-d is missing",
			Here: api.NATHere{Held: 5, Free: 1, Ports: 20480, PortsUsed: 20100, Xlates: 20131, LeasesIn: 3, LeasesOut: 1, Refused: []api.NATRefusal{{Reason: "exhausted", Count: 12}, {Reason: "host_limit", Count: 0}}},
			Addresses: []api.NATAddress{{Address: egress, Nodes: []api.NATShare{
				{Node: "fw-a", Blocks: 5, Used: 4, Free: 1},
				{Node: "fw-b", Blocks: 5, Used: 4, Free: 1},
				{Node: "fw-d", Blocks: 4, Frozen: 4},
				{Node: "fw-long-name", Blocks: 1, Used: -1, Free: -1},
			}}},
		},
		{
			Name: "direct", Type: api.PoolAddresses,
			Blocks: api.NATCount{Total: 2, Held: 2, Free: 1},
			Here:   api.NATHere{Held: 1, Ports: 1, PortsUsed: 1, Xlates: 7},
			Addresses: []api.NATAddress{
				{Address: direct, Nodes: []api.NATShare{{Node: "fw-b", Blocks: 1, Used: 1}}},
				{Address: direct.Next(), Nodes: []api.NATShare{{Node: "fw-a", Blocks: 1, Free: 1}}},
			},
		},
	}
	n.Blocks = map[string][]api.NATBlock{"direct": {
		{Address: direct, Last: 65535, Holder: "fw-b", Backup: "fw-a", Target: "fw-b", Uses: 1, State: api.BlockHeld},
		{Address: direct.Next(), Last: 65535, Holder: "fw-a", Backup: "fw-b", Target: "fw-a", State: api.BlockIdle},
	}}
	for i, b := range []api.NATBlock{
		{Holder: "fw-a", Backup: "fw-b", Target: "fw-a", Uses: -1, State: api.BlockHeld},
		{Holder: "fw-b", Backup: "fw-a", Target: "fw-b", Uses: 4096, State: api.BlockHeld},
		{Holder: "fw-b", Backup: "fw-long-name", Target: "fw-a", Uses: 3716, State: api.BlockLeased},
		{Holder: "fw-d", Backup: "fw-a", Target: "fw-long-name", Uses: 17, State: api.BlockFrozen},
		{Holder: "fw-a", Target: "fw-long-name", Uses: -1, State: api.BlockLimbo},
		{Holder: "fw-b", Backup: "fw-a", Target: "fw-b", State: api.BlockIdle},
	} {
		b.Address, b.First, b.Last = egress, uint16(1024+4096*i), uint16(1024+4096*i+4095)
		n.Blocks["egress"] = append(n.Blocks["egress"], b)
	}
	end := netip.MustParseAddrPort
	n.Xlated = []api.Xlate{
		{Type: api.XlateConnection, Protocol: "tcp", Real: end("10.1.0.77:50123"), Mapped: end("203.0.113.10:50123"), Remote: end("192.0.2.80:443"), Roles: "O", Owner: "fw-b", Pool: "egress", Rule: "out", Gen: 1, IdleMS: 1500, AgeMS: 61_000, Timeout: 3600},
		{Type: api.XlateMapping, Protocol: "udp", Real: end("10.1.0.77:40001"), Mapped: end("203.0.113.10:6001"), Roles: "OD", Owner: "fw-b", Pool: "egress", Rule: "voice", Gen: 1, IdleMS: 20, AgeMS: 250, Timeout: 300},
		{Type: api.XlateMapping, Protocol: "any", Real: end("10.2.0.9:0"), Mapped: end("203.0.113.64:0"), Roles: "DB", Owner: "fw-a", Pool: "direct", Rule: "pool1", Gen: 2, IdleMS: 90_000, Timeout: 10800},
		{Type: api.XlateConnection, Protocol: "tcp", Real: end("10.1.8.80:443"), Mapped: end("203.0.113.80:443"), Remote: end("192.0.2.7:1025"), Roles: "S", Owner: "fw-a", Rule: "web", Gen: 1, IdleMS: 3},
	}
	n.Held[0].MappedSource = end("203.0.113.10:50123")
	n.Held[2].MappedSource, n.Held[2].MappedDestination = end("203.0.113.10:50999"), end("10.1.8.80:8443")
}

// NATPools implements api.NATProvider.
func (n *Node) NATPools(context.Context) ([]api.NATPool, error) {
	return append([]api.NATPool(nil), n.Pools...), n.Err
}

// Forgettable implements api.NATProvider: every node but fw-d is refused.
func (n *Node) Forgettable(_ context.Context, node string) (api.Forgotten, error) {
	if n.Err == nil && node != "fw-d" {
		return api.Forgotten{}, api.Refusal(node + " is a member")
	}
	f := api.Forgotten{Node: node, Frozen: 4, Held: 4, Already: n.Forgot > 0}
	if f.Already {
		f.Frozen, f.Held = 0, 0
	}
	return f, n.Err
}

// Forget implements api.NATProvider and counts.
func (n *Node) Forget(ctx context.Context, node string) (api.Forgotten, error) {
	f, err := n.Forgettable(ctx, node)
	if err == nil {
		n.Forgot++
	}
	f.WaitsFor, f.Unaware = n.Absent, n.Unaware
	return f, err
}

// NATBlocks implements api.NATProvider.
func (n *Node) NATBlocks(_ context.Context, pool string) ([]api.NATBlock, error) {
	return n.Blocks[pool], n.Err
}

// Xlates implements api.NATProvider; Err comes after the translations.
func (n *Node) Xlates(ctx context.Context, _ api.XlateFilter, visit func(*api.Xlate) bool) error {
	for i := range n.Xlated {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		x := n.Xlated[i]
		if !visit(&x) {
			break
		}
	}
	return n.Err
}
