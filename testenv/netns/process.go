package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a command running inside a namespace. All methods may be called
// concurrently.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // set before done is closed
}

// Start runs cmd inside the namespace, in a process group of its own, and
// tracks it until it ends. It dies with SIGKILL when the namespace is closed
// or this process dies. Output meant for a pipe is cut two seconds after the
// command ends, should a grandchild hold it open.
func (n *Namespace) Start(cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = 2 * time.Second
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	err := n.Do(func() error {
		if err := cmd.Start(); err != nil {
			return err
		}
		n.mu.Lock()
		n.procs[cmd.Process.Pid] = p
		n.mu.Unlock()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("namespace %s: start %s: %w", n.name, cmd.Path, err)
	}
	go n.reap(p)
	return p, nil
}

// reap waits for the process; Close and Kill wait for reap through p.done.
func (n *Namespace) reap(p *Process) {
	p.err = p.cmd.Wait()
	n.mu.Lock()
	delete(n.procs, p.PID())
	n.mu.Unlock()
	close(p.done)
}

// Run starts cmd and waits for it; the context ends it early.
func (n *Namespace) Run(ctx context.Context, cmd *exec.Cmd) error {
	p, err := n.Start(cmd)
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

// PID returns the process id; after Done it may belong to somebody else.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended and was waited for.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the process ended; nil while it runs.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Wait waits for the end. When the context ends first, the whole process group
// is killed and the context's error returned.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		p.Kill()
		<-p.done
		return fmt.Errorf("%s: %w", p.cmd.Path, ctx.Err())
	}
}

// Signal sends a signal to the process alone. After its end it does nothing.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: signal %v: %w", p.cmd.Path, sig, err)
	}
	return nil
}

// Kill sends SIGKILL to the process group. It does not wait.
func (p *Process) Kill() error {
	select {
	case <-p.done:
		return nil // the pid may be somebody else's by now
	default:
	}
	if err := unix.Kill(-p.PID(), unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%s: kill: %w", p.cmd.Path, err)
	}
	return nil
}

// Kill sends SIGKILL to every process inside, also those that detached
// themselves, and waits for the tracked ones.
func (n *Namespace) Kill() error {
	n.mu.Lock()
	tracked := make([]*Process, 0, len(n.procs))
	for _, p := range n.procs {
		tracked = append(tracked, p)
	}
	n.mu.Unlock()
	var errs []error
	for _, p := range tracked {
		errs = append(errs, p.Kill())
	}
	errs = append(errs, killInside(n.Path()))
	for _, p := range tracked {
		<-p.done
	}
	return errors.Join(errs...)
}

// killInside kills the processes whose namespace is the one mounted at path.
// Several passes, as a dying process may just have forked.
func killInside(path string) error {
	var want unix.Stat_t
	if err := unix.Stat(path, &want); err != nil {
		return nil // nothing is mounted, nobody can be found by it
	}
	for range 20 {
		pids, err := pidsInside(want)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill %d: %w", pid, err)
			}
		}
		runtime.Gosched()
	}
	return nil
}

// pidsInside lists living processes of a namespace, never this one (its main
// thread may be a namespace's thread).
func pidsInside(want unix.Stat_t) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		var got unix.Stat_t
		if unix.Stat("/proc/"+e.Name()+"/ns/net", &got) != nil {
			continue // ended, or a zombie
		}
		if got.Ino == want.Ino && got.Dev == want.Dev {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Exec replaces this process by a command inside the namespace of that name:
// what `cohort-lab exec` does. It returns only on failure.
func Exec(name string, argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := unix.Open(Dir+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("namespace %s: enter: %w", name, err)
	}
	return unix.Exec(path, argv, os.Environ())
}
