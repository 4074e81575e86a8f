package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cohort/api"
)

const connHelp = `Shows the connections that the node holds an entry for, each with the node's
roles as letters:

  O   owner
  OD  owner, and its own director: the backup is the next in the order
  DB  director that keeps the connection's state as backup owner
  D   director that knows the owner only (durability none)
  B   backup owner beside a director that owns the connection
  F   forwarder: sends such packets to the owner
  S   stub: knows the connection by its translated addresses only, and its owner

DELEGATION names the nodes that forward packets of the connection by themselves
for its owner (to), or the owner for whom this node does (from), for how long yet.

An end that NAT changes is shown twice, a->b: as the initiator sees it and as
the responder does.

Filters must all hold. A forwarder knows one direction: its source is the
sender of the packets that it forwards.`

// defaultLimit keeps a table within what a person can read.
const defaultLimit = 1000

// connFlags are the filters as they are typed.
type connFlags struct {
	address, port, protocol, role string
	limit                         int
}

// add adds the flags to a command; sides says whose addresses and ports count.
func (f *connFlags) add(c *cobra.Command, sides string) {
	c.Flags().StringVar(&f.address, "address", "", "address or network of "+sides)
	c.Flags().StringVar(&f.port, "port", "", "port of "+sides)
	c.Flags().StringVar(&f.protocol, "protocol", "", "tcp, udp, icmp or a number")
	c.Flags().StringVar(&f.role, "role", "", "owner, director, backup, forwarder or stub (or its letter)")
	c.Flags().IntVar(&f.limit, "limit", defaultLimit, "show at most so many, 0 = all; json shows all unless this is given")
}

// filter checks the flags.
func (f *connFlags) filter() (out api.ConnFilter, err error) {
	if f.address != "" {
		if out.Address, err = api.ParseNetwork(f.address); err != nil {
			return out, err
		}
	}
	if f.port != "" {
		if out.Port, err = api.ParsePort(f.port); err != nil {
			return out, err
		}
	}
	if f.protocol != "" {
		if out.Protocol, err = api.ParseProtocol(f.protocol); err != nil {
			return out, err
		}
	}
	if f.role != "" {
		if out.Role, err = api.ParseRole(f.role); err != nil {
			return out, err
		}
	}
	if f.limit < 0 {
		return out, fmt.Errorf("limit %d is negative; write --limit 0 for all", f.limit)
	}
	return out, nil
}

// most is the limit that applies: programs want all.
func (f *connFlags) most(c *cobra.Command, o *options) int {
	if o.format == "json" && !c.Flags().Changed("limit") {
		return 0
	}
	return f.limit
}

func showConn(o *options) *cobra.Command {
	var f connFlags
	var count bool
	c := &cobra.Command{
		Use: "conn", Short: "Connections with the node's role for each", Long: connHelp, Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			filter, err := f.filter()
			if err != nil {
				return err
			}
			client, err := o.client()
			if err != nil {
				return err
			}
			defer client.Close()
			if count {
				return printCount(c.Context(), client, o, filter)
			}
			return stream(c.Context(), o, client.Conns, filter, f.most(c, o), connHeads, connRow)
		},
	}
	f.add(c, "either side, translated or not")
	c.Flags().BoolVar(&count, "count", false, "only count them, by role")
	return c
}

func printCount(ctx context.Context, client *api.Client, o *options, filter api.ConnFilter) error {
	n, err := client.CountConns(ctx, filter)
	if err != nil {
		return err
	}
	if o.format == "json" {
		return printJSON(o.out, n)
	}
	t := newTable("ROLE", ">CONNECTIONS")
	t.row("owner", thousands(n.Owner))
	t.row("director", thousands(n.Director))
	t.row("backup", thousands(n.Backup))
	t.row("forwarder", thousands(n.Forwarder))
	t.row("stub", thousands(n.Stub))
	t.row("any", thousands(n.Total))
	return t.print(o.out)
}

var connHeads = []string{"ROLE", "PROTO", "SOURCE", "DESTINATION", "OWNER", "BACKUP", "STATE", ">IDLE", ">AGE", ">PACKETS", ">BYTES", "RULE", ">GEN", "DELEGATION"}

func connRow(c *api.Conn) []string {
	age := ""
	if c.Roles.Has(api.Owner) {
		age = ago(c.AgeMS)
	}
	return []string{
		string(c.Roles), c.Protocol, place(c.Source, c.MappedSource, c.In), place(c.Destination, c.MappedDestination, c.Out), c.Owner, c.Backup, c.State,
		ago(c.IdleMS), age, thousands(c.Packets[0] + c.Packets[1]), size(c.Bytes[0] + c.Bytes[1]), c.Rule, fmt.Sprint(c.Gen), delegation(c),
	}
}

// delegation says to which nodes an owner has lent the connection, or of whom a
// forwarder has it, and for how long yet.
func delegation(c *api.Conn) string {
	if d := c.DelegatedFrom; d != nil {
		if d.EndsInMS == 0 {
			return "from " + d.Node + ", over"
		}
		return "from " + d.Node + ", lease ends in " + ago(d.EndsInMS)
	}
	var to []string
	for _, d := range c.LentTo {
		if d.EndsInMS > 0 && !slices.Contains(to, d.Node) {
			to = append(to, d.Node)
		}
	}
	if len(to) == 0 {
		return ""
	}
	slices.Sort(to)
	return "to " + strings.Join(to, ", ")
}

// place prints an end of a connection with its interface and what NAT makes of
// it.
func place(a, mapped netip.AddrPort, iface string) string {
	s := a.String()
	if iface != "" {
		s = iface + ":" + s
	}
	if mapped.IsValid() {
		s += "->" + mapped.String()
	}
	return s
}
