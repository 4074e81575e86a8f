package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
	"cohort/testenv/topology"
)

// pollEvery is how often Up and Down look at the keeper.
const pollEvery = 20 * time.Millisecond

// Up starts a keeper, which is the command given here (it must call Keep with
// the same name), and waits until the lab runs. A lab whose cluster did not
// form is an error but stays up. When the context ends first, or the keeper
// dies, what there is of the lab is taken down.
func Up(ctx context.Context, name string, keeper *exec.Cmd) (*State, error) {
	dir, err := makeDir(ctx, name)
	if err != nil {
		return nil, err
	}
	logFile := filepath.Join(dir, "keeper.log")
	log, err := os.Create(logFile)
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", name, err)
	}
	defer log.Close()
	keeper.Stdout, keeper.Stderr = log, log
	keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // outlives this terminal
	if err := keeper.Start(); err != nil {
		return nil, fmt.Errorf("lab %s: keeper: %w", name, err)
	}
	died := make(chan error, 1)
	go func() { died <- keeper.Wait() }()
	s, err := awaitRunning(ctx, name, died)
	if err == nil {
		return s, nil
	}
	if s != nil && s.Keeper.Alive() {
		return s, err // left for inspection
	}
	said, _ := os.ReadFile(logFile)
	err = fmt.Errorf("%w\n%s", err, said)
	keeper.Process.Signal(unix.SIGTERM)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return nil, errors.Join(err, ignoreNoLab(Down(last, name)), os.RemoveAll(dir))
}

// awaitRunning polls the state file until the lab runs or has failed.
func awaitRunning(ctx context.Context, name string, died <-chan error) (*State, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if s, err := Read(name); err == nil {
			switch s.Phase {
			case Running:
				return s, nil
			case Failed:
				return s, fmt.Errorf("lab %s: %s", name, s.Error)
			}
		}
		select {
		case <-tick.C:
		case err := <-died:
			return nil, fmt.Errorf("lab %s: the keeper ended: %w", name, errors.Join(err))
		case <-ctx.Done():
			return nil, fmt.Errorf("lab %s: %w", name, ctx.Err())
		}
	}
}

func ignoreNoLab(err error) error {
	if errors.Is(err, ErrNoLab) {
		return nil
	}
	return err
}

// Down takes a lab away, running or crashed. The keeper has ten seconds, or
// what the context gives, before it is killed.
func Down(ctx context.Context, name string) error {
	s, err := Read(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if s.Keeper.Alive() {
		if err := unix.Kill(s.Keeper.PID, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("lab %s: keeper: %w", name, err)
		}
	}
	endKeeper(ctx, s.Keeper)
	_, err = netns.RemoveGroup(s.Keeper)
	dir, _ := path(name) // Read has checked the name
	return errors.Join(err, topology.Sweep(), os.RemoveAll(dir))
}

// endKeeper waits for the keeper to end and kills it when the context ends.
func endKeeper(ctx context.Context, keeper netns.Tag) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	expired := ctx.Done()
	for keeper.Alive() {
		select {
		case <-tick.C:
		case <-expired:
			unix.Kill(keeper.PID, unix.SIGKILL)
			expired = nil // SIGKILL cannot fail to end it
		}
	}
}
