package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
	"cohort/testenv/topology"
)

// keeperRole makes this test binary play the keeper of the lab it names.
const keeperRole = "COHORT_LAB_TEST_KEEPER"

func TestMain(m *testing.M) {
	if name := os.Getenv(keeperRole); name != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := Keep(ctx, name, topology.Config{Nodes: 2, Mode: topology.Forwarders}, time.Minute); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// up brings a lab up whose name no other test run uses.
func up(t *testing.T, ctx context.Context) *State {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	name := fmt.Sprintf("t%d", os.Getpid())
	keeper := exec.Command(os.Args[0])
	keeper.Env = append(os.Environ(), keeperRole+"="+name)
	s, err := Up(ctx, name, keeper)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Down(context.Background(), name) })
	return s
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// gone checks that nothing of a lab is left.
func gone(t *testing.T, s *State) {
	t.Helper()
	entries, err := os.ReadDir(netns.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), s.Keeper.String()) {
			t.Errorf("namespace %s is left", e.Name())
		}
	}
	if _, err := Read(s.Name); !errors.Is(err, ErrNoLab) {
		t.Errorf("state after Down: %v, want ErrNoLab", err)
	}
}

func TestLab_OutlivesUpAndGoesDown(t *testing.T) {
	ctx := within(t)
	s := up(t, ctx)
	if s.Phase != Running || len(s.Nodes) != 2 || len(s.Namespaces) != 7 {
		t.Errorf("state %+v, want 2 nodes running in 7 namespaces", s)
	}
	if _, err := Up(ctx, s.Name, exec.Command("false")); err == nil || !strings.Contains(err.Error(), "up already") {
		t.Errorf("second Up: %v", err)
	}
	ns, err := s.Namespace("c1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(netns.Dir + "/" + ns); err != nil {
		t.Error(err)
	}
	if _, err := s.Namespace("x9"); err == nil || !strings.Contains(err.Error(), "fw-a") {
		t.Errorf("unknown role: %v, want the known ones listed", err)
	}
	var out strings.Builder
	if err := s.WriteStatus(ctx, &out); err != nil || !strings.Contains(out.String(), "running") || !strings.Contains(out.String(), ns) {
		t.Errorf("status %q, %v", out.String(), err)
	}
	if err := Down(ctx, s.Name); err != nil {
		t.Fatal(err)
	}
	gone(t, s)
}

func TestDown_ClearsUpAfterACrashedKeeper(t *testing.T) {
	ctx := within(t)
	s := up(t, ctx)
	if err := unix.Kill(s.Keeper.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	endKeeper(ctx, s.Keeper)
	var out strings.Builder
	if err := s.WriteStatus(ctx, &out); err != nil || !strings.Contains(out.String(), "crashed") {
		t.Errorf("status of a crashed lab %q, %v", out.String(), err)
	}
	if err := Down(ctx, s.Name); err != nil {
		t.Fatal(err)
	}
	gone(t, s)
}

func TestUp_TellsWhyAKeeperEnded(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	name := fmt.Sprintf("e%d", os.Getpid())
	_, err := Up(within(t), name, exec.Command("sh", "-c", "echo no such thing; exit 3"))
	if err == nil || !strings.Contains(err.Error(), "no such thing") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Up = %v, want the keeper's words and status", err)
	}
	if _, err := os.Stat(Dir + "/" + name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory of a lab that never was: %v", err)
	}
}

func TestPath_RefusesWhatWouldLeaveTheDirectory(t *testing.T) {
	for _, name := range []string{"", "..", "a/b", "A", "-x", strings.Repeat("x", 17)} {
		if _, err := path(name); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
}
