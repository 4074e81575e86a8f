package cohort

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// wallClock are the places of the daemon that may read Go's clock, and why a jump of
// the wall clock does not matter there.
var wallClock = map[string]string{
	"node/provider.go":                    "wall times of events, to be shown",
	"node/xlatelog.go":                    "wall times of the log of translations",
	"dataplane/fib/table.go":              "differences of two readings of Go's clock, which are monotonic",
	"ccl/beats.go":                        "ages of datagrams that the kernel has stamped, for statistics",
	"dataplane/afxdp/socket.go":           "the same",
	"dataplane/internal/nstest/nstest.go": "tests",
}

// TestHL5_NoDecisionReadsTheWallClock: leases, silence, ageing and hold-downs are
// reckoned by CLOCK_MONOTONIC (dataplane.Now, bpf_ktime_get_coarse_ns and the like), so
// that a jump of the wall clock removes nobody and ends nothing.
func TestHL5_NoDecisionReadsTheWallClock(t *testing.T) {
	seen := map[string]bool{}
	for _, root := range []string{"api", "ccl", "cluster", "cmd/cohortd", "config", "dataplane", "flowtable", "nat", "node", "packet", "policy"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			for _, what := range clockReads(f) {
				if seen[path] = true; wallClock[path] == "" {
					t.Errorf("%s reads %s: decide by the now that is passed in, or by dataplane.Now", path, what)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for path := range wallClock {
		if !seen[path] {
			t.Errorf("%s is said to read the clock, and does not", path)
		}
	}
	files, err := filepath.Glob("bpf/*.[ch]")
	if err != nil || len(files) == 0 {
		t.Fatalf("no BPF sources: %v", err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ktime.FindAllString(string(b), -1) {
			if !slices.Contains([]string{"bpf_ktime_get_ns", "bpf_ktime_get_coarse_ns"}, m) {
				t.Errorf("%s reads %s, which is not CLOCK_MONOTONIC", path, m)
			}
		}
	}
}

var ktime = regexp.MustCompile(`bpf_ktime_get_\w*ns`)

// clockReads names the calls of a file that read the wall clock, or may.
func clockReads(f *ast.File) (list []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := s.X.(*ast.Ident)
		if !ok {
			return true
		}
		name := x.Name + "." + s.Sel.Name
		if slices.Contains([]string{"time.Now", "time.Since", "time.Until", "unix.CLOCK_REALTIME", "unix.CLOCK_REALTIME_COARSE", "unix.CLOCK_TAI", "unix.CLOCK_BOOTTIME", "unix.Gettimeofday", "unix.Time"}, name) {
			list = append(list, name)
		}
		return true
	})
	return list
}

func TestClockTestNotices(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nimport \"time\"\nfunc f() bool { return time.Now().Hour() == time.Until(t).Hours() }", 0)
	if err != nil || len(clockReads(f)) != 2 {
		t.Fatalf("%v, %v", clockReads(f), err)
	}
}
