package scenario

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// TestEL10_ADrainLosesNoConnection takes a node out of a cluster that carries
// translated connections, while others are begun through all nodes. It has none left when it leaves,
// nobody has to adopt one from a copy, and it comes back.
func TestEL10_ADrainLosesNoConnection(t *testing.T) {
	top := formed(t, topology.Config{
		Nodes: 4,
		NAT:   "{pools: {egress: {addresses: 203.0.113.10}}, rules: [{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}]}",
	})
	client, b := top.Clients[0].Namespace, top.Nodes[1]
	to := netip.AddrPortFrom(top.Servers[0].Addr, 7)
	echo, err := traffic.ServeEcho(top.Servers[0].Namespace, to)
	must(t, err)
	defer echo.Close()
	ctx := within(t, 60*time.Second)
	open, err := traffic.OpenPool(ctx, client, to, traffic.PoolConfig{Connections: 1000, Interval: 500 * time.Millisecond, Timeout: 10 * time.Second})
	must(t, err)
	defer open.Close()
	born := make(chan *traffic.Report, 1)
	go func() {
		born <- traffic.TCP(ctx, client, to, traffic.TCPLoad{Connections: 300, Rounds: 3, AtOnce: 4, Timeout: 10 * time.Second})
	}()

	began := time.Now()
	done, err := top.Nodes[3].API().Act(ctx, api.VerbDrain, b.Name) // said to another one
	if err != nil || !done.Done || done.Left != 0 {
		t.Fatalf("drain: %+v, %v", done, err)
	}
	took := time.Since(began)
	gave := counterOf(t, b, "connections_bequeathed")
	if adopted, got := counter(t, top, "connections_adopted"), counter(t, top, "connections_inherited"); gave < 100 || got < gave || adopted != 0 {
		t.Errorf("the node gave %d away, others took %d, and %d were adopted from copies", gave, got, adopted)
	}
	if got := members(t, top); len(got) != 3 || slices.Contains(got, b.Name) {
		t.Errorf("members %v after the drain", got)
	}
	if r := <-born; r.Err() != nil {
		t.Errorf("connections that began meanwhile: %v", r)
	}
	pause(t, ctx, time.Second) // two heartbeats of each
	report := open.Close()
	if err := report.Err(); err != nil {
		t.Errorf("connections that were open: %v", err)
	}
	t.Logf("%d connections moved in %v, longest exchange %v", gave, took.Round(time.Millisecond), report.Longest().Round(time.Millisecond))
	if back, err := b.API().Act(ctx, api.VerbEnable, ""); err != nil || !back.Done {
		t.Fatalf("enable: %+v, %v", back, err)
	}
	must(t, top.WaitFormed(ctx, 4))
}
