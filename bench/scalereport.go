package main

import (
	"fmt"
	"io"

	"cohort/bench/stat"
)

// aims of the scaling factors by way of forwarding and number of nodes, for
// routers that spread connections; those of 4 hold below, too, and those of 16
// between.
func aimThroughput(r *ScaleResult) float64 {
	many := r.Nodes > 4
	switch {
	case r.Forwarding == forwardDelegate && many:
		return 0.95
	case r.Forwarding == forwardDelegate:
		return 0.97
	case many:
		return 0.85
	}
	return 0.88
}

const (
	aimConnections = 0.78
	aimRate        = 0.75
)

func (r *Report) printScale(w io.Writer) {
	if len(r.Scale) == 0 {
		return
	}
	r.printThroughput(w)
	r.printEntries(w)
	r.printRate(w)
}

func (r *ScaleResult) name() string {
	return fmt.Sprintf("%d, %s, %s", r.Nodes, r.Forwarding, r.Spread)
}

// roundsOf tells how many rounds a figure stands on.
func roundsOf(used, rejected int, disturbed bool) string {
	return fmt.Sprintf("%d of %d%s", used, used+rejected, map[bool]string{true: " (disturbed)"}[disturbed])
}

// known is a figure, or a dash when it was not measured.
func known(s stat.Summary, format string) string {
	if s.N == 0 {
		return "-"
	}
	return fmt.Sprintf(format, s.Median)
}

// knownInterval is the same with its interval, in two columns.
func knownInterval(s stat.Summary, format string) string {
	if s.N == 0 {
		return "-\t"
	}
	return interval(s, format)
}

func (r *Report) printThroughput(w io.Writer) {
	fmt.Fprintln(w, "\nthroughput by nodes, forwarding, what routers spread\tconnections\tns a packet, one node\tn apart\tn nodes\tof it daemons\tthe switch\tcrossings\tfactor\t95 %\tpackets alone\tto n apart\t95 %\twith the switch\trounds\t")
	for i := range r.Scale {
		x := &r.Scale[i]
		for _, t := range []*ScaleThroughput{x.Few, x.Throughput} {
			if t == nil {
				continue
			}
			fmt.Fprintf(w, "%s\t%d\t%.0f\t%s\t%.0f\t%s\t%.0f\t%.3f\t%s\t%s\t%s\t%.3f\t%s\t%s\n", x.name(), t.Flows, t.One.Median, known(t.Apart, "%.0f"), t.Many.Median, known(t.Upkeep, "%.0f"), t.Switch.Median, t.Crossings,
				interval(t.Factor, "%.3f"), known(t.Packets, "%.3f"), knownInterval(t.ToApart, "%.3f"), t.WithSwitch.Median, roundsOf(t.Rounds, t.Rejected, t.Disturbed), x.aim(t.Factor, aimThroughput(x)))
		}
	}
}

// aim says whether a factor is what it should be; one node has none.
func (r *ScaleResult) aim(s stat.Summary, aim float64) string {
	if r.Nodes == 1 {
		return ""
	}
	return fmt.Sprintf(" aim %.2f: %s", aim, met(s.Median >= aim))
}

func (r *Report) printEntries(w io.Writer) {
	fmt.Fprintln(w, "\nconnections by nodes, forwarding, what routers spread\towner entries\tcopies\tof these also stubs\tstubs\tforward entries\tbytes, one node\tn nodes\tfactor\t")
	for i := range r.Scale {
		x := &r.Scale[i]
		c := x.Connections
		if c == nil {
			continue
		}
		fmt.Fprintf(w, "%s\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.0f\t%.0f\t%.3f\t%s\n", x.name(), c.Owned, c.Copies, c.Joined, c.Stubs, c.Forwards, c.OneBytes, c.ManyBytes, c.Factor,
			x.aim(stat.Summary{Median: c.Factor}, aimConnections))
	}
}

func (r *Report) printRate(w io.Writer) {
	fmt.Fprintln(w, "\nshort connections by nodes, forwarding, what routers spread\tus, masquerade\tone node\tn apart\tn nodes\tidle node, % of a CPU\tsubtracted for it: one node\tn nodes\tlink: frames\tbytes\tforwarded packets\tthe switch, a frame\tfactor\t95 %\tto n apart\twith the switch\twith idle and switch\tone node to masquerade\trounds\t")
	for i := range r.Scale {
		x := &r.Scale[i]
		c := x.Rate
		if c == nil {
			continue
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%s\t%.2f\t%.2f\t%s\t%s\t%.2f\t%.0f\t%.2f\t%s\t%s\t%s\t%s\t%s\t%.2f\t%s\t%s\n", x.name(), c.Masquerade.Median, c.One.Median, known(c.Apart, "%.2f"), c.Many.Median, 100*c.Idle,
			known(c.IdleOne, "%.2f"), known(c.IdleMany, "%.2f"), c.Frames, c.Bytes, c.Crossed, known(c.Switch, "%.2f"),
			interval(c.Factor, "%.3f"), known(c.ToApart, "%.3f"), known(c.WithSwitch, "%.3f"), known(c.Raw, "%.3f"), c.ToMasquerade.Median, roundsOf(c.Rounds, c.Rejected, c.Disturbed), x.aim(c.Factor, aimRate))
	}
}
