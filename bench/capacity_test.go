package main

import (
	"bytes"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

// TestCapacityIsMeasured: no time is judged, but that every phase was measured, by
// packets that arrived, and that the node holds what it is said to hold.
func TestCapacityIsMeasured(t *testing.T) {
	needRoot(t)
	cfg := planFor(true).capacity
	all, err := measureCapacity(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || len(all[0].Phases) != 6 || len(all[0].Memory) != 1 {
		t.Fatalf("%+v", all)
	}
	if m := all[0].Memory[0]; m.Entries != uint64(cfg.sizes[0]) || m.Mapped == 0 || m.RSS <= m.Empty {
		t.Errorf("memory: %+v", m)
	}
	for _, p := range all[0].Phases {
		if p.Owner.Turns == 0 || p.Owner.LongestMS <= 0 || p.Owner.LongestCPU <= 0 || p.Owner.LongestCPU > p.Owner.LongestMS*1.5 {
			t.Errorf("%s: %+v", p.Name, p.Owner)
		}
		if p.First.Sent-p.First.Lost < p.First.Sent/2 || p.Later.Sent-p.Later.Lost < p.Later.Sent/2 || p.First.Median <= 0 || p.First.Longest < p.First.P99 {
			t.Errorf("%s: first packets %+v, later ones %+v", p.Name, p.First, p.Later)
		}
	}
}

// TestTakeoverIsMeasured: all that were sampled come back, at the survivor, after the
// new view.
func TestTakeoverIsMeasured(t *testing.T) {
	needRoot(t)
	cfg := planFor(true).takeover
	all, err := measureTakeover(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := all[0]
	if r.Back != r.Sampled || r.First <= 0 || r.All < r.Median || r.Median < r.First || r.Detection <= 0 || r.Protected <= 0 {
		t.Errorf("%+v", r)
	}
	if r.Survivor.Turns == 0 || r.Owner.Turns == 0 || r.Holder.Turns == 0 || r.Resync.Sent == r.Resync.Lost {
		t.Errorf("%+v", r)
	}
}

// TestWatchTellsOfItsTurns: the longest counts once, for who asks first.
func TestWatchTellsOfItsTurns(t *testing.T) {
	w := &watch{}
	w.TurnBegins()
	time.Sleep(2 * time.Millisecond)
	w.TurnEnds()
	w.TurnBegins()
	w.began = w.began.Add(time.Hour) // however long this machine lets it wait
	w.TurnEnds()
	p := w.take()
	if p.Turns != 2 || p.LongestMS < 2 || p.Over != 1 || p.LongestCPU > p.LongestMS {
		t.Errorf("%+v", p)
	}
	if p := w.take(); p.Turns != 0 || p.LongestMS != 0 {
		t.Errorf("told twice: %+v", p)
	}
}

// TestLongestIsOfWhatHasGrown: the histograms of the runtime count from its start.
func TestLongestIsOfWhatHasGrown(t *testing.T) {
	h := &metrics.Float64Histogram{Counts: []uint64{1, 0, 2}, Buckets: []float64{0, 1e-6, 1e-3, 1e-2}}
	var before []uint64
	if got := longest(h, &before); got != 10 {
		t.Errorf("at first %v ms, want 10", got)
	}
	h.Counts[0]++
	if got := longest(h, &before); got != 0.001 {
		t.Errorf("then %v ms, want 0.001", got)
	}
	if got := longest(h, &before); got != 0 {
		t.Errorf("without anything new %v ms", got)
	}
}

func TestCapacityReportIsReadable(t *testing.T) {
	r := Report{Environment: environment()}
	r.Capacity = []CapacityResult{{Nodes: 1, Connections: 1 << 22, Phases: []CapacityPhase{
		{Name: "ageing alone", Owner: Pauses{LongestCPU: 1.4, StopGC: 0.2}},
		{Name: "churn", Owner: Pauses{LongestCPU: 0.4, StopOther: 1.6, StoppingOther: 0.3}, Work: &Streamed{Bytes: 4e6, Times: 2, Seconds: 3}},
	}, Memory: []RSSResult{{Role: "owner", Entries: 1, RSS: 300, Empty: 100}}}}
	r.Takeover = []TakeoverResult{{Connections: 1000, Sampled: 2, Back: 2, All: 29, Protected: 1999}, {Connections: 2e6, Sampled: 2, Back: 1, All: 3, Protected: 4001}}
	var out bytes.Buffer
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"stop the world 1.600 ms, aim 1.5: missed (until everybody had stopped at most 0.300)", "1.400 ms of computing, aim 1.5: met", "200 bytes a connection", "2 MB each",
		"aim 30: met", "aim 30: missed", "aim 2000: met", "aim 4000: missed",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestResultsOfOtherSizesStay: a run of one size replaces that one only.
func TestResultsOfOtherSizesStay(t *testing.T) {
	old := []CapacityResult{{Nodes: 1, Connections: 5, FillSeconds: 1}, {Nodes: 2, Connections: 5, FillSeconds: 2}}
	got := mergeCapacity(old, []CapacityResult{{Nodes: 1, Connections: 5, FillSeconds: 3}, {Nodes: 1, Connections: 4}})
	if len(got) != 3 || got[0].Connections != 4 || got[1].FillSeconds != 3 || got[2].FillSeconds != 2 {
		t.Errorf("%+v", got)
	}
	if got := mergeTakeover([]TakeoverResult{{Connections: 9}}, []TakeoverResult{{Connections: 3}}); len(got) != 2 || got[0].Connections != 3 {
		t.Errorf("%+v", got)
	}
}
