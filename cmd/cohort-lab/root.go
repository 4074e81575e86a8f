package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"cohort/testenv/lab"
	"cohort/testenv/netns"
)

// newRoot returns the whole command tree; it writes answers to out.
func newRoot(out io.Writer) *cobra.Command {
	var name string
	root := &cobra.Command{
		Use:           "cohort-lab",
		Short:         "A cluster with clients, routers and servers on one machine",
		SilenceErrors: true, // main prints them, once
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if os.Geteuid() != 0 {
				return errors.New("network namespaces need root")
			}
			return nil
		},
	}
	root.SetOut(out)
	root.PersistentFlags().StringVar(&name, "lab", "lab", "name of the lab")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(up(&name, out), keep(&name), status(&name, out), newDemo(out), execute(&name), down(&name))
	return root
}

func status(name *string, out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the parts of the lab and the cluster's members", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := lab.Read(*name)
			if err != nil {
				return err
			}
			return s.WriteStatus(c.Context(), out)
		},
	}
}

func execute(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "exec NAME -- COMMAND [ARG...]",
		Short: "Run a command on a node, router, client or server",
		Long: "Run a command on a node (fw-a ...), router (rin, rout), switch (sw), client (c1 ...) or\n" +
			"server (s1 ...). On a node, cohort finds the node's daemon by itself.",
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := lab.Read(*name)
			if err != nil {
				return err
			}
			ns, err := s.Namespace(args[0])
			if err != nil {
				return err
			}
			if err := childEnv(s.Socket(args[0])); err != nil {
				return err
			}
			return netns.Exec(ns, args[1:])
		},
	}
}

// childEnv puts our own directory first in the path, and names the socket.
func childEnv(socket string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("path of this program: %w", err)
	}
	err = os.Setenv("PATH", filepath.Dir(self)+":"+os.Getenv("PATH"))
	if socket != "" {
		err = errors.Join(err, os.Setenv("COHORT_SOCKET", socket))
	}
	return err
}

func down(name *string) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Remove the lab, also after a crash", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return lab.Down(c.Context(), *name) },
	}
}
