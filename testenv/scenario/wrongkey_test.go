package scenario

import (
	"os"
	"strings"
	"testing"
	"time"

	"cohort/testenv/topology"
)

// TestEL8_WrongKeyIsNamedOnBothSides starts a node anew with the key of another
// cluster: it and the members say so within 5 s, and the cluster goes on.
func TestEL8_WrongKeyIsNamedOnBothSides(t *testing.T) {
	ctx, top, last := withoutLast(t)
	otherKey(t, top)
	must(t, last.StartDaemon())
	must(t, last.WaitReady(ctx))
	began := time.Now()
	for _, n := range top.Nodes {
		for !told(ctx, t, n, "key", "sends with a key that this node does not have") {
			if time.Since(began) > 5*time.Second {
				t.Fatalf("%s does not say that keys differ", n.Name)
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Logf("%s says so after %v", n.Name, time.Since(began).Round(time.Millisecond))
	}
	waitMembers(ctx, t, top.Nodes[:2], 2)
}

// otherKey replaces the key file, which daemons read when they start.
func otherKey(t *testing.T, top *topology.Topology) {
	t.Helper()
	if err := os.WriteFile(top.KeyFile(), []byte(strings.Repeat("5a", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
