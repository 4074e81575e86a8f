package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const good = "vm: kernel 6.1.0-9-x\r\n\r\nvm: begins bpf\r\n=== RUN   TestA\r\n    a_test.go:1: verifier: xdp_data: stack depth 8; processed 9 insns\r\n--- PASS: TestA (0.10s)\r\n    --- SKIP: TestB/x (0.00s)\r\n--- PASS: TestB (0.00s)\r\nPASS\r\n\r\nvm: passed bpf in 3s\r\n"

func heard(text string) outcome { return listen(strings.NewReader(text), io.Discard, func() {}) }

func TestConsoleIsJudged(t *testing.T) {
	want := packages([]string{"bpf"})
	want[0].tests = []string{"TestA"}
	for text, why := range map[string]string{
		good: "",
		strings.Replace(good, "6.1.0", "6.18.1", 1):                                 `kernel: ran on "6.18.1-9-x", want 6.1.`,
		strings.Replace(good, "vm: passed bpf in 3s", "", 1):                        "kernel: bpf: did not end",
		strings.Replace(good, "passed bpf in 3s", "failed bpf after 3s: exit 1", 1): "kernel: bpf: failed bpf after 3s: exit 1",
		strings.Replace(good, "--- PASS: TestB", "--- FAIL: TestB", 1):              "kernel: bpf: 1 tests passed, 1 failed",
		strings.Replace(good, "--- PASS: TestA", "--- SKIP: TestA", 1):              "kernel: bpf: TestA did not pass",
		strings.ReplaceAll(good, "--- PASS", "--- SKIP"):                            "kernel: bpf: 0 tests passed, 0 failed",
		"vm: kernel 6.1.0\nvm: begins afxdp\n":                                      "kernel: bpf did not run",
		"vm: broken: module veth.ko: no\n":                                          "kernel: the machine could not run tests: module veth.ko: no\nkernel: bpf did not run",
	} {
		o := heard(text)
		if err := o.judge("6.1.", want); fmt.Sprint(err) != why && !(err == nil && why == "") {
			t.Errorf("%q: %v, want %s", text, err, why)
		}
	}
}

func TestKernelThatCameUpIsNoticed(t *testing.T) {
	for text, want := range map[string]bool{good: true, "vm: broken: no\n": false, "kvm: aborted\n": false} {
		began := false
		listen(strings.NewReader(text), io.Discard, func() { began = true })
		if began != want {
			t.Errorf("%q: began %v, want %v", text, began, want)
		}
	}
}

func TestReportSaysWhatHappened(t *testing.T) {
	o, want := heard(good), packages([]string{"bpf"})
	var b bytes.Buffer
	o.summary(&b, want)
	if got, want := b.String(), "bpf: passed bpf in 3s; 2 tests passed, 0 failed, skipped: TestB/x\nxdp_data: stack depth 8; processed 9 insns\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	b.Reset()
	o.page(&b, want, "make x", "tcg", 2, 90*time.Second, time.Unix(0, 0))
	for _, line := range []string{
		"`make x`, Linux 6.1.0-9-x in qemu (tcg), 2 CPUs, 1m30s from power on to power off, 1970-01-01 00:00:00\n",
		"| bpf | passed in 3s | 2 | 0 | TestB/x |\n", "xdp_data: stack depth 8\nprocessed 9 insns\n",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("%q is not in:\n%s", line, b.String())
		}
	}
}

func TestPatternSelectsEachTestOnce(t *testing.T) {
	all := []pkg{{tests: []string{"TestB", "TestA"}}, {tests: []string{"TestA", "TestC"}}}
	if got := pattern(all); got != "^(TestA|TestB|TestC)$" {
		t.Error(got)
	}
}

func TestInitramfsHasWhatItNeeds(t *testing.T) {
	dir, mods := t.TempDir(), t.TempDir()
	write := func(path string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(filepath.Base(path)+"!"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "init"))
	write(filepath.Join(dir, "tests", "bpf"))
	var b bytes.Buffer
	if pack(&b, dir, mods, nil) == nil {
		t.Fatal("packed without modules")
	}
	for _, m := range modules {
		write(filepath.Join(mods, m))
	}
	b.Reset()
	if err := pack(&b, dir, mods, []string{"-test.v"}); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(z)
	if err != nil || len(all)%4 != 0 {
		t.Fatalf("%d bytes, %v", len(all), err)
	}
	at := -1
	for _, entry := range []string{"init\x00\x00init!", "arguments\x00-test.v", "modules/veth.ko\x00", "modules/order\x00", "tests/bpf\x00", "TRAILER!!!\x00"} {
		i := bytes.Index(all, []byte(entry))
		if i <= at {
			t.Errorf("%q is at %d, after %d", entry, i, at)
		}
		at = i
	}
}
