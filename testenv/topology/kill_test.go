package topology

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cohort/testenv/netns"
)

// childRole makes this test binary play the maker that gets killed.
const childRole = "COHORT_TOPOLOGY_TEST_CHILD"

func child() {
	top, err := New(context.Background(), Config{Nodes: 2, Mode: Forwarders})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(top.Tag())
	select {}
}

func TestSweep_LeavesNothingOfAKilledMaker(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := bufio.NewScanner(out)
	line.Scan()
	tag, ok := netns.ParseTag(line.Text())
	cmd.Process.Kill() // SIGKILL: no clean-up of its own
	cmd.Wait()
	if !ok {
		t.Fatalf("child said %q", line.Text())
	}
	// sw, rin, rout, c1, s1 and two nodes; and the directory. Somebody else's
	// topology may have swept between the kill and here, so none is no failure.
	if left := remains(t, tag); len(left) != 8 && len(left) != 0 {
		t.Errorf("a killed maker of 2 nodes leaves %v", left)
	}
	if err := Sweep(); err != nil {
		t.Fatal(err)
	}
	if left := remains(t, tag); len(left) != 0 {
		t.Errorf("after Sweep: %v", left)
	}
}

// remains lists namespaces and directories of a tag.
func remains(t *testing.T, tag netns.Tag) []string {
	t.Helper()
	var left []string
	for _, dir := range []string{netns.Dir, os.TempDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), tag.String()) {
				left = append(left, filepath.Join(dir, e.Name()))
			}
		}
	}
	return left
}

func TestClose_LeavesNothing(t *testing.T) {
	top := start(t, Config{Nodes: 1, Mode: Bare})
	if err := top.Close(); err != nil {
		t.Fatal(err)
	}
	if left := remains(t, top.Tag()); len(left) != 0 {
		t.Errorf("after Close: %v", left)
	}
}
