package netns

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childRole makes this test binary play the maker that gets killed.
const childRole = "COHORT_NETNS_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childRole) {
	case "":
	case "fresh":
		if err := onFreshMachine(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	default:
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

// child makes a namespace with a process inside that detached itself from its
// parent, prints their names and waits to be killed.
func child() {
	tag, err := NewTag()
	if err == nil {
		var n *Namespace
		if n, err = New(tag.Name("a")); err == nil {
			cmd := exec.Command("sh", "-c", "setsid sleep 600 & echo $!; wait")
			cmd.Stdout = os.Stdout
			fmt.Println(n.Name())
			_, err = n.Start(cmd)
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	select {}
}

// newTest makes a namespace for one test.
func newTest(t *testing.T) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	tag, err := NewTag()
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(tag.Name("t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// eventually waits for a condition, at most ten seconds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
