package netns

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inside lists the processes of a namespace.
func inside(t *testing.T, n *Namespace) []int {
	t.Helper()
	var want unix.Stat_t
	if err := unix.Stat(n.Path(), &want); err != nil {
		t.Fatal(err)
	}
	pids, err := pidsInside(want)
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

func TestSweep_RemovesWhatAKilledMakerLeft(t *testing.T) {
	mine := newTest(t) // also proves root
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	name := lines.Text()
	lines.Scan()
	detached, err := strconv.Atoi(lines.Text())
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("child said %q %q", name, lines.Text())
	}
	if removed, err := Sweep(); err != nil || slices.Contains(removed, name) {
		t.Errorf("Sweep = %v, %v: it took the namespace of a living maker", removed, err)
	}

	cmd.Process.Kill() // SIGKILL: no clean-up of its own
	cmd.Wait()
	if _, err := os.Stat(filepath.Join(Dir, name)); err != nil {
		t.Fatalf("the namespace did not outlive its maker, the test proves nothing: %v", err)
	}
	if _, err := Sweep(); err != nil {
		t.Fatal(err)
	}
	// Another test's Sweep may have been quicker; what counts is the result.
	if _, err := os.Stat(filepath.Join(Dir, name)); !os.IsNotExist(err) {
		t.Errorf("after Sweep: %v, want gone", err)
	}
	eventually(t, "the detached process is dead", func() bool { return !running(detached) })
	if _, err := os.Stat(mine.Path()); err != nil {
		t.Errorf("Sweep took a living maker's namespace: %v", err)
	}
}

// running is false for what is gone and for a zombie nobody has waited for.
func running(pid int) bool {
	_, err := startTime(pid)
	return err == nil
}

func TestSweep_RemovesAFileWithoutMount(t *testing.T) {
	newTest(t)
	dead := Tag{PID: 1 << 22, Start: 1, Random: "abcdef"} // beyond pid_max
	path := filepath.Join(Dir, dead.Name("x"))
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	if _, err := Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("after Sweep: %v, want gone", err)
	}
}

func TestSweepDirs_RemovesOnlyDeadMakers(t *testing.T) {
	parent := t.TempDir()
	alive, err := NewTag()
	if err != nil {
		t.Fatal(err)
	}
	dead := Tag{PID: 1 << 22, Start: 1, Random: "abcdef"}
	for _, d := range []string{alive.String(), dead.String(), "somebody"} {
		if err := os.MkdirAll(filepath.Join(parent, d, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := SweepDirs(parent); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if got, want := strings.Join(left, " "), alive.String()+" somebody"; got != want {
		t.Errorf("left %q, want %q", got, want)
	}
}
