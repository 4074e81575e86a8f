package topology

import "context"

// TB is what Start needs of a *testing.T or *testing.B.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Start is New for a test: it fails the test on error, removes the topology
// when the test ends, and shows the end of every daemon's log if it failed.
func Start(t TB, cfg Config) *Topology {
	t.Helper()
	top, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatalf("topology: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() && top.cfg.Mode == Daemons {
			for _, n := range top.Nodes {
				t.Logf("log of %s:\n%s", n.Name, n.LogTail(30))
			}
		}
		if err := top.Close(); err != nil {
			t.Errorf("topology: close: %v", err)
		}
	})
	return top
}
