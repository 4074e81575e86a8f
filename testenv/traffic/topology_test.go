package traffic

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"cohort/testenv/topology"
	"cohort/testenv/track"
)

// Plain forwarders keep no state, so nothing may be lost but what a dead one
// swallows before the routers notice: the loads must survive that, and measure
// it. What is proved here of forwarders is later asked of a cluster.
func TestLoads_SurviveTheLossOfAForwarder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, mode := range []struct {
		name  string
		spray bool
	}{{"ECMP", false}, {"spray", true}} {
		t.Run(mode.name, func(t *testing.T) {
			_, ctx := newTest(t)
			top := topology.Start(t, topology.Config{
				Mode: topology.Forwarders, Spray: mode.spray,
				Track: track.Config{Interval: 100 * time.Millisecond, Losses: 5},
			})
			client, server := top.Clients[0].Namespace, top.Servers[0]
			at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(server.Addr, port) }
			echo := served(t)(ServeEcho(server.Namespace, at(7)))
			datagrams := served(t)(ServeUDPEcho(server.Namespace, at(7)))
			web := served(t)(ServeHTTP(server.Namespace, at(80), 4<<20))

			pool, err := OpenPool(ctx, client, echo, PoolConfig{Connections: 100, Interval: 200 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			var d Download
			downloaded := make(chan error, 1)
			go func() { downloaded <- d.Run(ctx, client, web, 12<<20, 30*time.Second) }()

			if _, err := top.Nodes[2].PowerOff(); err != nil {
				t.Fatal(err)
			}
			for name, r := range map[string]*Report{
				"tcp":   TCP(ctx, client, echo, TCPLoad{Connections: 200}),
				"udp":   UDP(ctx, client, datagrams, DatagramLoad{Exchanges: 200}),
				"pings": Pings(ctx, client, server.Addr, DatagramLoad{Exchanges: 50}),
			} {
				t.Logf("%s: %v", name, r)
				if err := r.Err(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if err := <-downloaded; err != nil {
				t.Error(err)
			}
			t.Logf("download: longest stall %v", d.Stall())
			r := pool.Close()
			t.Logf("idle connections: %v", r)
			if err := r.Err(); err != nil {
				t.Errorf("idle connections: %v", err)
			}
		})
	}
}
