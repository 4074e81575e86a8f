package scenario

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/netns"
	"cohort/testenv/topology"
	"cohort/testenv/track"
)

// daemon is the cohortd of this source tree.
var daemon string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Println("scenario: needs root for network namespaces; run as root")
		return 1
	}
	dir, err := os.MkdirTemp("", "cohort-scenario-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	daemon = filepath.Join(dir, "cohortd")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", daemon, "cohort/cmd/cohortd").CombinedOutput(); err != nil {
		fmt.Printf("scenario: build cohortd: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// bothPaths plays a scenario with and without the fast path.
func bothPaths(t *testing.T, cfg topology.Config, play func(t *testing.T, top *topology.Topology)) {
	for _, mode := range []struct {
		name string
		args []string
	}{{"fast", nil}, {"slow", []string{"--no-fast-path"}}} {
		t.Run(mode.name, func(t *testing.T) {
			cfg := cfg
			cfg.DaemonArgs = mode.args
			play(t, formed(t, cfg))
		})
	}
}

// formed starts a cluster and waits until it is one and the routers use it.
func formed(t *testing.T, cfg topology.Config) *topology.Topology {
	t.Helper()
	cfg.Daemon = daemon
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
	}
	cfg.Track = track.Config{Interval: 100 * time.Millisecond, Losses: 5}
	top := topology.Start(t, cfg)
	t.Cleanup(func() {
		if t.Failed() {
			showDrops(t, top)
		}
	})
	ctx := within(t, 60*time.Second)
	if err := top.WaitFormed(ctx, cfg.Nodes); err != nil {
		t.Fatal(err)
	}
	if err := top.WaitRouted(ctx); err != nil {
		t.Fatal(err)
	}
	return top
}

// showDrops logs what every node dropped, for a test that failed.
func showDrops(t *testing.T, top *topology.Topology) {
	for _, n := range top.Nodes {
		list, err := n.API().Counters(context.WithoutCancel(t.Context()))
		if err != nil {
			continue // its daemon is dead, which may be what was tested
		}
		for _, c := range list {
			if c.Value != 0 && (c.Kind == api.KindDrop || c.Kind == "punt" || c.Kind == "role") {
				t.Logf("%s %s %d", n.Name, c.Name, c.Value)
			}
		}
	}
}

// within gives a context that no step should ever need all of.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// output runs a program in a namespace and returns what it prints; a program
// that fails is not an error here, what it prints is judged.
func output(t *testing.T, ns *netns.Namespace, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = ns.Run(within(t, 30*time.Second), cmd)
	return out.String()
}

// counter sums a counter over all nodes.
func counter(t *testing.T, top *topology.Topology, name string) (sum uint64) {
	t.Helper()
	for _, n := range top.Nodes {
		if !n.On() {
			continue
		}
		list, err := n.API().Counters(t.Context())
		if err != nil {
			t.Fatalf("counters of %s: %v", n.Name, err)
		}
		for _, c := range list {
			if c.Name == name {
				sum += c.Value
			}
		}
	}
	return sum
}
