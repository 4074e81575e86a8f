package scenario

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// TestMG5_EveryPacketHasOneOutcome sends all kinds of traffic through every
// node and then adds up: what XDP handed to Go is what Go sent or dropped.
func TestMG5_EveryPacketHasOneOutcome(t *testing.T) {
	bothPaths(t, topology.Config{Spray: true}, func(t *testing.T, top *topology.Topology) {
		client, server := top.Clients[0], top.Servers[0]
		ctx := within(t, 60*time.Second)
		to := netip.AddrPortFrom(server.Addr, 8080)
		echo, err := traffic.ServeEcho(server.Namespace, to)
		if err != nil {
			t.Fatal(err)
		}
		defer echo.Close()
		if err := traffic.TCP(ctx, client.Namespace, to, traffic.TCPLoad{Connections: 200}).Err(); err != nil {
			t.Error(err)
		}
		// Refused from the outside, unanswered, too old.
		traffic.TCP(ctx, server.Namespace, netip.AddrPortFrom(client.Addr, 9), traffic.TCPLoad{Connections: 5, Timeout: time.Second})
		traffic.UDP(ctx, server.Namespace, netip.AddrPortFrom(client.Addr, 9), traffic.DatagramLoad{Exchanges: 20, Attempts: 1, Timeout: time.Second})
		output(t, client.Namespace, "traceroute", "-n", "-w", "1", "-q", "1", "-m", "3", server.Addr.String())
		for _, n := range top.Nodes {
			balanced(t, n)
		}
		if counter(t, top, "icmp_errors") == 0 || counter(t, top, "slow_policy_denied")+counter(t, top, "slow_no_connection") == 0 {
			t.Error("nothing was refused or answered: the test tests nothing")
		}
	})
}

// balanced waits until nothing is on its way through a node and then compares
// the two sums.
func balanced(t *testing.T, n *topology.Node) {
	t.Helper()
	var in, out uint64
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		list, err := n.API().Counters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		in, out = 0, 0
		for _, c := range list {
			switch {
			case c.Kind == "punt", c.Name == "icmp_errors", c.Name == "extra_fragments":
				in += c.Value
			case c.Name == "slow_sent", c.Kind == api.KindDrop && strings.HasPrefix(c.Name, "slow_"):
				out += c.Value
			}
		}
		if in == out {
			return
		}
	}
	t.Errorf("node %s: %d packets went to Go, %d have an outcome", n.Name, in, out)
}
