package topology

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFillDisk_EveryWriteFailsUntilThereIsRoom(t *testing.T) {
	top := start(t, Config{Nodes: 1, Mode: Bare, Track: patient})
	n := top.Nodes[0]
	old, file := filepath.Join(n.stateDir(), "old"), filepath.Join(n.stateDir(), "new")
	write := func() error { return os.WriteFile(file, []byte("something"), 0o600) }
	if err := os.WriteFile(old, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time the disk is there
		if err := n.FillDisk(); err != nil {
			t.Fatal(err)
		}
		if err := write(); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("a full disk takes a file: %v", err)
		}
		if b, err := os.ReadFile(old); err != nil || string(b) != "before" {
			t.Errorf("what was there: %q, %v", b, err)
		}
		if err := n.FreeDisk(); err != nil {
			t.Fatal(err)
		}
		if err := write(); err != nil {
			t.Errorf("a disk with room: %v", err)
		}
		if err := os.Remove(file); err != nil { // its page would take the next
			t.Fatal(err)
		}
	}
	if err := top.Close(); err != nil {
		t.Fatal(err)
	}
	if m, err := mountsBelow(n.Dir); err != nil || len(m) > 0 {
		t.Errorf("mounts that are left: %v, %v", m, err)
	}
}

func TestSlowDisk_ChangesWaitUntilPowerComesBack(t *testing.T) {
	top := start(t, Config{Nodes: 1, Mode: Bare, Track: patient})
	n := top.Nodes[0]
	file := filepath.Join(n.stateDir(), "file")
	write := func() {
		t.Helper()
		if err := os.WriteFile(file, []byte("something"), 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Remove(file); err != nil {
			t.Error(err)
		}
	}
	for i, c := range []struct {
		delay time.Duration
		slow  uint64
	}{{0, 0}, {10 * time.Millisecond, 1}, {0, 1}} {
		if err := n.SlowDisk(c.delay); err != nil {
			t.Fatal(err)
		}
		if write(); n.Slowed() < c.slow || c.slow == 0 && n.Slowed() > 0 {
			t.Errorf("step %d: %d changes waited", i, n.Slowed())
		}
	}
	if _, err := n.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if err := n.PowerOn(); err != nil {
		t.Fatal(err)
	}
	if m, err := mountsBelow(n.Dir); err != nil || len(m) > 0 {
		t.Errorf("mounts that are left: %v, %v", m, err)
	}
	if write(); n.Slowed() != 0 {
		t.Error("slow after power on")
	}
}
