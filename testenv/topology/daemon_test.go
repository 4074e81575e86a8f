package topology

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cohort/api"
	"cohort/config"
)

// daemonRole makes this test binary play cohortd: it reads the real files and
// answers on the control socket that all nodes are in sync.
const daemonRole = "COHORT_TOPOLOGY_TEST_DAEMON"

// fake answers Info; nobody asks it anything else.
type fake struct {
	api.Provider
	info api.Info
}

func (f fake) Info(context.Context) (api.Info, error) { return f.info, nil }

func fakeDaemon(path string) error {
	node, err := config.LoadNode(path)
	if err != nil {
		return err
	}
	if _, err := config.LoadCluster(node.Config); err != nil {
		return err
	}
	info := api.Info{Cluster: node.Cluster, Self: node.Name, State: "in sync", Term: 1, Epoch: 1, Control: "fw-a"}
	for i := range len(node.CCL.Peers) + 1 {
		info.Members = append(info.Members, api.Member{Name: nodeName(i + 1), State: "in sync"})
	}
	l, err := api.Listen(node.ControlSocket)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("fake daemon serves")
	return api.NewServer(fake{info: info}, nil).Run(ctx, l)
}

func TestDaemons_LiveAsTheyAreTold(t *testing.T) {
	top := start(t, Config{Nodes: 2, Daemon: os.Args[0], Env: []string{daemonRole + "=1"}, Track: patient})
	ctx := within(t, 60*time.Second)
	if err := top.WaitFormed(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if c, err := top.ControlNode(ctx); err != nil || c != top.Nodes[0] {
		t.Errorf("control node %v, %v; want fw-a", c, err)
	}
	n := top.Nodes[1]
	pid := func() int {
		t.Helper()
		p, err := n.Daemon()
		if err != nil {
			t.Fatal(err)
		}
		return p.PID()
	}
	first := pid()
	if err := n.StartDaemon(); err == nil {
		t.Error("a second daemon was started")
	}
	if err := n.RestartDaemon(); err != nil || pid() == first {
		t.Errorf("restart: %v, pid %d before and %d after", err, first, pid())
	}
	if err := n.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}

	if err := n.StopDaemon(); err != nil {
		t.Fatal(err)
	}
	frozen, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := n.API().Info(frozen); err == nil {
		t.Error("a frozen daemon answers")
	}
	if err := n.ContDaemon(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.API().Info(ctx); err != nil {
		t.Errorf("a thawed daemon: %v", err)
	}

	if err := n.KillDaemon(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Daemon(); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("after kill -9: %v, want ErrNoDaemon", err)
	}
	if err := n.WaitReady(ctx); !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), "fake daemon serves") {
		t.Errorf("waiting for a dead daemon: %v, want ErrNoDaemon and its log", err)
	}
	short, cancel2 := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel2()
	if err := top.WaitFormed(short, 2); !errors.Is(err, ErrNotFormed) {
		t.Errorf("WaitFormed with a dead daemon: %v", err)
	}
	if err := n.StartDaemon(); err != nil {
		t.Fatal(err)
	}
	if err := n.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if err := n.TermDaemon(ctx); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}

	if _, err := n.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if err := n.StartDaemon(); err == nil {
		t.Error("a daemon was started on a node without power")
	}
	if err := n.PowerOn(); err != nil {
		t.Fatal(err)
	}
	if err := top.WaitFormed(ctx, 2); err != nil {
		t.Fatal(err)
	}
}

func TestPowerOff_KillsTheDaemon(t *testing.T) {
	top := start(t, Config{Nodes: 1, Daemon: os.Args[0], Env: []string{daemonRole + "=1"}, Track: patient})
	if err := top.WaitFormed(within(t, 30*time.Second), 1); err != nil {
		t.Fatal(err)
	}
	p, err := top.Nodes[0].Daemon()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := top.Nodes[0].PowerOff(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(p.PID(), 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the daemon outlived its power: %v", err)
	}
}
