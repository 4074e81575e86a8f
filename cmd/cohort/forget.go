package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"cohort/api"
)

const forgetHelp = `Says that a node is gone, so that the cluster waits for it no longer.

A node that dies, or is cut off, leaves its blocks of translation frozen: nobody
can tell from outside whether it still makes connections from them. They thaw
when it is back, even empty. If it never will be, somebody has to say so.

It is said once, to any member; all others learn it, those that are away at
present too. A node of that name may join later like a new one.

It is a promise: if the node lives all the same, two connections can get the
same public address and port.`

// forget says that a node is over, after the operator has confirmed it.
func forget(o *options) *cobra.Command {
	sure := false
	c := &cobra.Command{
		Use: "forget NODE", Short: "Wait no longer for a node that is gone for good", Long: forgetHelp,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("forget needs one node; write cohort forget fw-d")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			defer client.Close()
			f, err := client.Forgettable(c.Context(), args[0])
			if err != nil {
				return err
			}
			if !sure && !f.Already {
				promise(o.out, &f)
				if err := confirm(o.out, c.InOrStdin(), f.Node); err != nil {
					return err
				}
			}
			if f, err = client.Forget(c.Context(), args[0]); err != nil {
				return err
			}
			return forgotten(o.out, &f)
		},
	}
	c.Flags().BoolVar(&sure, "yes", false, "promise without being asked")
	return c
}

// promise prints what is promised, and for what.
func promise(w io.Writer, f *api.Forgotten) {
	fmt.Fprintf(w, "%s frozen, %s of them last held by %s.\n", blocksAre(f.Frozen), thousands(f.Held), f.Node)
	fmt.Fprintf(w, `By forgetting %[1]s you promise:
  - it is switched off, or has lost all its connections, and makes no new ones anywhere;
  - if it comes back, it comes back empty: after a restart of the machine, or as a new one;
  - no other node lives that only %[1]s had let into the cluster.
Otherwise two connections can get the same public address and port.
`, f.Node)
}

// confirm reads the node's name.
func confirm(w io.Writer, from io.Reader, node string) error {
	fmt.Fprintf(w, "Type %s to go on: ", node)
	line, err := bufio.NewReader(from).ReadString('\n')
	switch typed := strings.TrimSpace(line); {
	case typed == node:
		return nil
	case err != nil && typed == "":
		fmt.Fprintln(w)
		return fmt.Errorf("nothing was typed, nothing is done; scripts write cohort forget --yes %s", node)
	default:
		return fmt.Errorf("%q is not %s: nothing is done", typed, node)
	}
}

// forgotten prints what has been done.
func forgotten(w io.Writer, f *api.Forgotten) error {
	said := f.Node + " is forgotten."
	if f.Already {
		said = f.Node + " was forgotten before."
	}
	switch {
	case len(f.WaitsFor) > 0:
		said += " Blocks stay frozen: " + strings.Join(f.WaitsFor, ", ") + " missing as well."
	case f.Frozen > 0:
		said += " " + thousands(f.Frozen) + " blocks thaw; connections that use them keep their ports."
	}
	if len(f.Unaware) > 0 {
		said += " Not confirmed yet by " + strings.Join(f.Unaware, ", ") + ", who will learn it; nothing thaws before."
	}
	_, err := fmt.Fprintln(w, said)
	return err
}

func blocksAre(n int) string {
	if n == 1 {
		return "1 block of translation is"
	}
	return thousands(n) + " blocks of translation are"
}
