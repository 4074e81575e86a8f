package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"cohort/api"
)

// share is one way of packets through this node.
type share struct {
	Name    string `json:"name"`
	Packets uint64 `json:"packets"`
	Meaning string `json:"meaning"`
	of      []string
}

// shares are the ways of packets that the fast path and Go forward (MG1). What came
// over the control link is not part of what has entered here.
func shares() []share {
	return []share{
		{"local", 0, "entered here and sent on by this node as the owner", []string{"forward_owner"}},
		{"delegated", 0, "entered here and sent on by this node for the owner, by a delegation", []string{"forward_delegated"}},
		{"forwarded", 0, "sent to another node over the control link", []string{"forward_ccl", "forward_steered", "forward_relayed"}},
		{"received", 0, "sent on by this node as the owner, after another one had forwarded them", []string{"forward_owner_ccl"}},
		{"queried", 0, "questions to directors: who owns this connection?", []string{"queries_sent"}},
		{"by Go", 0, "sent by Go, as any of the above: first packets, and what is unusual", []string{"slow_sent"}},
	}
}

// showPackets shows how packets went through the node.
func showPackets(o *options) *cobra.Command {
	question := func(c *api.Client, ctx context.Context) ([]share, error) {
		list, err := c.Counters(ctx)
		return distribution(list), err
	}
	return ask(o, "packet-distribution", "Packets by their way through this node", question, func(w io.Writer, list []share) error {
		all := uint64(0)
		for _, s := range list[:3] {
			all += s.Packets
		}
		t := newTable("WAY", ">PACKETS", ">SHARE", "MEANING")
		for i, s := range list {
			part := ""
			if i < 3 && all > 0 {
				part = fmt.Sprintf("%.1f %%", 100*float64(s.Packets)/float64(all))
			}
			t.row(s.Name, thousands(s.Packets), part, s.Meaning)
		}
		return t.print(w)
	})
}

func distribution(list []api.Counter) []share {
	by := map[string]uint64{}
	for _, c := range list {
		by[c.Name] = c.Value
	}
	out := shares()
	for i := range out {
		for _, name := range out[i].of {
			out[i].Packets += by[name]
		}
	}
	return out
}
