package main

import (
	"fmt"
	"io"
	"strings"
)

// printTiers shows what a cluster takes, and then one load after the other.
func (r *Report) printTiers(w io.Writer) {
	if len(r.Tiers) == 0 {
		return
	}
	fmt.Fprintln(w, "\nof the sum of all nodes' capacities, by tiers and forwarding\tconnections\tdelivered whole (99 %)\tmodel\tmost, whatever is lost\t")
	for _, x := range r.Tiers {
		fmt.Fprintf(w, "%s\t%d\t%.2f\t%.2f\t%.2f\t\n", x.name(), x.Connections, x.Usable, x.Model, x.Most)
	}
	fmt.Fprintln(w, "\nnodes of unequal capacity\tload\tdelivered\tthroughput\tcrossings a request\tcapacity used, by node\trefused for lack of it, by node\tother losses\t")
	for _, x := range r.Tiers {
		for _, l := range x.Loads {
			var used, refused []string
			for i, n := range l.Nodes {
				used = append(used, fmt.Sprintf("%.2f", l.Used[i]))
				refused = append(refused, fmt.Sprint(n.Refused))
			}
			fmt.Fprintf(w, "%s\t%.2f\t%.4f\t%.3f\t%.3f\t%s\t%s\t%s\t\n", x.name(), l.Load, l.Delivered, l.Throughput, l.Crossings,
				strings.Join(used, " "), strings.Join(refused, " "), l.others())
		}
	}
}

func (r *TierResult) name() string { return tierName(r.Tiers) + ", " + r.Forwarding }

// others names what was lost that no bucket refused.
func (l *TierLoad) others() string {
	if l.Lost == 0 {
		return "0"
	}
	s := fmt.Sprint(l.Lost)
	for _, name := range sorted(l.Drops) {
		s += fmt.Sprintf(", %s +%d", name, l.Drops[name])
	}
	return s
}
