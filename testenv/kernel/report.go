package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"
)

// summary writes what each package and program came to, a line each.
func (o *outcome) summary(w io.Writer, want []pkg) {
	for _, p := range want {
		if v := o.tests[p.name]; v != nil {
			fmt.Fprintf(w, "%s: %s; %d tests passed, %d failed, skipped: %s\n", p.name, cmp.Or(v.how, "did not end"),
				len(v.passed), v.failed, cmp.Or(strings.Join(v.skipped, ", "), "none"))
		}
	}
	for _, said := range o.programs {
		fmt.Fprintln(w, said)
	}
}

// page writes a run that passed as a page of docs/results. took is the time
// from power on to power off.
func (o *outcome) page(w io.Writer, want []pkg, command, accel string, cpus int, took time.Duration, now time.Time) {
	fmt.Fprintf(w, "## Linux 6.1\n\n`%s`, Linux %s in qemu (%s), %d CPUs, %s from power on to power off, %s\n\n",
		command, o.release, accel, cpus, took.Round(time.Second), now.UTC().Format(time.DateTime))
	fmt.Fprint(w, "| package | result | tests passed | failed | skipped |\n|---|---|---|---|---|\n")
	for _, p := range want {
		v := o.tests[p.name]
		how, _, _ := strings.Cut(v.how, " ")
		_, in, _ := strings.Cut(v.how, " in ")
		fmt.Fprintf(w, "| %s | %s in %s | %d | %d | %s |\n", p.path, how, in, len(v.passed), v.failed, cmp.Or(strings.Join(v.skipped, ", "), "none"))
	}
	fmt.Fprint(w, "\nWhat the verifier says of the programs that a node runs:\n\n```\n")
	for _, said := range o.programs {
		for part := range strings.SplitSeq(said, "; ") {
			fmt.Fprintln(w, part)
		}
	}
	fmt.Fprint(w, "```\n")
}
