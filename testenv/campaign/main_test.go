package campaign

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cohort/api"
	"cohort/testenv/line"
	"cohort/testenv/netns"
	"cohort/testenv/topology"
	"cohort/testenv/track"
	"cohort/testenv/traffic"
)

// Flags turn the slice into the whole proof.
var (
	full    = flag.Bool("campaign.full", false, "full size")
	rounds  = flag.Int("campaign.rounds", 0, "rounds of kill campaigns; 0 = by size")
	results = flag.String("campaign.out", "", "`directory` for results; none are written without it")
	command = flag.String("campaign.command", "go test ./testenv/campaign", "what results name as the command that made them")
	daemon  = flag.String("campaign.daemon", "", "cohortd to use instead of building one")
)

func TestMain(m *testing.M) {
	traffic.BecomeApart()
	line.BecomeApart()
	becomeWitness()
	flag.Parse()
	if err := buildDaemon(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// buildDaemon makes bin/cohortd current; it is quick when it is.
func buildDaemon() error {
	if *daemon != "" || os.Geteuid() != 0 {
		return nil
	}
	*daemon = topology.DefaultDaemon()
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", *daemon, "./cmd/cohortd")
	cmd.Dir = filepath.Join(filepath.Dir(*daemon), "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build cohortd: %w\n%s", err, out)
	}
	return nil
}

// quick is a tracker that notices a dead hop before a cluster with a hold time
// of a second does, so that what remains is the cluster's.
var quick = track.Config{Interval: 30 * time.Millisecond, Losses: 4, Answers: 2}

// beside lets the tests of the slice, which mostly wait, run two at a time; the
// whole proof measures, so there each has the machine to itself.
func beside(t *testing.T) {
	t.Helper()
	if !*full {
		t.Parallel()
	}
}

// size is a number that depends on the flags.
func size(short, whole int) int {
	if *full {
		return whole
	}
	return short
}

// killRounds is size, unless the flag says otherwise.
func killRounds(short, whole int) int {
	if *rounds > 0 {
		return *rounds
	}
	return size(short, whole)
}

// lab is a formed cluster with servers at the far side.
type lab struct {
	*topology.Topology
	ctx    context.Context
	client *netns.Namespace
	server *topology.Host
	echo   *traffic.Server // TCP
}

// newLab starts a cluster for one test; limit bounds the whole test.
func newLab(t *testing.T, cfg topology.Config, limit time.Duration) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	cfg.Daemon = *daemon
	top := topology.Start(t, cfg)
	l := &lab{Topology: top, ctx: ctx, client: top.Clients[0].Namespace, server: top.Servers[0]}
	l.whole(t)
	echo, err := traffic.ServeEcho(l.server.Namespace, l.at(7))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { echo.Close() })
	l.echo = echo
	return l
}

// whole waits until all nodes are members and both routers use them all.
func (l *lab) whole(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, 30*time.Second)
	defer cancel()
	if err := l.WaitFormed(ctx, len(l.Nodes)); err != nil {
		t.Fatal(err)
	}
	if err := l.WaitRouted(ctx); err != nil {
		t.Fatalf("routers use nodes %v and %v: %v", l.Inside.Live(), l.Outside.Live(), err)
	}
}

// at is a port of the server.
func (l *lab) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(l.server.Addr, port) }

// census of all connections.
func (l *lab) census(t *testing.T) Census {
	t.Helper()
	c, err := TakeCensus(l.ctx, l.Topology, api.ConnFilter{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// counters of all nodes together.
func (l *lab) counters(t *testing.T) map[string]uint64 {
	t.Helper()
	c, err := SumCounters(l.ctx, l.Topology, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// protected waits until every one of the connections has one owner and one
// copy.
func (l *lab) protected(t *testing.T, keys []Key) {
	t.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, 20*time.Second)
	defer cancel()
	if err := awaitProtected(ctx, l, keys); err != nil {
		t.Fatal(err)
	}
}

// finish shows a result and writes it where the flag says.
func finish(t *testing.T, r *Result) {
	t.Helper()
	t.Logf("\n%v", r)
	if *results == "" {
		return
	}
	if err := r.Write(*results); err != nil {
		t.Error(err)
	}
}
