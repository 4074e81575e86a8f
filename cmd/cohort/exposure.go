package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"cohort/api"
)

// showExposure shows what the cluster would lose with each node (MG9).
func showExposure(o *options) *cobra.Command {
	return ask(o, "exposure", "Connections without a confirmed backup, and what is lost if a node dies now", (*api.Client).Exposure, func(w io.Writer, e api.Exposure) error {
		t := newTable("NODE", ">OWNED", ">NO COPY", ">ASYNC", ">SYNC", ">BEHIND", ">LAG", ">P50", ">P99", ">SAID")
		for i := range e.Nodes {
			n := &e.Nodes[i]
			if n.AgeMS < 0 {
				t.row(n.Node, "", "", "", "", "", "", "", "", "not yet")
				continue
			}
			t.row(n.Node, thousands(n.Owned), thousands(n.NoCopy), thousands(n.Async), thousands(n.Sync), thousands(n.Behind),
				lag(n.LagMS), lag(n.P50MS), lag(n.P99MS), ago(n.AgeMS))
		}
		if err := t.print(w); err != nil {
			return err
		}
		fmt.Fprintln(w)
		t = newTable("IF IT DIES NOW", ">LOST", ">MOVE", "WHO HAS THEIR STATE", ">COPIES LOST")
		for i := range e.Nodes {
			n := &e.Nodes[i]
			lost, moves := thousands(n.IfDies.Lost), thousands(n.IfDies.Moves)
			if n.AgeMS < 0 {
				lost, moves = "", ""
			}
			var to []string
			for _, h := range n.IfDies.To {
				to = append(to, h.Node+" "+thousands(h.Connections))
			}
			t.row(n.Node, lost, moves, strings.Join(to, ", "), thousands(n.IfDies.CopiesLost))
		}
		if err := t.print(w); err != nil {
			return err
		}
		fmt.Fprintf(w, "\nUpdates from %s\n", e.Self)
		t = newTable("TO", ">QUEUED", ">LAG", ">P50", ">P99", ">IN A MINUTE")
		for _, p := range e.Peers {
			t.row(p.Peer, thousands(p.Queued), lag(p.LagMS), lag(p.P50MS), lag(p.P99MS), thousands(p.Count))
		}
		return t.print(w)
	})
}

// lag prints a short time in ms, empty for none.
func lag(ms float64) string {
	switch {
	case ms == 0:
		return ""
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 2, 64) + "ms"
	}
	return ago(int64(ms))
}
