package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cohort/api"
)

const poolHelp = `Shows the pools as the node sees them: the blocks of the whole cluster, the
node's own part, and who has how many blocks of each address. With the name of
a pool, every block too.

A block is a range of ports of one address, or a whole address of a pool of
type addresses. One node at a time may allocate from it, its holder:

  held    some of its ports are in use or wait until they may be used again
  idle    no port is in use: any node that runs short can have it
  leased  held by another node than the one that should have it
  frozen  its holder is gone; nobody allocates from it until it is safe
  limbo   on its way to another node

USE says how many of the ports that the node has, or can still lease, are in
use; the alarm is raised at 80 and at 95 %. A dash is what the node does not
know of others.`

// namedPool is a pool with its blocks, as JSON shows it.
type namedPool struct {
	api.NATPool
	Ranges []api.NATBlock `json:"ranges"`
}

func showPools(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "pool [NAME]", Short: "Pools of public addresses, their use and who has their blocks", Long: poolHelp,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("%s takes one name; write %s %s", c.CommandPath(), c.CommandPath(), args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			defer client.Close()
			pools, err := client.NATPools(c.Context())
			if err != nil {
				return err
			}
			if len(args) == 0 {
				if o.format == "json" {
					return printJSON(o.out, pools)
				}
				return printPools(o.out, pools)
			}
			i := slices.IndexFunc(pools, func(p api.NATPool) bool { return p.Name == args[0] })
			if i < 0 {
				return fmt.Errorf("there is no pool %q; there are: %s", args[0], poolNames(pools))
			}
			blocks, err := client.NATBlocks(c.Context(), args[0])
			if err != nil {
				return err
			}
			if o.format == "json" {
				return printJSON(o.out, []namedPool{{pools[i], blocks}})
			}
			if err := printPools(o.out, pools[i:i+1]); err != nil {
				return err
			}
			return printBlocks(o.out, blocks)
		},
	}
}

func poolNames(pools []api.NATPool) string {
	var names []string
	for i := range pools {
		names = append(names, pools[i].Name)
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ", ")
}

// printPools prints three tables: the pools in the cluster, in this node, and
// by address and node.
func printPools(w io.Writer, pools []api.NATPool) error {
	cluster := newTable("POOL", "TYPE", ">BLOCK SIZE", ">BLOCKS", ">HELD", ">FREE", ">FROZEN", ">LIMBO", ">USE", "ALARM")
	here := newTable("THIS NODE", ">HELD", ">FREE", ">PORTS", ">USED", ">XLATES", ">LEASED IN", ">LEASED OUT", "REFUSED")
	nodes := newTable("POOL", "ADDRESS", "NODE", ">BLOCKS", ">USED", ">FREE", ">FROZEN")
	for i := range pools {
		p, h := &pools[i], &pools[i].Here
		alarm, blockSize := "", ""
		if p.Alarm > 0 {
			alarm = fmt.Sprintf("%d%%", p.Alarm)
		}
		if p.BlockSize > 0 {
			blockSize = fmt.Sprint(p.BlockSize)
		}
		cluster.row(p.Name, p.Type, blockSize, thousands(p.Blocks.Total), thousands(p.Blocks.Held), thousands(p.Blocks.Free),
			thousands(p.Blocks.Frozen), thousands(p.Blocks.Limbo), fmt.Sprintf("%d%%", p.Use), alarm)
		here.row(p.Name, thousands(h.Held), thousands(h.Free), thousands(h.Ports), thousands(h.PortsUsed), thousands(h.Xlates),
			thousands(h.LeasesIn), thousands(h.LeasesOut), refusals(h.Refused))
		for _, a := range p.Addresses {
			for _, n := range a.Nodes {
				nodes.row(p.Name, a.Address.String(), n.Node, thousands(n.Blocks), known(n.Used), known(n.Free), thousands(n.Frozen))
			}
		}
	}
	for _, t := range []*table{cluster, here, nodes} {
		if t != cluster {
			fmt.Fprintln(w)
		}
		if err := t.print(w); err != nil {
			return err
		}
		if t == cluster {
			printFrozen(w, pools)
		}
	}
	return nil
}

// printFrozen says of each pool why blocks are frozen.
func printFrozen(w io.Writer, pools []api.NATPool) {
	for i := range pools {
		p := &pools[i]
		if p.Blocks.Frozen == 0 || p.Why == "" {
			continue
		}
		fmt.Fprintf(w, "\n%s: %s frozen, because %s.", p.Name, thousands(p.Blocks.Frozen), p.Why)
		if len(p.WaitsFor) > 0 {
			fmt.Fprint(w, " Bring back who is missing; of one that is gone for good, say: cohort forget NODE")
		}
		fmt.Fprintln(w)
	}
}

func printBlocks(w io.Writer, blocks []api.NATBlock) error {
	fmt.Fprintln(w)
	t := newTable("ADDRESS", "PORTS", "HOLDER", "BACKUP", "TARGET", ">USES", "STATE")
	for i := range blocks {
		b := &blocks[i]
		ports := fmt.Sprintf("%d-%d", b.First, b.Last)
		if b.First == 0 {
			ports = "all"
		}
		t.row(b.Address.String(), ports, b.Holder, b.Backup, b.Target, known(b.Uses), b.State)
	}
	return t.print(w)
}

// refusals prints the reasons that occurred.
func refusals(list []api.NATRefusal) string {
	var out []string
	for _, r := range list {
		if r.Count > 0 {
			out = append(out, thousands(r.Count)+" "+r.Reason)
		}
	}
	return strings.Join(out, ", ")
}

// known prints a number that is -1 where the node does not know.
func known(n int) string {
	if n < 0 {
		return ""
	}
	return thousands(n)
}
