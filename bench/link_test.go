package main

import "testing"

// TestLinkIsMeasured: what a second node's copy of a connection costs the link,
// beside conntrackd's.
func TestLinkIsMeasured(t *testing.T) {
	needRoot(t)
	cfg := planFor(true).link
	all, err := measureLink(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(cfg.who)*len(cfg.what) {
		t.Fatalf("%d results", len(all))
	}
	for _, r := range all {
		if r.Rounds == 0 || r.Bytes.Median < 20 || r.Bytes.Median > 2000 || r.Frames.Median <= 0 || r.Single.Median <= 0 {
			t.Errorf("%+v", r)
		}
	}
}
