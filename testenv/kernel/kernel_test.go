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
)

const good = "vm: kernel 6.1.0-9-x\r\n\r\nvm: begins bpf\r\n=== RUN   TestA\r\n--- PASS: TestA (0.10s)\r\n    --- SKIP: TestB/x (0.00s)\r\n--- PASS: TestB (0.00s)\r\nPASS\r\n\r\nvm: passed bpf in 3s\r\n"

func TestConsoleIsJudged(t *testing.T) {
	for text, want := range map[string]string{
		good: "",
		strings.Replace(good, "6.1.0", "6.18.1", 1):                                 `kernel: ran on "6.18.1-9-x", want 6.1.`,
		strings.Replace(good, "vm: passed bpf in 3s", "", 1):                        "kernel: bpf: did not end",
		strings.Replace(good, "passed bpf in 3s", "failed bpf after 3s: exit 1", 1): "kernel: bpf: failed bpf after 3s: exit 1",
		strings.Replace(good, "--- PASS: TestB", "--- FAIL: TestB", 1):              "kernel: bpf: 1 tests passed, 1 failed",
		strings.ReplaceAll(good, "--- PASS", "--- SKIP"):                            "kernel: bpf: 0 tests passed, 0 failed",
		"vm: kernel 6.1.0\nvm: begins afxdp\n":                                      "kernel: bpf did not run",
		"vm: broken: module veth.ko: no\n":                                          "kernel: the machine could not run tests: module veth.ko: no\nkernel: bpf did not run",
	} {
		o := listen(strings.NewReader(text), io.Discard)
		if err := o.judge("6.1.", []string{"bpf"}); fmt.Sprint(err) != want && !(err == nil && want == "") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if v := listen(strings.NewReader(good), io.Discard).tests["bpf"]; v.passed != 2 || len(v.skipped) != 1 || v.skipped[0] != "TestB/x" {
		t.Errorf("%+v", v)
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
