package main

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"cohort/testenv/demo"
)

func newDemo(out io.Writer) *cobra.Command {
	cfg := demo.Config{Out: out}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Play the main job: real programs through a cluster that loses a node",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := findDaemon(&cfg.Daemon); err != nil {
				return err
			}
			return demo.Run(c.Context(), cfg)
		},
	}
	c.Flags().IntVar(&cfg.Nodes, "nodes", 4, "nodes of the cluster, 2-16")
	c.Flags().DurationVar(&cfg.Hold, "hold-time", time.Second, "silence after which a node counts as dead")
	c.Flags().IntVar(&cfg.Idle, "connections", 2000, "mostly idle TCP connections")
	c.Flags().Int64Var(&cfg.Bytes, "bytes", 200e6, "size of the download")
	c.Flags().StringVar(&cfg.Daemon, "daemon", "", "cohortd to run (default: the one beside this program)")
	return c
}
