package scenario

import (
	"context"
	"crypto/rand"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"cohort/config"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// TestCL10_KeyChangesUnderTraffic takes the three steps of a change of the key,
// node by node, while connections are open and others come and go: no message is
// refused. A key that a member still seals with is not given up, and who has only
// the old key afterwards is out.
func TestCL10_KeyChangesUnderTraffic(t *testing.T) {
	top := formed(t, topology.Config{HoldTime: time.Second, Spray: true})
	a, b, c := top.Nodes[0], top.Nodes[1], top.Nodes[2]
	was := settled(t, top, 3)
	ctx := within(t, 60*time.Second)
	old, err := os.ReadFile(top.KeyFile())
	if err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(top.Servers[0].Addr, 8080)
	echo, err := traffic.ServeEcho(top.Servers[0].Namespace, to)
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	open, err := traffic.OpenPool(ctx, top.Clients[0].Namespace, to, traffic.PoolConfig{Connections: 50, Interval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	refused, received := counter(t, top, "link_refused"), counter(t, top, "link_received")

	// Between any two reloads connections begin, live and end, so that messages of
	// all kinds cross under whatever keys the nodes have.
	reload := func(n *topology.Node) {
		t.Helper()
		if _, err := n.API().Reload(ctx); err != nil {
			t.Fatalf("%s: %v", n.Name, err)
		}
		if err := traffic.TCP(ctx, top.Clients[0].Namespace, to, traffic.TCPLoad{Connections: 60, Rounds: 1}).Err(); err != nil {
			t.Errorf("after the reload of %s: %v", n.Name, err)
		}
	}
	must := func(_ config.Keys, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(config.AddKey(top.KeyFile(), rand.Reader))
	for _, n := range top.Nodes {
		reload(n)
	}
	must(config.UseKey(top.KeyFile()))
	reload(a)
	reload(b)
	must(config.DropKey(top.KeyFile()))
	if _, err := a.API().Reload(ctx); err == nil || !strings.Contains(err.Error(), c.Name+" seals with key") {
		t.Errorf("a gives up the key that %s seals with: %v", c.Name, err)
	}
	reload(c) // straight to the new key alone
	for _, n := range []*topology.Node{a, b} {
		eventually(t, ctx, func() bool { _, err := n.API().Reload(ctx); return err == nil }, "%s takes the new key alone", n.Name)
		reload(n)
	}
	if report := open.Close(); report.Err() != nil {
		t.Errorf("open before: %v", report.Err())
	}
	t.Logf("%d datagrams crossed in the change", counter(t, top, "link_received")-received)
	if n := counter(t, top, "link_refused") - refused; n != 0 {
		t.Errorf("%d messages were refused in the change", n)
	}
	if said, one := views(t, top, 3); !one || said != was {
		t.Errorf("the view changed from %s\nto %s", was, said)
	}

	// A member comes back with what it had before.
	if err := c.KillDaemon(); err != nil {
		t.Fatal(err)
	}
	if err := top.WaitFormed(ctx, 2); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.ReadFile(top.KeyFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(top.KeyFile(), old, 0o600); err != nil {
		t.Fatal(err)
	}
	unknown := counterOf(t, a, "link_unknown_key") + counterOf(t, b, "link_unknown_key")
	if err := c.StartDaemon(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, func() bool {
		return counterOf(t, a, "link_unknown_key")+counterOf(t, b, "link_unknown_key") >= unknown+6
	},
		"a and b refuse several messages of c")
	for _, n := range []*topology.Node{a, b} {
		if i, err := n.API().Info(ctx); err != nil || len(i.Members) != 2 {
			t.Errorf("%s has %d members with a node that has the old key (%v)", n.Name, len(i.Members), err)
		}
	}
	if err := os.WriteFile(top.KeyFile(), fresh, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.RestartDaemon(); err != nil {
		t.Fatal(err)
	}
	if err := top.WaitFormed(ctx, 3); err != nil {
		t.Errorf("with the new key: %v", err)
	}
}

// eventually waits for a condition for as long as ctx lasts.
func eventually(t *testing.T, ctx context.Context, holds func() bool, what string, args ...any) {
	t.Helper()
	for !holds() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("never: "+what, args...)
		}
	}
}

// counterOf is one counter of one node.
func counterOf(t *testing.T, n *topology.Node, name string) uint64 {
	t.Helper()
	list, err := n.API().Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if c.Name == name {
			return c.Value
		}
	}
	t.Fatalf("%s has no counter %s", n.Name, name)
	return 0
}
