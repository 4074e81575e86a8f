package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"cohort/api"
)

const xlateHelp = `Shows the translations that the node holds, each with the node's roles as
letters (see show conn --help).

A connection's is for one remote side. A mapping is for all of them, and its
connections are listed besides: it comes from a rule with
mapping: endpoint-independent, or of type dynamic.

Filters must all hold.`

func showXlate(o *options) *cobra.Command {
	var f connFlags
	var filter api.XlateFilter
	c := &cobra.Command{
		Use: "xlate", Short: "Translations with the node's role for each", Long: xlateHelp, Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if filter.ConnFilter, err = f.filter(); err != nil {
				return err
			}
			client, err := o.client()
			if err != nil {
				return err
			}
			defer client.Close()
			return stream(c.Context(), o, client.Xlates, filter, f.most(c, o), xlateHeads, xlateRow)
		},
	}
	f.add(c, "any side, translated or not")
	c.Flags().StringVar(&filter.Pool, "pool", "", "name of a pool")
	c.Flags().BoolVar(&filter.Local, "local", false, "those only that the node owns, without copies and stubs for others")
	return c
}

var xlateHeads = []string{"TYPE", "ROLE", "PROTO", "REAL", "MAPPED", "REMOTE", "OWNER", "POOL", "RULE", ">IDLE", ">AGE", ">GEN"}

func xlateRow(x *api.Xlate) []string {
	age, remote := "", "any"
	if x.Roles.Has(api.Owner) {
		age = ago(x.AgeMS)
	}
	if x.Remote.IsValid() {
		remote = x.Remote.String()
	}
	return []string{
		x.Type, string(x.Roles), x.Protocol, translated(x.Real), translated(x.Mapped), remote, x.Owner, x.Pool, x.Rule,
		ago(x.IdleMS), age, fmt.Sprint(x.Gen),
	}
}

// translated prints an end without a port that translation does not touch.
func translated(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}
