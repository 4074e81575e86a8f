package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"cohort/config"
)

// keygen makes a cluster key, which never replaces one, or takes one step of
// its change.
func keygen(o *options) *cobra.Command {
	var add, use, drop bool
	cmd := &cobra.Command{
		Use: "keygen FILE", Short: "Make a cluster key; copy it to every node",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("keygen needs one file; write cohort keygen /etc/cohort/cluster.key")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case add:
				keys, err := config.AddKey(args[0], rand.Reader)
				return changed(o, args[0], keys, err)
			case use:
				keys, err := config.UseKey(args[0])
				return changed(o, args[0], keys, err)
			case drop:
				keys, err := config.DropKey(args[0])
				return changed(o, args[0], keys, err)
			}
			err := config.WriteKey(args[0], rand.Reader)
			if errors.Is(err, os.ErrExist) {
				return fmt.Errorf("%w and is kept; to change the key begin with cohort keygen --add %s", err, args[0])
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(o.out, "%s: a new cluster key; copy it to every node over a safe channel\n", args[0])
			return err
		},
	}
	cmd.Flags().BoolVar(&add, "add", false, "add a new key to the file, for a change")
	cmd.Flags().BoolVar(&use, "use", false, "seal with the file's other key")
	cmd.Flags().BoolVar(&drop, "drop", false, "remove the key that does not seal")
	cmd.MarkFlagsMutuallyExclusive("add", "use", "drop")
	return cmd
}

// changed says what a key file holds after a step.
func changed(o *options, path string, keys config.Keys, err error) error {
	if err != nil {
		return err
	}
	ids := keys.IDs()
	_, err = fmt.Fprintf(o.out, "%s: seals with key %s, opens %s; copy it to every node, then cohort reload on each\n", path, ids[0], strings.Join(ids, " and "))
	return err
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
