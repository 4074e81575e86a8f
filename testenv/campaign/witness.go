package campaign

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cohort/node/realtime"
)

// witnessEnv tells this program, started again, to be a witness.
const witnessEnv = "COHORT_CAMPAIGN_WITNESS"

// witnessStep is how long it sleeps, and witnessPriority is the highest there is.
const (
	witnessStep     = time.Millisecond
	witnessPriority = 99
)

// watchHost has a thread on each CPU that nothing on this machine but the kernel
// keeps from running, until stop, which says how late one of them woke at worst.
// That is the time for which the host of a virtual machine took its CPUs away.
func watchHost(t *testing.T) (stop func() time.Duration) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), witnessEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	worst := time.Duration(-1)
	end := sync.OnceValue(func() error {
		in.Close()
		b, _ := io.ReadAll(out)
		err := cmd.Wait()
		if err == nil {
			_, err = fmt.Sscan(string(b), (*int64)(&worst))
		}
		return err
	})
	t.Cleanup(func() { _ = end() })
	return func() time.Duration {
		if err := end(); err != nil {
			t.Errorf("nobody knows what the host did: %v", err)
		}
		return worst
	}
}

// becomeWitness watches until its input ends, in a process that watchHost has
// started, and returns at once in any other.
func becomeWitness() {
	if os.Getenv(witnessEnv) == "" {
		return
	}
	if err := realtime.Take(witnessPriority); err != nil {
		fmt.Fprintln(os.Stderr, "witness:", err)
		os.Exit(1)
	}
	done := make(chan struct{})
	worst := make(chan time.Duration)
	for cpu := range runtime.NumCPU() {
		go func() {
			// Until the process ends: nobody else is to run on this CPU only.
			runtime.LockOSThread()
			var set unix.CPUSet
			set.Set(cpu)
			_ = unix.SchedSetaffinity(0, &set)
			worst <- latest(done)
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	close(done)
	all := time.Duration(0)
	for range runtime.NumCPU() {
		all = max(all, <-worst)
	}
	fmt.Println(int64(all))
	os.Exit(0)
}

// latest is how late a sleep ended at worst.
func latest(done chan struct{}) (worst time.Duration) {
	step := unix.NsecToTimespec(int64(witnessStep))
	for {
		began := time.Now()
		_ = unix.Nanosleep(&step, nil)
		worst = max(worst, time.Since(began)-witnessStep)
		select {
		case <-done:
			return worst
		default:
		}
	}
}
