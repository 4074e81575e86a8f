package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// outcome is what the console told.
type outcome struct {
	release string
	broken  string
	tests   map[string]*verdict // by package, with dots for slashes
}

type verdict struct {
	how     string // passed or failed, and how long it took; "" while it runs
	passed  int    // tests at the top
	failed  int
	skipped []string // tests and their parts
}

// listen reads the console to its end, and copies it.
func listen(console io.Reader, copy io.Writer) outcome {
	o := outcome{tests: map[string]*verdict{}}
	var now *verdict
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		fmt.Fprintln(copy, line)
		if _, said, ok := strings.Cut(line, "vm: "); ok {
			now = o.take(said, now)
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
		v.passed++
	case kind == "FAIL":
		v.failed++
	}
}

// judge returns why the run proves nothing, or nil.
func (o *outcome) judge(release string, want []string) error {
	var errs []error
	switch {
	case o.broken != "":
		errs = append(errs, fmt.Errorf("kernel: the machine could not run tests: %s", o.broken))
	case !strings.HasPrefix(o.release, release):
		errs = append(errs, fmt.Errorf("kernel: ran on %q, want %s", o.release, release))
	}
	for _, name := range want {
		switch v := o.tests[name]; {
		case v == nil:
			errs = append(errs, fmt.Errorf("kernel: %s did not run", name))
		case !strings.HasPrefix(v.how, "passed"):
			errs = append(errs, fmt.Errorf("kernel: %s: %s", name, max(v.how, "did not end")))
		case v.passed == 0 || v.failed > 0:
			errs = append(errs, fmt.Errorf("kernel: %s: %d tests passed, %d failed", name, v.passed, v.failed))
		}
	}
	return errors.Join(errs...)
}
