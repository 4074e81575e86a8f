package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cohort/api"
)

// showCounters shows every counter that is not zero.
func showCounters(o *options) *cobra.Command {
	var all bool
	c := ask(o, "counters", "What became of packets, and other events", countersThat(&all, func(api.Counter) bool { return true }), printCounters)
	c.Flags().BoolVar(&all, "all", false, "those at zero too")
	return c
}

// showDrops shows why packets were dropped (MG5).
func showDrops(o *options) *cobra.Command {
	var all bool
	c := ask(o, "drops", "Dropped packets by reason", countersThat(&all, func(n api.Counter) bool { return n.Kind == api.KindDrop }), printDrops)
	c.Flags().BoolVar(&all, "all", false, "reasons at zero too")
	return c
}

// countersThat asks for the counters that are kept, by default only those that
// count something.
func countersThat(all *bool, keep func(api.Counter) bool) func(*api.Client, context.Context) ([]api.Counter, error) {
	return func(c *api.Client, ctx context.Context) ([]api.Counter, error) {
		list, err := c.Counters(ctx)
		return slices.DeleteFunc(list, func(n api.Counter) bool { return !keep(n) || n.Value == 0 && !*all }), err
	}
}

func printCounters(w io.Writer, list []api.Counter) error {
	t := newTable("KIND", "NAME", ">COUNT", "MEANING")
	for _, n := range list {
		t.row(n.Kind, n.Name, thousands(n.Value), n.Description)
	}
	return t.print(w)
}

func printDrops(w io.Writer, list []api.Counter) error {
	t := newTable("REASON", ">PACKETS", "MEANING")
	total := uint64(0)
	for _, n := range list {
		total += n.Value
		t.row(n.Name, thousands(n.Value), n.Description)
	}
	t.row("all", thousands(total), "")
	return t.print(w)
}

func showInterfaces(o *options) *cobra.Command {
	return ask(o, "interfaces", "Data interfaces and the cluster control link", (*api.Client).Interfaces, func(w io.Writer, list []api.Interface) error {
		t := newTable("NAME", "DEVICE", ">TRUST", ">MTU", "UP", "XDP", "ADDRESSES")
		for _, i := range list {
			trust := fmt.Sprint(i.Trust)
			if i.ID == 0 {
				trust = "" // the link takes no part in policy
			}
			var addresses []string
			for _, a := range i.Addresses {
				addresses = append(addresses, a.String())
			}
			t.row(i.Name, i.Device, trust, fmt.Sprint(i.MTU), yes(i.Up), i.XDP, strings.Join(addresses, " "))
		}
		return t.print(w)
	})
}
