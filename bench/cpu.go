package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxDisturbed is the share of a measurement's time that others may have had
// the CPU before the measurement is thrown away. Their time is not in the
// figures, but what they do to the caches is.
const maxDisturbed = 0.03

// pinThread binds the calling thread, which must be locked, to one CPU and puts
// it before everybody else who wants it.
func pinThread(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20); err != nil {
		return fmt.Errorf("priority: %w", err)
	}
	return nil
}

// spent is what a meter saw of a piece of work.
type spent struct {
	ours   time.Duration // CPU time of this thread and of the CPU's softirq thread
	queued time.Duration // this thread was ready to run, and neither of the two did
}

// disturbed is the share of the time that somebody else had. Sleep is not in it:
// a prog-run ends with a grace period of RCU, which is many milliseconds on a
// quiet machine too.
func (s spent) disturbed() float64 {
	return float64(s.queued) / float64(max(s.ours+s.queued, 1))
}

// meter tells how long a piece of work took on one CPU, and whether the CPU was
// ours meanwhile. It belongs to the thread that does the work.
type meter struct {
	softirq string // schedstat of ksoftirqd of the CPU
}

func newMeter(cpu int) (*meter, error) {
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	want := fmt.Sprintf("ksoftirqd/%d\n", cpu)
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil && string(b) == want {
			return &meter{softirq: filepath.Join(filepath.Dir(name), "schedstat")}, nil
		}
	}
	return nil, fmt.Errorf("no thread ksoftirqd/%d", cpu)
}

// measure runs work and returns its time. Softirqs run inside the thread that
// sends, or in ksoftirqd when there are too many; both are the work.
func (m *meter) measure(work func() error) (spent, error) {
	var s spent
	irq, queued := m.softirqTime(), queuedTime()
	own := threadTime()
	err := work()
	own = threadTime() - own
	irq, queued = m.softirqTime()-irq, queuedTime()-queued
	s.ours, s.queued = own+irq, max(0, queued-irq)
	return s, err
}

func (m *meter) softirqTime() time.Duration {
	b, err := os.ReadFile(m.softirq)
	if err != nil {
		return 0
	}
	ns, _, _ := bytes.Cut(b, []byte(" "))
	n, _ := strconv.ParseInt(string(ns), 10, 64)
	return time.Duration(n)
}

// threadTime is the CPU time of the calling thread.
func threadTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) // cannot fail for this clock
	return time.Duration(ts.Nano())
}

// queuedTime is how long the calling thread was ready to run while others ran.
func queuedTime() time.Duration {
	b, err := os.ReadFile("/proc/thread-self/schedstat")
	if err != nil {
		return 0
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.ParseInt(string(f[1]), 10, 64)
	return time.Duration(n)
}

// processTime is the CPU time of all threads of another process.
func processTime(pid int) (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("process %d: no threads (%v)", pid, err)
	}
	var sum time.Duration
	for _, name := range threads {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		ns, _, _ := strings.Cut(string(b), " ")
		n, _ := strconv.ParseInt(ns, 10, 64)
		sum += time.Duration(n)
	}
	return sum, nil
}

// pinProcess binds every thread of a process to one CPU; threads that it starts
// later inherit that.
func pinProcess(pid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return allowProcess(pid, &set)
}

// allowProcess lets every thread of a process run on some CPUs.
func allowProcess(pid int, set *unix.CPUSet) error {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, _ := strconv.Atoi(t.Name())
		if err := unix.SchedSetaffinity(tid, set); err != nil && err != unix.ESRCH {
			return fmt.Errorf("bind thread %d to CPUs: %w", tid, err)
		}
	}
	return nil
}

// preferProcess puts every thread of a process before those of others; threads that
// it starts later inherit that.
func preferProcess(pid int) error {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, _ := strconv.Atoi(t.Name())
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, -20); err != nil && err != unix.ESRCH {
			return fmt.Errorf("priority of thread %d: %w", tid, err)
		}
	}
	return nil
}

// lastCPU is where measurements run: interrupts and small services prefer the
// first.
func lastCPU() int { return runtime.NumCPU() - 1 }
