package main

import (
	"slices"
	"testing"
)

func TestTiersAreRead(t *testing.T) {
	if got, err := tiersOf("1:1:1:0.5"); err != nil || !slices.Equal(got, []float64{1, 1, 1, 0.5}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"1", "1:0", "1:-1", "1:x", "1:NaN", "1:", "1:2000", "1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1"} {
		if got, err := tiersOf(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

func TestTierArithmetic(t *testing.T) {
	if got := ratesOf([]float64{1, 1, 1, 1}, 0.5); !slices.Equal(got, []float64{1, 1, 1, 1}) {
		t.Errorf("half a load: %v packets a request", got)
	}
	if got := ratesOf([]float64{3, 1}, 1); !slices.Equal(got, []float64{1.5, 0.5}) {
		t.Errorf("a whole load: %v", got)
	}
	loads := []TierLoad{{Load: 0.7, Delivered: 0.991}, {Load: 0.5, Delivered: 1}, {Load: 0.9, Delivered: 0.995}, {Load: 0.8, Delivered: 0.98}}
	if got := usable(loads); got != 0.7 {
		t.Errorf("usable up to %v", got)
	}
	if usable(loads[3:]) != 0 {
		t.Error("a load that is not delivered is usable")
	}
}

// TestTiersAreMeasured: of two nodes one has a third of the capacity and gets half of
// the packets, so it is full long before both are, and the other one never is.
func TestTiersAreMeasured(t *testing.T) {
	r := measured(t, "tiers")
	if len(r.Tiers) != len(forwardings()) {
		t.Fatalf("%d results", len(r.Tiers))
	}
	for _, x := range r.Tiers {
		if len(x.Loads) != 2 {
			t.Fatalf("%+v", x)
		}
		low, high := x.Loads[0], x.Loads[1]
		if low.Delivered < tierDelivered || x.Usable != low.Load {
			t.Errorf("%s: %+v", x.Forwarding, x)
		}
		if high.Delivered > 0.95 || high.Used[1] < 0.95 || high.Used[0] > 0.9 || high.Nodes[1].Refused == 0 || high.Nodes[0].Refused != 0 {
			t.Errorf("%s: %+v", x.Forwarding, high)
		}
	}
}
