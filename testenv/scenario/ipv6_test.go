package scenario

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// TestCL9_ClusterOverIPv6 forms a cluster whose VTEPs have IPv6 addresses, sends
// translated connections through it by random nodes, so that most packets cross
// the link, and kills a node under them: each goes on, with its mapped port.
func TestCL9_ClusterOverIPv6(t *testing.T) {
	bothPaths(t, topology.Config{
		Nodes: 4, CCLOverIPv6: true, Spray: true, HoldTime: time.Second,
		NAT: "{pools: {egress: {addresses: 203.0.113.10}}, rules: [{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}]}",
	}, func(t *testing.T, top *topology.Topology) {
		ctx, path := within(t, 90*time.Second), filepath.Base(t.Name())
		to := netip.AddrPortFrom(top.Servers[0].Addr, 8080)
		echo, err := traffic.ServeEcho(top.Servers[0].Namespace, to)
		if err != nil {
			t.Fatal(err)
		}
		defer echo.Close()
		open, err := traffic.OpenPool(ctx, top.Clients[0].Namespace, to, traffic.PoolConfig{Connections: 60, Interval: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		if err := traffic.TCP(ctx, top.Clients[0].Namespace, to, traffic.TCPLoad{Connections: 40, Rounds: 5}).Err(); err != nil {
			t.Error(err)
		}
		// Without the fast path these stay 0, and the packets cross as well: each
		// connection comes in by four nodes and has one owner.
		if sent, came := counter(t, top, "forward_ccl"), counter(t, top, "forward_owner_ccl"); path == "fast" && (sent == 0 || came == 0) {
			t.Errorf("the fast path sent %d packets over the link and took %d", sent, came)
		}
		if all, beside, again := counter(t, top, "link_state_segments"), counter(t, top, "link_sent_beside"), counter(t, top, "link_state_repeated"); beside < all*9/10 || again > all/10 {
			t.Errorf("%d of %d datagrams of state took the way of packets, %d were repeated", beside, all, again)
		}
		dead := top.Nodes[1]
		if _, err := dead.PowerOff(); err != nil {
			t.Fatal(err)
		}
		if err := top.WaitFormed(ctx, 3); err != nil {
			t.Fatal(err)
		}
		if err := traffic.TCP(ctx, top.Clients[0].Namespace, to, traffic.TCPLoad{Connections: 40, Rounds: 5}).Err(); err != nil {
			t.Errorf("after the death: %v", err)
		}
		if r := open.Close(); r.Err() != nil {
			t.Errorf("open before the death: %v", r.Err())
		}
	})
}
