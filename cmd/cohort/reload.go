package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"cohort/api"
)

// reload has a node read its cluster configuration again.
func reload(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "reload", Short: "Have the node read its key file, and policy and nat in its cluster configuration, again", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			defer client.Close()
			r, err := client.Reload(c.Context())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(o.out, outcome(r))
			return err
		},
	}
}

func outcome(r api.Reload) string {
	keys := r.Keys
	r.Keys = nil
	switch len(keys) {
	case 0:
	case 1:
		return outcome(r) + "\nthe control link seals and opens with key " + keys[0] + " only"
	default:
		return outcome(r) + "\nthe control link seals with key " + keys[0] + " and opens " + strings.Join(keys, " and ")
	}
	switch r.State {
	case api.ReloadRuns:
		return "configuration " + r.Config + " runs"
	case api.ReloadSame:
		return "configuration " + r.Config + " runs already; nothing else is prepared"
	}
	if len(r.Waiting) == 0 {
		return "configuration " + r.Config + " is prepared, everywhere: it runs as soon as the control node hears so"
	}
	return "configuration " + r.Config + " is prepared; it runs when these have reloaded it too: " + strings.Join(r.Waiting, ", ")
}
