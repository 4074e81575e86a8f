// Command cohortd is the daemon of one cluster node.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"cohort/ccl/wire"
	"cohort/dataplane"
	"cohort/flowtable"
	"cohort/node"
	"cohort/node/heart"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == heart.Arg {
		os.Exit(heart.Main())
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	path := flag.String("config", "/etc/cohort/node.yaml", "bootstrap `file` of this node")
	debug := flag.Bool("debug", false, "log more")
	xdp := flag.String("xdp", "auto", "XDP `mode`: auto, native or generic")
	slow := flag.Bool("no-fast-path", false, "handle every packet in the daemon (for comparison and debugging)")
	version := flag.Bool("version", false, "print what must be equal in a cluster, and exit")
	flag.Parse()
	if *version {
		fmt.Printf("cohortd %s, control link %d, tables %d\n", node.Version, wire.Version, flowtable.LayoutVersion)
		return nil
	}
	if flag.NArg() > 0 {
		return fmt.Errorf("cohortd: unexpected argument %q", flag.Arg(0))
	}
	mode, ok := map[string]dataplane.Mode{"auto": dataplane.ModeAuto, "native": dataplane.ModeNative, "generic": dataplane.ModeGeneric}[*xdp]
	if !ok {
		return fmt.Errorf("cohortd: --xdp %q; use auto, native or generic", *xdp)
	}
	cfg, err := node.Load(*path)
	if err != nil {
		return err
	}
	cfg.Log, err = logger(*debug)
	if err != nil {
		return err
	}
	cfg.Log = cfg.Log.With(zap.String("node", cfg.Bootstrap.Name))
	cfg.Mode, cfg.SlowPath, cfg.OwnProcess = mode, *slow, true
	cfg.Pulse = []string{"/proc/self/exe", heart.Arg} // this very program, also after an upgrade of the file
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	cfg.Hangup = hangup
	n, err := node.New(cfg)
	if err != nil {
		return err
	}
	if err := n.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func logger(debug bool) (*zap.Logger, error) {
	c := zap.NewProductionConfig()
	c.Encoding = "console"
	c.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	c.DisableCaller, c.DisableStacktrace = true, true
	if debug {
		c.Level.SetLevel(zapcore.DebugLevel)
	}
	return c.Build()
}
