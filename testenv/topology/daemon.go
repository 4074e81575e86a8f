package topology

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
)

// ErrNoDaemon is returned for a node whose daemon does not run.
var ErrNoDaemon = errors.New("the daemon does not run")

// moduleRoot is the directory above this file's package, where bin/ is; tests
// run from the source tree.
func moduleRoot() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// DefaultDaemon is where `make build` puts cohortd.
func DefaultDaemon() string { return filepath.Join(moduleRoot(), "bin", "cohortd") }

// startDaemon starts cohortd; change is held.
func (n *Node) startDaemon() error {
	if _, err := n.running(); err == nil {
		return fmt.Errorf("node %s: the daemon runs already", n.Name)
	}
	ns := n.Namespace()
	log, err := os.OpenFile(n.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	defer log.Close() // the daemon has its own
	fmt.Fprintf(log, "--- %s start\n", time.Now().Format(time.RFC3339Nano))
	cmd := exec.Command(n.topo.cfg.Daemon, append([]string{"--config", n.bootstrapFile()}, n.topo.cfg.DaemonArgs...)...)
	cmd.Dir = n.Dir
	cmd.Env = append(os.Environ(), n.topo.cfg.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	p, err := ns.Start(cmd)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	n.mu.Lock()
	n.daemon = p
	n.mu.Unlock()
	return nil
}

// running returns the daemon's process, or ErrNoDaemon with how it ended.
func (n *Node) running() (*netns.Process, error) {
	n.mu.Lock()
	p := n.daemon
	n.mu.Unlock()
	if p == nil {
		return nil, fmt.Errorf("node %s: %w", n.Name, ErrNoDaemon)
	}
	select {
	case <-p.Done():
		return nil, fmt.Errorf("node %s: %w: %w", n.Name, ErrNoDaemon, errors.Join(p.Err()))
	default:
		return p, nil
	}
}

// Daemon returns the running daemon's process, or ErrNoDaemon.
func (n *Node) Daemon() (*netns.Process, error) { return n.running() }

// StartDaemon starts the daemon of a node that is on and has none.
func (n *Node) StartDaemon() error {
	n.change.Lock()
	defer n.change.Unlock()
	if !n.On() {
		return fmt.Errorf("node %s: start: it is off", n.Name)
	}
	return n.startDaemon()
}

// KillDaemon is kill -9 of the daemon alone, waited for: interfaces, addresses
// and the programs in the kernel stay.
func (n *Node) KillDaemon() error {
	n.change.Lock()
	defer n.change.Unlock()
	return n.endDaemon(context.Background(), unix.SIGKILL)
}

// TermDaemon asks the daemon to end in order (SIGTERM) and waits for it; when
// the context ends first, it is killed.
func (n *Node) TermDaemon(ctx context.Context) error {
	n.change.Lock()
	defer n.change.Unlock()
	return n.endDaemon(ctx, unix.SIGTERM)
}

func (n *Node) endDaemon(ctx context.Context, sig os.Signal) error {
	p, err := n.running()
	if err != nil {
		return err
	}
	if err := p.Signal(sig); err != nil {
		return err
	}
	// How a daemon ends that was told to is its own affair.
	if err := p.Wait(ctx); ctx.Err() != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	return nil
}

// RestartDaemon kills the daemon and starts a new one at once.
func (n *Node) RestartDaemon() error {
	n.change.Lock()
	defer n.change.Unlock()
	if err := n.endDaemon(context.Background(), unix.SIGKILL); err != nil {
		return err
	}
	return n.startDaemon()
}

// StopDaemon freezes the daemon (SIGSTOP): alive, but it does nothing. When it
// returns every thread has stopped, which takes a moment on a busy machine.
func (n *Node) StopDaemon() error {
	n.change.Lock()
	defer n.change.Unlock()
	p, err := n.running()
	if err != nil {
		return err
	}
	if err := p.Signal(unix.SIGSTOP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := Poll(ctx, func() (bool, error) { return stopped(p.PID()) }); err != nil {
		return fmt.Errorf("node %s: stop the daemon: %w", n.Name, err)
	}
	return nil
}

// stopped reports whether every thread of a process is in state T.
func stopped(pid int) (bool, error) {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		return false, errors.Join(err, ErrNoDaemon)
	}
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		// The state follows the command, which stands in parentheses.
		if end := bytes.LastIndexByte(b, ')'); end < 0 || end+2 >= len(b) || b[end+2] != 'T' {
			return false, nil
		}
	}
	return true, nil
}

// ContDaemon lets a frozen daemon go on.
func (n *Node) ContDaemon() error {
	n.change.Lock()
	defer n.change.Unlock()
	p, err := n.running()
	if err != nil {
		return err
	}
	return p.Signal(unix.SIGCONT)
}

// WaitReady waits until the daemon's control socket answers. A daemon that
// ends instead is an error at once, with the end of its log.
func (n *Node) WaitReady(ctx context.Context) error {
	return Poll(ctx, func() (bool, error) {
		if _, err := n.running(); err != nil {
			return false, fmt.Errorf("%w\n%s", err, n.LogTail(20))
		}
		_, err := n.info(ctx)
		return err == nil, nil
	})
}

// LogTail returns the last lines of the node's log, for messages.
func (n *Node) LogTail(lines int) string {
	b, err := os.ReadFile(n.LogFile)
	if err != nil {
		return err.Error()
	}
	end := len(b)
	for at := end - 1; at >= 0; at-- {
		if b[at] == '\n' && at < end-1 {
			if lines--; lines == 0 {
				return string(b[at+1:])
			}
		}
	}
	return string(b)
}
