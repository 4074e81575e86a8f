package main

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"cohort/config"
)

// keygen makes a cluster key. It never replaces one.
func keygen(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "keygen FILE", Short: "Make a cluster key; copy it to every node",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("keygen needs one file; write cohort keygen /etc/cohort/cluster.key")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := config.WriteKey(args[0], rand.Reader); err != nil {
				return err
			}
			_, err := fmt.Fprintf(o.out, "%s: a new cluster key; copy it to every node over a safe channel\n", args[0])
			return err
		},
	}
}

// checkConfig reads files as a daemon would.
func checkConfig(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "check-config FILE...", Short: "Check bootstrap files and cluster configurations",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("check-config needs a file; write cohort check-config /etc/cohort/node.yaml")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			bad := 0
			for _, path := range args {
				kind, err := config.Check(path)
				if err != nil {
					bad++
					fmt.Fprintln(o.out, err)
					continue
				}
				fmt.Fprintf(o.out, "%s: %s, good\n", path, kind)
			}
			if bad > 0 {
				return fmt.Errorf("%d of %d files cannot be used", bad, len(args))
			}
			return nil
		},
	}
}
