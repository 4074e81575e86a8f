package main

import (
	"testing"
)

// TestScaleIsMeasured: every factor of two nodes, through real daemons, with
// routers that spread packets, which is the harder way.
func TestScaleIsMeasured(t *testing.T) {
	needRoot(t)
	cfg := planFor(true).scale
	cfg.nodes, cfg.spreads = []int{2}, []string{spreadPackets}
	all, err := measureScale(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(forwardings()) {
		t.Fatalf("%d results", len(all))
	}
	for _, r := range all {
		// Of times only that there are some: of so few packets and connections the
		// difference to the generator may be anything on a busy machine.
		if x := r.Throughput; x.Rounds == 0 || x.One.N == 0 || x.Many.N == 0 || x.Factor.N == 0 || x.Switch.N == 0 {
			t.Errorf("%s: %+v", r.Forwarding, x)
		}
		if x := r.Rate; x.Rounds == 0 || x.Connections == 0 || x.One.N == 0 || x.Many.N == 0 || x.Masquerade.N == 0 {
			t.Errorf("%s: %+v", r.Forwarding, x)
		}
		x := r.Connections
		if x.Copies < 0.999 || x.Owned < 0.999 || x.Factor <= 0.2 || x.Factor >= 1 {
			t.Errorf("%s: %+v", r.Forwarding, x)
		}
		if r.Forwarding == forwardOwner && (r.Throughput.Crossings < 0.4 || r.Throughput.Crossings > 0.6) {
			t.Errorf("%s: %.3f crossings a packet, want half", r.Forwarding, r.Throughput.Crossings)
		}
	}
}

// With -add, a run that measured some figures only keeps the others.
func TestMergeScaleKeepsWhatWasNotMeasured(t *testing.T) {
	old := []ScaleResult{
		{Nodes: 2, Rate: &ScaleRate{Rounds: 1}, Few: &ScaleThroughput{Rounds: 1}, Connections: &ScaleConnections{}},
		{Nodes: 4, Throughput: &ScaleThroughput{Rounds: 2}},
	}
	now := []ScaleResult{{Nodes: 2, Rate: &ScaleRate{Rounds: 9}}, {Nodes: 8}}
	got := mergeScale(old, now)
	if len(got) != 3 || got[0].Rate.Rounds != 9 || got[0].Few != old[0].Few || got[0].Connections != old[0].Connections ||
		got[0].Throughput != nil || got[1].Throughput != old[1].Throughput || got[2].Nodes != 8 {
		t.Errorf("%+v", got)
	}
	if now[0].Few != nil {
		t.Error("what was measured has changed")
	}
}
