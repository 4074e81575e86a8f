package metrics_test

import (
	"context"
	"errors"
	"flag"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cohort/api"
	"cohort/api/apitest"
	"cohort/api/metrics"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// scrape returns the lines about this project.
func scrape(t *testing.T, node api.Provider) string {
	t.Helper()
	w := httptest.NewRecorder()
	metrics.Handler(node).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	if !strings.Contains(w.Body.String(), "go_goroutines") || !strings.Contains(w.Body.String(), "process_resident_memory_bytes") {
		t.Error("the process's own metrics are missing")
	}
	var lines []string
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, "cohort_") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestMG5_MetricsOfANode(t *testing.T) {
	got := scrape(t, apitest.Example())
	golden := filepath.Join("testdata", "metrics.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

// A node without NAT shows none of its metrics, and that is no failure.
func TestNodeWithoutNATHasNoPoolMetrics(t *testing.T) {
	without := apitest.Example()
	without.Pools = nil
	for _, from := range []api.Provider{struct{ api.Provider }{apitest.Example()}, noNAT{without}} {
		got := scrape(t, from)
		if strings.Contains(got, "cohort_nat_") || !strings.Contains(got, "\ncohort_up 1\n") {
			t.Errorf("%T: %s", from, got)
		}
	}
}

// Above 95 percent the alarm at 80 goes on: one rule of an alerting system
// matches both.
func TestNT11_BothAlarmsNearExhaustion(t *testing.T) {
	node := apitest.Example()
	node.Pools[0].Here.PortsUsed, node.Pools[0].Blocks.Free = 20480, node.Pools[0].Here.Free
	got := scrape(t, node)
	for _, level := range []string{"80", "95"} {
		if !strings.Contains(got, `cohort_nat_pool_alarm{level="`+level+`",pool="egress"} 1`) {
			t.Errorf("no alarm at %s: %s", level, got)
		}
	}
}

// noNAT is a node that could do NAT, and whose configuration has none.
type noNAT struct{ *apitest.Node }

func (noNAT) NATPools(context.Context) ([]api.NATPool, error) { return nil, api.ErrNoNAT }

// What is not known is left out and cohort_up says so.
func TestFailedScrapeShowsNoOldValues(t *testing.T) {
	node := apitest.Example()
	node.Err = errors.New("the node is starting")
	want := "# HELP cohort_up 1 if the node answered all questions of this scrape.\n# TYPE cohort_up gauge\ncohort_up 0\n"
	if diff := cmp.Diff(want, scrape(t, node)); diff != "" {
		t.Error(diff)
	}
}
