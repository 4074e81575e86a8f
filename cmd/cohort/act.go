package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"cohort/api"
)

// verb is a command of EL10.
type verb struct {
	name, short, long string
	warns             string // what is lost, asked about first
	types             string // what has to be typed: the node, or the cluster; "" = y
	done              string // what is said when the effect is there
}

// The meaning of verbs that end in the same state.
const (
	staysOut = "Its data interfaces answer nothing, management works. It comes back with cohort join or cohort enable"
	keeps    = "It loses its connections; the others go on with those that have a copy elsewhere."
	gives    = "It gives its connections to the others first."
)

var verbs = []verb{
	{
		name: api.VerbCreate, short: "Found a new cluster with this node as its control node",
		long: "Lets a node that is out found a cluster. It does not wait for configured peers\nthat say nothing; one that answers and is better founds it instead, and a cluster\nthat exists is joined.",
		done: "SELF is in sync, the control node is CONTROL",
	},
	{
		name: api.VerbJoin, short: "Let this node join its cluster",
		long: "Lets a node that is out, or waits for its next attempt, look for its cluster at\nonce. It founds none: it waits until there is one.",
		done: "SELF is in sync, the control node is CONTROL",
	},
	{
		name: api.VerbEnable, short: "Start clustering on this node again",
		long: "Lets a node that is out look for its cluster as it does after a start: it joins\none that exists, or takes part in an election.",
		done: "SELF is in sync, the control node is CONTROL",
	},
	{
		name: api.VerbDrain, short: "Move a node's connections to the others, then take it out of the cluster",
		long:  "This node, or NODE, begins no new connections, gives those that it has to the\nothers, and leaves when it has none: after five minutes all the same. It is\ndisabled then, as with cohort disable there. It is said once, to any member.",
		warns: "NODE leaves the cluster, also after a restart. " + gives, done: "NODE is out; cohort enable or cohort join there bring it back",
	},
	{
		name: api.VerbLeave, short: "Take this node out of the cluster until its daemon starts again",
		long:  "The node gives its connections to the others, and leaves when it has none: after\n30 seconds all the same.\n" + staysOut + ",\nor when its daemon starts again.",
		warns: "SELF leaves the cluster. " + gives, done: "SELF is out until it is told to join, or its daemon starts again",
	},
	{
		name: api.VerbDisable, short: "Take this node out of the cluster, and keep it out",
		long:  "The node gives its connections to the others, leaves when it has none, or after\n30 seconds, and keeps its configuration.\n" + staysOut + "\nonly: a restart does not change it.",
		warns: "SELF leaves the cluster, also after a restart. " + gives, done: "SELF is disabled; cohort enable or cohort join bring it back",
	},
	{
		name: api.VerbBreak, short: "End the cluster: disable all its nodes",
		long:  "Every node of the cluster is disabled: nothing is forwarded any more. It is said\nonce, to any member.",
		warns: "All nodes of the cluster are disabled. Nothing is forwarded any more; all connections are lost.", types: "cluster",
		done: "the cluster is no more; cohort enable on each node, or cohort create on one and cohort join on the others, make a new one",
	},
	{
		name: api.VerbRemove, short: "Take another node out of the cluster, and keep it out",
		long:  "The node NODE is told to leave, and is disabled, as with cohort disable there. It\nis said once, to any member. A node that is silent leaves by itself; see also\ncohort forget.",
		warns: "NODE is taken out of the cluster, and stays out. " + keeps, types: "node", done: "NODE is out; cohort enable or cohort join there bring it back",
	},
	{
		name: api.VerbPromote, short: "Make a node the control node",
		long: "The control role moves to the member NODE, and with it the cluster's addresses.\nNo connection notices. It is said once, to any member.",
		done: "the control node is CONTROL",
	},
}

// commands returns the verbs as commands.
func commands(o *options) (all []*cobra.Command) {
	for i := range verbs {
		all = append(all, verbs[i].command(o))
	}
	return all
}

func (v *verb) command(o *options) *cobra.Command {
	sure := false
	c := &cobra.Command{
		Use: v.name, Short: v.short, Long: v.long, Args: noArgs,
		RunE: func(c *cobra.Command, args []string) error {
			node := ""
			if len(args) > 0 {
				node = args[0]
			}
			client, err := o.client()
			if err != nil {
				return err
			}
			defer client.Close()
			return v.run(c.Context(), client, node, sure, o.out, c.InOrStdin())
		},
	}
	if v.name == api.VerbDrain {
		c.Use, c.Args = c.Use+" [NODE]", cobra.MaximumNArgs(1)
	}
	if api.Remote(v.name) {
		c.Use += " NODE"
		c.Args = func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("%s needs one node; write cohort %[1]s fw-b", v.name)
			}
			return nil
		}
	}
	if v.warns != "" {
		c.Flags().BoolVar(&sure, "yes", false, "do it without being asked")
	}
	return c
}

// run asks if it has to, tells the node, and says what became of it.
func (v *verb) run(ctx context.Context, client *api.Client, node string, sure bool, out io.Writer, in io.Reader) error {
	info, err := client.Info(ctx)
	if err != nil {
		return err
	}
	if v.warns != "" && !sure {
		fmt.Fprintln(out, fill(v.warns, &info, node))
		if err := v.confirm(out, in, info.Cluster, node); err != nil {
			return err
		}
	}
	a, err := client.Act(ctx, v.name, node)
	if err != nil {
		return err
	}
	if a.Unsaved {
		return fmt.Errorf("it is not done yet: %s is %s, but that is not on its disk, and a loss of power would undo it; see the log, and the disk of state_dir", info.Self, a.State)
	}
	if !a.Done && a.Left > 0 {
		return fmt.Errorf("it is not done yet: %s is %s and has %d connections; see cohort show cluster info", info.Self, a.State, a.Left)
	}
	if !a.Done {
		return fmt.Errorf("it is not done yet: %s is %s, the control node is %s; see cohort show cluster history", info.Self, a.State, nobody(a.Control))
	}
	info.Control = a.Control
	if a.Left > 0 {
		fmt.Fprintf(out, "time was over: %d connections had not moved, and are adopted from their copies\n", a.Left)
	}
	_, err = fmt.Fprintln(out, fill(v.done, &info, node))
	return err
}

// fill puts names into a text. A verb that names no node is about the one that is asked.
func fill(text string, i *api.Info, node string) string {
	if node == "" {
		node = i.Self
	}
	return strings.NewReplacer("SELF", i.Self, "CONTROL", nobody(i.Control), "NODE", node).Replace(text)
}

func nobody(name string) string {
	if name == "" {
		return "nobody"
	}
	return name
}

// confirm reads the word that has to be typed.
func (v *verb) confirm(out io.Writer, in io.Reader, cluster, node string) error {
	word := map[string]string{"": "y", "cluster": cluster, "node": node}[v.types]
	fmt.Fprintf(out, "Type %s to go on: ", word)
	line, err := bufio.NewReader(in).ReadString('\n')
	switch typed := strings.TrimSpace(line); {
	case typed == word:
		return nil
	case err != nil && typed == "":
		fmt.Fprintln(out)
		return errors.New("nothing was typed, nothing is done; scripts write cohort " + strings.TrimSpace(v.name+" --yes "+node))
	default:
		return fmt.Errorf("%q is not %s: nothing is done", typed, word)
	}
}
