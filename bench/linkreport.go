package main

import (
	"fmt"
	"io"
)

// Aims of replication: bytes on the link (CL8), and CPU against conntrackd's.
const (
	aimLinkTCP = 72
	aimLinkUDP = 48
	aimLinkCPU = 0.05
)

func (r *Report) printLink(w io.Writer) {
	if len(r.Link) == 0 {
		return
	}
	fmt.Fprintln(w, "\nreplication of a connection, bytes on the link\tmedian\t95 %\tframes\tus of CPU without\tmore with\tto conntrackd's\t95 %\trounds\t")
	for _, l := range r.Link {
		fmt.Fprintf(w, "%s, %s\t%s\t%.3f\t%.2f\t%.2f\t%s\t%s\t", l.What, l.Who, interval(l.Bytes, "%.1f"), l.Frames.Median, l.Single.Median, l.Micros.Median,
			interval(l.ToPeer, "%.2f"), roundsOf(l.Rounds, l.Rejected, l.Disturbed))
		if l.Who == whoCohort {
			aim := float64(aimLinkTCP)
			if l.What == linkUDP {
				aim = aimLinkUDP
			}
			fmt.Fprintf(w, " aim %.0f bytes: %s", aim, met(l.Bytes.Median <= aim))
			if l.What == linkTCP {
				fmt.Fprintf(w, ", %.2f of the CPU: %s", aimLinkCPU, met(l.ToPeer.Median <= aimLinkCPU))
			}
		}
		fmt.Fprintln(w)
	}
}
