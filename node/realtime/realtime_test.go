package realtime

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// childEnv tells this program to take real-time priority and say what came of it.
const childEnv = "COHORT_REALTIME_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		fmt.Println(child())
		return
	}
	os.Exit(m.Run())
}

// child has threads before and after Take.
func child() string {
	var all sync.WaitGroup
	ends := make(chan struct{})
	more := func() {
		up := make(chan struct{})
		for range 4 {
			all.Go(func() {
				runtime.LockOSThread()
				up <- struct{}{}
				<-ends
			})
			<-up
		}
	}
	more()
	if err := Take(3); err != nil {
		return err.Error()
	}
	if err := Nice(5); err != nil {
		return err.Error()
	}
	more()
	has, err := Has(os.Getpid())
	wrong := ""
	_ = threads("self", func(tid int) error {
		if a, err := unix.SchedGetAttr(tid, 0); err == nil && (a.Policy != unix.SCHED_FIFO || a.Priority != 3) {
			wrong += fmt.Sprintf("; thread %d has policy %d, priority %d", tid, a.Policy, a.Priority)
		}
		if n, err := unix.Getpriority(unix.PRIO_PROCESS, tid); err == nil && n != 20-5 {
			wrong += fmt.Sprintf("; thread %d is nice by %d", tid, 20-n) // the system call counts from 40 down
		}
		return nil
	})
	entries, _ := os.ReadDir("/proc/self/task")
	close(ends)
	all.Wait()
	return fmt.Sprintf("has %v, error %v, at least 8 threads %v%s", has, err, len(entries) >= 8, wrong)
}

// HL7: threads that were there and threads that come later.
func TestHL7_AllThreadsTakeRealTimePriority(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != "has true, error <nil>, at least 8 threads true" {
		t.Errorf("%v %s", err, got)
	}
	if has, err := Has(os.Getpid()); err != nil || has {
		t.Errorf("this process has it: %v %v", has, err)
	}
	if _, err := Has(1 << 30); err == nil {
		t.Error("no process, and no error")
	}
	if err := Take(100); err == nil {
		t.Error("no such priority, and no error")
	}
}
