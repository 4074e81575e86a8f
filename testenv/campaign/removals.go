package campaign

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
)

// Removals are the members that left the views of some nodes since a moment, by
// those nodes' histories and present views.
type Removals struct {
	First, Last map[string]time.Time // when the first and the last of the nodes heard of it
	By          map[string]int       // of how many nodes
	Why         map[string]string    // in the words of one of them
}

var removed = regexp.MustCompile(`(\S+) (?:removed|is gone)(?: \(([^)]*)\))?`)

// TakeRemovals asks the nodes; all are those that were members.
func TakeRemovals(ctx context.Context, nodes, all []*topology.Node, since time.Time) (*Removals, error) {
	r := &Removals{map[string]time.Time{}, map[string]time.Time{}, map[string]int{}, map[string]string{}}
	for _, n := range nodes {
		events, err := n.API().History(ctx)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", n.Name, err)
		}
		info, err := n.API().Info(ctx)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", n.Name, err)
		}
		r.add(events, missing(info, all), since)
	}
	return r, nil
}

// missing are the nodes that a view lacks.
func missing(info api.Info, all []*topology.Node) (names []string) {
	for _, n := range all {
		if !slices.ContainsFunc(info.Members, func(m api.Member) bool { return m.Name == n.Name }) {
			names = append(names, n.Name)
		}
	}
	return names
}

// add takes one node's history: the first time that each member left counts. A
// new control node's history does not name those that it began without: it is
// missing them since its first view.
func (r *Removals) add(events []api.Event, missing []string, since time.Time) {
	seen := map[string]bool{}
	note := func(name, why string, at time.Time) {
		if seen[name] {
			return
		}
		seen[name] = true
		r.By[name]++
		if first, ok := r.First[name]; !ok || at.Before(first) {
			r.First[name] = at
		}
		if at.After(r.Last[name]) {
			r.Last[name] = at
		}
		if why != "" {
			r.Why[name] = why
		}
	}
	var view time.Time // the first one since then
	for _, e := range events {
		if e.Time.Before(since) || !strings.HasPrefix(e.Cause, "view ") {
			continue
		}
		if view.IsZero() {
			view = e.Time
		}
		for _, m := range removed.FindAllStringSubmatch(e.Cause, -1) {
			note(m[1], m[2], e.Time)
		}
	}
	if view.IsZero() {
		return
	}
	for _, name := range missing {
		note(name, "", view)
	}
}

// All reports whether every one of so many nodes removed all of these.
func (r *Removals) All(names []string, nodes int) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return r.By[name] < nodes })
}

// Others are those who left and are not among the names, sorted.
func (r *Removals) Others(names []string) (others []string) {
	for name := range r.By {
		if !slices.Contains(names, name) {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	return others
}
