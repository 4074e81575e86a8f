package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cohort/testenv/lab"
	"cohort/testenv/topology"
)

// shape is what a person may choose about a lab.
type shape struct {
	cfg        topology.Config
	forwarders bool
	wait       time.Duration
}

// flags are the same for up and for the keeper that up starts.
func (s *shape) flags(f *pflag.FlagSet) {
	f.IntVar(&s.cfg.Nodes, "nodes", 4, "nodes of the cluster, 1-16")
	f.IntVar(&s.cfg.Clients, "clients", 1, "clients, 1-16")
	f.IntVar(&s.cfg.Servers, "servers", 1, "servers, 1-16")
	f.IntVar(&s.cfg.MTU, "mtu", 1500, "MTU of the data interfaces; the cluster link has 154 more, 174 with --ccl-ipv6")
	f.BoolVar(&s.cfg.CCLOverIPv6, "ccl-ipv6", false, "give the cluster link IPv6 addresses, fd00:99::1 and so on")
	f.BoolVar(&s.cfg.Spray, "spray", false, "send every packet through a random node, instead of ECMP")
	f.BoolVar(&s.forwarders, "forwarders", false, "plain Linux routers instead of cluster nodes")
	f.DurationVar(&s.cfg.HoldTime, "hold-time", 3*time.Second, "silence after which a node counts as dead")
	f.StringVar(&s.cfg.Daemon, "daemon", "", "cohortd to run (default: the one beside this program)")
	f.DurationVar(&s.wait, "wait", time.Minute, "how long the cluster may take to form")
}

// config completes the choice.
func (s *shape) config() (topology.Config, error) {
	if s.forwarders {
		s.cfg.Mode = topology.Forwarders
		return s.cfg, nil
	}
	err := findDaemon(&s.cfg.Daemon)
	return s.cfg, err
}

// findDaemon sets an empty path to the cohortd beside this program, and looks
// that there is one.
func findDaemon(path *string) error {
	if *path == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("path of this program: %w", err)
		}
		*path = filepath.Join(filepath.Dir(self), "cohortd")
	}
	if _, err := os.Stat(*path); err != nil {
		return fmt.Errorf("no daemon to run: %w (build it, name it with --daemon, or use --forwarders)", err)
	}
	return nil
}

func up(name *string, out io.Writer) *cobra.Command {
	var s shape
	c := &cobra.Command{
		Use: "up", Short: "Build a lab and wait until its cluster has formed", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := s.config(); err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("path of this program: %w", err)
			}
			// The keeper gets the same flags and reads them the same way.
			args := []string{"keep", "--lab", *name}
			c.Flags().Visit(func(f *pflag.Flag) {
				if f.Name != "lab" {
					args = append(args, "--"+f.Name+"="+f.Value.String())
				}
			})
			// The keeper gives up first, so that it can say why.
			ctx, cancel := context.WithTimeout(c.Context(), s.wait+time.Minute)
			defer cancel()
			state, err := lab.Up(ctx, *name, exec.Command(self, args...))
			if err != nil {
				return err
			}
			return state.WriteStatus(c.Context(), out)
		},
	}
	s.flags(c.Flags())
	return c
}

// keep is the process that up leaves behind.
func keep(name *string) *cobra.Command {
	var s shape
	c := &cobra.Command{
		Use: "keep", Short: "Hold a lab until terminated (what up starts)", Args: cobra.NoArgs, Hidden: true,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := s.config()
			if err != nil {
				return err
			}
			return lab.Keep(c.Context(), *name, cfg, s.wait)
		},
	}
	s.flags(c.Flags())
	return c
}
