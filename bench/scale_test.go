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
