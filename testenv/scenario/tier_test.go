package scenario

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cohort/testenv/topology"
)

// TestEL8_NodeWithATooSmallTableIsRefusedByName starts a node anew with limits that
// are far from the cluster's: it is told so, stays out, and the cluster goes on.
func TestEL8_NodeWithATooSmallTableIsRefusedByName(t *testing.T) {
	ctx, top, last := withoutLast(t)
	file := filepath.Join(top.Dir, "cluster.yaml")
	was, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	is := bytes.Replace(was, []byte("connections: 131072"), []byte("connections: 2048"), 1)
	if bytes.Equal(was, is) {
		t.Fatalf("no limit in\n%s", was)
	}
	if err := os.WriteFile(file, is, 0o644); err != nil { // daemons read it when they start
		t.Fatal(err)
	}
	must(t, last.StartDaemon())
	must(t, last.WaitReady(ctx))
	for !told(ctx, t, last, "join", "performance tier: limits.connections 2048, the control node has 131072") {
		time.Sleep(10 * time.Millisecond)
	}
	waitMembers(ctx, t, top.Nodes[:2], 2)
}

// withoutLast is a cluster of three whose last daemon was killed: the others go on
// without it.
func withoutLast(t *testing.T) (ctx context.Context, top *topology.Topology, last *topology.Node) {
	t.Helper()
	top = formed(t, topology.Config{HoldTime: time.Second})
	ctx = within(t, 40*time.Second)
	last = top.Nodes[2]
	must(t, last.KillDaemon())
	waitMembers(ctx, t, top.Nodes[:2], 2)
	return ctx, top, last
}
