package behaviour

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cohort/api"
	"cohort/testenv/netns"
	"cohort/testenv/topology"
	"cohort/testenv/track"
)

var daemon = flag.String("behaviour.daemon", "", "cohortd to use instead of building one")

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Println("behaviour: needs root for network namespaces; run as root")
		os.Exit(1)
	}
	flag.Parse()
	dir, err := os.MkdirTemp("", "cohort-behaviour-")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if err := buildDaemon(dir); err != nil {
		fmt.Println(err)
		os.RemoveAll(dir)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// buildDaemon makes the cohortd of this source tree.
func buildDaemon(dir string) error {
	if *daemon != "" {
		return nil
	}
	*daemon = filepath.Join(dir, "cohortd")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", *daemon, "cohort/cmd/cohortd").CombinedOutput()
	if err != nil {
		return fmt.Errorf("behaviour: build cohortd: %w\n%s", err, out)
	}
	return nil
}

// Addresses of the tests: what the outside may see.
var (
	egress = netip.MustParseAddr("203.0.113.10") // of most clients
	public = netip.MustParsePrefix("203.0.113.0/24")
)

// patOnly is the usual translation: everybody behind one address.
const patOnly = "{pools: {egress: {addresses: 203.0.113.10}}, rules: [{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}]}"

// formed starts a cluster and waits until it is one and the routers use it. The
// machine may be busy, and nobody dies here who is not killed: so routers and
// nodes are patient.
func formed(t *testing.T, cfg topology.Config) *topology.Topology {
	t.Helper()
	cfg.Daemon = *daemon
	if cfg.Track == (track.Config{}) {
		cfg.Track = track.Config{Interval: 100 * time.Millisecond, Losses: 20}
	}
	top := topology.Start(t, cfg)
	t.Cleanup(func() {
		if t.Failed() {
			showDrops(t, top)
		}
	})
	ctx := within(t, 60*time.Second)
	if err := top.WaitFormed(ctx, len(top.Nodes)); err != nil {
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
		var said []string
		for _, c := range list {
			if c.Value != 0 && c.Kind == api.KindDrop {
				said = append(said, fmt.Sprintf("%s %d", c.Name, c.Value))
			}
		}
		t.Logf("%s dropped: %s", n.Name, strings.Join(said, ", "))
	}
}

// within gives a context that no step should ever need all of.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within 30 s", what)
		}
	}
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

// counter sums a counter over all nodes that answer.
func counter(t *testing.T, top *topology.Topology, name string) (sum uint64) {
	t.Helper()
	known := false
	for _, n := range top.Nodes {
		if _, err := n.Daemon(); err != nil {
			continue
		}
		list, err := n.API().Counters(t.Context())
		if err != nil {
			t.Fatalf("counters of %s: %v", n.Name, err)
		}
		for _, c := range list {
			if c.Name == name {
				sum += c.Value
				known = true
			}
		}
	}
	if !known {
		t.Fatalf("no node has a counter %s", name)
	}
	return sum
}
