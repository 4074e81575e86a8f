package scenario

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// TestEL10_ADrainOutlivesItsDaemon kills the daemon of a node in the middle of a drain.
// The next one goes on with it, no connection is lost, and the node stays out.
func TestEL10_ADrainOutlivesItsDaemon(t *testing.T) {
	top := formed(t, topology.Config{Nodes: 3})
	client, b := top.Clients[0].Namespace, top.Nodes[1]
	to := netip.AddrPortFrom(top.Servers[0].Addr, 7)
	echo, err := traffic.ServeEcho(top.Servers[0].Namespace, to)
	must(t, err)
	defer echo.Close()
	ctx := within(t, 60*time.Second)
	open, err := traffic.OpenPool(ctx, client, to, traffic.PoolConfig{Connections: 200, Interval: 500 * time.Millisecond, Timeout: 15 * time.Second})
	must(t, err)
	defer open.Close()
	// Handshakes that nobody answers keep a drain waiting for two seconds.
	var unanswered sync.WaitGroup
	defer unanswered.Wait()
	nobody, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	for range 30 {
		unanswered.Go(func() {
			if c, err := client.DialTCP(nobody, netip.AddrPortFrom(to.Addr().Next(), 7)); err == nil {
				c.Close()
			}
		})
	}
	eventually(t, ctx, func() bool {
		half := 0
		_, err := b.API().Conns(ctx, api.ConnFilter{Address: netip.PrefixFrom(to.Addr().Next(), 32), Role: api.Owner}, 0, func(*api.Conn) error { half++; return nil })
		return err == nil && half > 0
	}, "a connection is being opened")
	said := make(chan error, 1)
	go func() {
		a, err := top.Nodes[2].API().Act(ctx, api.VerbDrain, b.Name)
		if err == nil && !a.Done {
			err = context.DeadlineExceeded
		}
		said <- err
	}()
	drains := func() bool {
		info, err := top.Nodes[0].API().Info(ctx)
		return err == nil && slices.ContainsFunc(info.Members, func(m api.Member) bool { return m.Name == b.Name && m.State == "draining" })
	}
	eventually(t, ctx, drains, "the node drains")
	must(t, b.RestartDaemon())
	must(t, b.WaitReady(ctx))
	if err := <-said; err != nil {
		t.Fatalf("drain, with the daemon killed on the way: %v", err)
	}
	eventually(t, ctx, func() bool {
		info, err := b.API().Info(ctx)
		return err == nil && info.State == "disabled"
	}, "the node is out")
	if gave := counterOf(t, b, "connections_bequeathed"); gave == 0 {
		t.Error("the second daemon gave nothing away: the drain was over before it began")
	}
	if adopted := counter(t, top, "connections_adopted"); adopted != 0 {
		t.Errorf("%d connections were adopted from copies", adopted)
	}
	pause(t, ctx, time.Second) // two heartbeats of each
	if err := open.Close().Err(); err != nil {
		t.Errorf("connections that were open: %v", err)
	}
	must(t, b.RestartDaemon())
	must(t, b.WaitReady(ctx))
	if info, err := b.API().Info(ctx); err != nil || info.State != "disabled" {
		t.Errorf("after another restart: %+v, %v", info, err)
	}
}
