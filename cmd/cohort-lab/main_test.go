package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cohort/testenv/lab"
)

// program makes this test binary play cohort-lab.
const program = "COHORT_LAB_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(program) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// run plays cohort-lab with arguments and returns all it printed.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), program+"=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestLab_FromUpToDown(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	name := fmt.Sprintf("c%d", os.Getpid())
	out, err := run(t, "up", "--lab", name, "--nodes", "2", "--forwarders", "--spray")
	t.Cleanup(func() { lab.Down(context.Background(), name) })
	if err != nil || !strings.Contains(out, "running") || !strings.Contains(out, "random node") {
		t.Fatalf("up: %v\n%s", err, out)
	}
	if out, err := run(t, "exec", "--lab", name, "c1", "--", "ping", "-c", "3", "192.0.2.1"); err != nil || !strings.Contains(out, " 0% packet loss") {
		t.Errorf("exec ping: %v\n%s", err, out)
	}
	if out, err := run(t, "exec", "--lab", name, "c1", "--", "sh", "-c", "exit 7"); err == nil || err.Error() != "exit status 7" {
		t.Errorf("exec hides how the command ended: %v\n%s", err, out)
	}
	if out, err := run(t, "exec", "--lab", name, "fw-z", "--", "true"); err == nil || !strings.Contains(out, "nobody is called fw-z") {
		t.Errorf("exec for nobody: %v\n%s", err, out)
	}
	if out, err := run(t, "status", "--lab", name); err != nil || !strings.Contains(out, "fw-b") {
		t.Errorf("status: %v\n%s", err, out)
	}
	if out, err := run(t, "down", "--lab", name); err != nil || out != "" {
		t.Errorf("down: %v\n%s", err, out)
	}
	if out, err := run(t, "status", "--lab", name); err == nil || !strings.Contains(out, "cohort-lab --lab "+name+" up") {
		t.Errorf("status of no lab: %v\n%s", err, out)
	}
}

// TestLab_ControlLinkOverIPv6: the choice reaches the keeper, the link has the
// addresses and the MTU that VTEPs of IPv6 need, and status says so (CL9).
func TestLab_ControlLinkOverIPv6(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	name := fmt.Sprintf("x%d", os.Getpid())
	out, err := run(t, "up", "--lab", name, "--nodes", "2", "--forwarders", "--ccl-ipv6")
	t.Cleanup(func() { lab.Down(context.Background(), name) })
	if err != nil || !strings.Contains(out, "control link over IPv6") {
		t.Fatalf("up: %v\n%s", err, out)
	}
	if out, err := run(t, "exec", "--lab", name, "fw-a", "--", "ping", "-6", "-c", "2", "fd00:99::2"); err != nil || !strings.Contains(out, " 0% packet loss") {
		t.Errorf("the other end of the link: %v\n%s", err, out)
	}
	if out, err := run(t, "exec", "--lab", name, "fw-a", "--", "ip", "-o", "addr", "show", "ccl0"); err != nil || !strings.Contains(out, "fd00:99::1/64") || strings.Contains(out, "10.99.0.1/") {
		t.Errorf("addresses of the link: %v\n%s", err, out)
	}
	if out, err := run(t, "exec", "--lab", name, "fw-a", "--", "ip", "-o", "link", "show", "ccl0"); err != nil || !strings.Contains(out, " mtu 1674 ") {
		t.Errorf("MTU of the link: %v\n%s, want 1500 + 174", err, out)
	}
}

func TestShape_WantsADaemonUnlessNodesForward(t *testing.T) {
	missing := shape{}
	missing.cfg.Daemon = filepath.Join(t.TempDir(), "cohortd")
	if _, err := missing.config(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing daemon: %v", err)
	}
	missing.forwarders = true
	if _, err := missing.config(); err != nil {
		t.Errorf("forwarders need no daemon: %v", err)
	}
}
