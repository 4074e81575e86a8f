package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cohort/api"
)

// socketDir holds the sockets of this machine's nodes by default.
const socketDir = "/run/cohort"

// options are the flags that several commands share.
type options struct {
	out    io.Writer
	socket string
	format string // table or json
}

// newRoot returns the whole command tree; it writes answers to out.
func newRoot(out io.Writer) *cobra.Command {
	o := &options{out: out}
	root := &cobra.Command{
		Use:           "cohort",
		Short:         "Shows and changes the nodes of a Cohort cluster",
		SilenceErrors: true, // main prints them, once
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetOut(out)
	root.PersistentFlags().StringVar(&o.socket, "socket", "", "control socket of the node (default: the only one in "+socketDir+")")
	root.CompletionOptions.HiddenDefaultCmd = true

	show := group("show", "Show a node's state")
	show.PersistentFlags().StringVarP(&o.format, "output", "o", "table", "table or json")
	show.PersistentPreRunE = func(*cobra.Command, []string) error {
		if o.format != "table" && o.format != "json" {
			return fmt.Errorf("output %q is not known; write -o table or -o json", o.format)
		}
		return nil
	}
	cluster := group("cluster", "Show the cluster as the node sees it")
	cluster.AddCommand(showInfo(o), showHistory(o), showHealth(o), showExposure(o), showPackets(o))
	nat := group("nat", "Show address translation")
	nat.AddCommand(showPools(o))
	show.AddCommand(cluster, showConn(o), nat, showXlate(o), showCounters(o), showDrops(o), showInterfaces(o))
	root.AddCommand(commands(o)...)
	root.AddCommand(show, reload(o), forget(o), keygen(o), checkConfig(o))
	return root
}

// group returns a command that only holds others.
func group(name, short string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var names []string
			for _, sub := range c.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, sub.Name())
				}
			}
			return fmt.Errorf("%s what? %s", strings.TrimPrefix(c.CommandPath(), "cohort "), strings.Join(names, ", "))
		},
	}
}

// noArgs refuses words that are not a command, and guesses which was meant.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !c.HasSubCommands() {
		return fmt.Errorf("%s takes no argument %q", c.CommandPath(), args[0])
	}
	c.SuggestionsMinimumDistance = 2
	if meant := c.SuggestionsFor(args[0]); len(meant) > 0 {
		return fmt.Errorf("unknown command %q for %s; did you mean %s?", args[0], c.CommandPath(), strings.Join(meant, " or "))
	}
	return fmt.Errorf("unknown command %q for %s; see %s --help", args[0], c.CommandPath(), c.CommandPath())
}

// client returns the client for the socket that was asked for.
func (o *options) client() (*api.Client, error) {
	socket, err := o.findSocket(socketDir)
	if err != nil {
		return nil, err
	}
	return api.NewClient(socket), nil
}

// findSocket returns --socket or the only socket in dir.
func (o *options) findSocket(dir string) (string, error) {
	if o.socket != "" {
		return o.socket, nil
	}
	if s := os.Getenv("COHORT_SOCKET"); s != "" {
		return s, nil
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.sock"))
	switch {
	case err != nil:
		return "", fmt.Errorf("look for a socket: %w", err)
	case len(found) == 0:
		return "", fmt.Errorf("there is no socket in %s: is cohortd running? (--socket names another place)", dir)
	case len(found) > 1:
		return "", fmt.Errorf("several nodes run here; choose one with --socket: %s", strings.Join(found, ", "))
	}
	return found[0], nil
}
