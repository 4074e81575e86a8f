package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// outcome is what the console told.
type outcome struct {
	release  string
	broken   string
	tests    map[string]*verdict // by package, with dots for slashes
	programs []string            // what the verifier said of each
}

type verdict struct {
	how     string   // passed or failed, and how long it took; "" while it runs
	passed  []string // tests at the top
	failed  int
	skipped []string // tests and their parts
}

// listen reads the console to its end, and copies it. It calls began when the
// kernel has come up.
func listen(console io.Reader, copy io.Writer, began func()) outcome {
	o := outcome{tests: map[string]*verdict{}}
	var now *verdict
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		fmt.Fprintln(copy, line)
		if _, said, ok := strings.Cut(line, "vm: "); ok {
			now = o.take(said, now)
			if o.release != "" {
				began()
			}
			continue
		}
		if _, said, ok := strings.Cut(line, "verifier: "); ok {
			o.programs = append(o.programs, said)
			continue
		}
		if now != nil {
			now.count(line)
		}
	}
	return o
}

// take handles a line of init.
func (o *outcome) take(said string, now *verdict) *verdict {
	what, rest, _ := strings.Cut(said, " ")
	switch what {
	case "kernel":
		o.release = rest
	case "broken:":
		o.broken = rest
	case "begins":
		now = &verdict{}
		o.tests[rest] = now
	case "passed", "failed":
		if name, _, _ := strings.Cut(rest, " "); o.tests[name] != nil {
			o.tests[name].how = said
		}
		now = nil
	}
	return now
}

// count takes a line of a test binary that was started with -test.v.
func (v *verdict) count(line string) {
	at, what, ok := strings.Cut(line, "--- ")
	if !ok || strings.TrimSpace(at) != "" {
		return
	}
	kind, rest, _ := strings.Cut(what, ": ")
	name, _, _ := strings.Cut(rest, " ")
	switch {
	case kind == "SKIP":
		v.skipped = append(v.skipped, name)
	case at != "": // a part
	case kind == "PASS":
		v.passed = append(v.passed, name)
	case kind == "FAIL":
		v.failed++
	}
}

// judge returns why the run proves nothing, or nil. want are the packages, each
// with the tests that must have passed, if any are named.
func (o *outcome) judge(release string, want []pkg) error {
	var errs []error
	switch {
	case o.broken != "":
		errs = append(errs, fmt.Errorf("kernel: the machine could not run tests: %s", o.broken))
	case !strings.HasPrefix(o.release, release):
		errs = append(errs, fmt.Errorf("kernel: ran on %q, want %s", o.release, release))
	}
	for _, p := range want {
		switch v := o.tests[p.name]; {
		case v == nil:
			errs = append(errs, fmt.Errorf("kernel: %s did not run", p.name))
		case !strings.HasPrefix(v.how, "passed"):
			errs = append(errs, fmt.Errorf("kernel: %s: %s", p.name, cmp.Or(v.how, "did not end")))
		case len(v.passed) == 0 || v.failed > 0:
			errs = append(errs, fmt.Errorf("kernel: %s: %d tests passed, %d failed", p.name, len(v.passed), v.failed))
		default:
			for _, test := range p.tests {
				if !slices.Contains(v.passed, test) {
					errs = append(errs, fmt.Errorf("kernel: %s: %s did not pass", p.name, test))
				}
			}
		}
	}
	return errors.Join(errs...)
}
