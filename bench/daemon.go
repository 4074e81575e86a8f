package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"

	"go.uber.org/zap"

	"cohort/node"
)

// Environment of this program when it is to be the daemon of a node: what
// cohortd is, and a profile besides.
const (
	envDaemon  = "COHORT_BENCH_DAEMON"
	envProfile = "COHORT_BENCH_PROFILE" // directory; empty = none
)

// isDaemon reports whether this process was started as the daemon of a node.
func isDaemon() bool { return os.Getenv(envDaemon) != "" }

// runDaemon is cohortd. The benchmarks run this instead of bin/cohortd, so that
// they can never measure an old build.
func runDaemon(args []string) error {
	set := flag.NewFlagSet("daemon", flag.ContinueOnError)
	path := set.String("config", "", "bootstrap file")
	if err := set.Parse(args); err != nil {
		return err
	}
	cfg, err := node.Load(*path)
	if err != nil {
		return err
	}
	if cfg.Log, err = zap.NewProduction(); err != nil {
		return err
	}
	cfg.OwnProcess = true
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if dir := os.Getenv(envProfile); dir != "" {
		end, err := startProfile(filepath.Join(dir, cfg.Bootstrap.Name))
		if err != nil {
			return err
		}
		defer end()
	}
	w, stopWatch, err := startWatch(cfg.Bootstrap.ControlSocket)
	if err != nil {
		return err
	}
	defer stopWatch()
	if w != nil {
		cfg.Watch = w
	}
	n, err := node.New(cfg)
	if err != nil {
		return err
	}
	if err := n.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func startProfile(name string) (end func(), err error) {
	f, err := os.Create(name + ".cpu.pprof")
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("profile: %w", err)
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}
