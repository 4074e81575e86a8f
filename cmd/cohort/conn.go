package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"

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

Filters must all hold. A forwarder knows one direction: its source is the
sender of the packets that it forwards.`

// defaultLimit keeps a table within what a person can read.
const defaultLimit = 1000

// connFlags are the filters as they are typed.
type connFlags struct {
	address, port, protocol, role string
	limit                         int
	count                         bool
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
		out.Role, err = api.ParseRole(f.role)
	}
	return out, err
}

func showConn(o *options) *cobra.Command {
	var f connFlags
	c := &cobra.Command{
		Use: "conn", Short: "Connections with the node's role for each", Long: connHelp, Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			filter, err := f.filter()
			if err != nil {
				return err
			}
			if f.limit < 0 {
				return fmt.Errorf("limit %d is negative; write --limit 0 for all", f.limit)
			}
			limit := f.limit
			if o.format == "json" && !c.Flags().Changed("limit") {
				limit = 0 // programs want all
			}
			client, err := o.client()
			if err != nil {
				return err
			}
			defer client.Close()
			switch {
			case f.count:
				return printCount(c.Context(), client, o, filter)
			case o.format == "json":
				return printConnsJSON(c.Context(), client, o.out, filter, limit)
			}
			return printConns(c.Context(), client, o.out, filter, limit)
		},
	}
	c.Flags().StringVar(&f.address, "address", "", "address or network of either side")
	c.Flags().StringVar(&f.port, "port", "", "port of either side")
	c.Flags().StringVar(&f.protocol, "protocol", "", "tcp, udp, icmp or a number")
	c.Flags().StringVar(&f.role, "role", "", "owner, director, backup or forwarder (or its letter)")
	c.Flags().IntVar(&f.limit, "limit", defaultLimit, "show at most so many, 0 = all; json shows all unless this is given")
	c.Flags().BoolVar(&f.count, "count", false, "only count them, by role")
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
	t.row("any", thousands(n.Total))
	return t.print(o.out)
}

// printConns prints a table a page at a time, so that memory stays bounded;
// columns are aligned within a page.
func printConns(ctx context.Context, client *api.Client, w io.Writer, filter api.ConnFilter, limit int) error {
	const page = 1000
	heads := []string{"ROLE", "PROTO", "SOURCE", "DESTINATION", "OWNER", "BACKUP", "STATE", ">IDLE", ">AGE", ">PACKETS", ">BYTES", "RULE", ">GEN"}
	t := newTable(append([]string(nil), heads...)...)
	end, err := client.Conns(ctx, filter, limit, func(c *api.Conn) error {
		age := ""
		if c.Roles.Has(api.Owner) {
			age = ago(c.AgeMS)
		}
		t.row(string(c.Roles), c.Protocol, place(c.Source, c.In), place(c.Destination, c.Out), c.Owner, c.Backup, c.State, ago(c.IdleMS), age,
			thousands(c.Packets[0]+c.Packets[1]), size(c.Bytes[0]+c.Bytes[1]), c.Rule, fmt.Sprint(c.Gen))
		if len(t.rows) <= page {
			return nil
		}
		err := t.print(w)
		t = newTable(append([]string(nil), heads...)...)
		return err
	})
	if err != nil {
		return err
	}
	if len(t.rows) > 1 || end.Shown == 0 {
		if err := t.print(w); err != nil {
			return err
		}
	}
	if end.More {
		_, err = fmt.Fprintf(w, "there are more than these %s; use filters or --limit 0\n", thousands(end.Shown))
	}
	return err
}

// place prints an end of a connection with its interface.
func place(a netip.AddrPort, iface string) string {
	if iface == "" {
		return a.String()
	}
	return iface + ":" + a.String()
}

// printConnsJSON prints one array, an element a line.
func printConnsJSON(ctx context.Context, client *api.Client, w io.Writer, filter api.ConnFilter, limit int) error {
	separator := "[\n"
	_, err := client.Conns(ctx, filter, limit, func(c *api.Conn) error {
		text, err := json.Marshal(c)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s  %s", separator, text)
		separator = ",\n"
		return err
	})
	if err != nil {
		return err
	}
	tail := "\n]\n"
	if separator == "[\n" {
		tail = "[]\n"
	}
	_, err = io.WriteString(w, tail)
	return err
}
