package campaign

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
)

// Detection says when the survivors applied the view without a dead node.
type Detection struct {
	First, Last time.Time // of the nodes, from their histories
	Views       int       // changes of view of the node with most, 1 without disturbance
}

// Detect waits until every node but the victim has applied a view without it,
// later than since.
func Detect(ctx context.Context, top *topology.Topology, victim *topology.Node, since time.Time) (d Detection, err error) {
	for _, n := range top.Nodes {
		if n == victim || !n.On() {
			continue
		}
		if err := topology.Poll(ctx, func() (bool, error) { return without(ctx, n, victim) }); err != nil {
			return d, fmt.Errorf("node %s keeps %s in its view: %w", n.Name, victim.Name, err)
		}
		events, err := n.API().History(ctx)
		if err != nil {
			return d, err
		}
		at, views := applied(events, since)
		if views == 0 {
			return d, fmt.Errorf("node %s: no view in its history since %v: %+v", n.Name, since, events)
		}
		if d.First.IsZero() || at.Before(d.First) {
			d.First = at
		}
		if at.After(d.Last) {
			d.Last = at
		}
		d.Views = max(d.Views, views)
	}
	return d, nil
}

// without reports whether the node's view lacks the victim.
func without(ctx context.Context, n, victim *topology.Node) (bool, error) {
	info, err := n.API().Info(ctx)
	if err != nil {
		return false, err
	}
	for _, m := range info.Members {
		if m.Name == victim.Name {
			return false, nil
		}
	}
	return len(info.Members) > 0, nil
}

// applied returns when the first view after since was applied, and how many
// there were.
func applied(events []api.Event, since time.Time) (first time.Time, views int) {
	for _, e := range events {
		if e.Time.Before(since) || !strings.HasPrefix(e.Cause, "view ") {
			continue
		}
		if views++; views == 1 {
			first = e.Time
		}
	}
	return first, views
}
