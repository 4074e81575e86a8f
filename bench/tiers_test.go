package main

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"cohort/bench/traffic"
)

func TestTiersAreRead(t *testing.T) {
	got, err := tiersOf("1:1:1:0.5,3:1:1:1")
	if err != nil || len(got) != 2 || !slices.Equal(got[0], []float64{1, 1, 1, 0.5}) || !slices.Equal(got[1], []float64{3, 1, 1, 1}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"1", "1:0", "1:-1", "1:x", "1:NaN", "1:", "1:2000", "1:1,1:1:1", "1:1,", "1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1"} {
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
	loads := []TierLoad{
		{Load: 0.7, Delivered: 0.991, Throughput: 0.6937}, {Load: 0.5, Delivered: 1, Throughput: 0.5},
		{Load: 0.9, Delivered: 0.995, Throughput: 0.8955}, {Load: 0.8, Delivered: 0.98, Throughput: 0.784},
	}
	if got := usable(loads); got != 0.7 {
		t.Errorf("usable up to %v", got)
	}
	if usable(loads[3:]) != 0 {
		t.Error("a load that is not delivered is usable")
	}
	if got := most(loads); got != 0.8955 {
		t.Errorf("most %v", got)
	}
	if got := steps(0.2, 1, 0.05); len(got) != 17 || got[0] != 0.2 || math.Abs(got[16]-1) > 1e-9 {
		t.Errorf("steps %v", got)
	}
}

// The model: equal nodes lose only what crosses, and else the slowest one decides.
func TestDESIGN8_TierModel(t *testing.T) {
	for _, c := range []struct {
		tiers []float64
		way   string
		want  float64
	}{
		{[]float64{1, 1, 1, 1}, forwardDelegate, 1},
		{[]float64{1, 1, 1, 1}, forwardOwner, 1 / (1 + 3.0/8)}, // c / (c + h (n-1)/2n) with h = c
		{[]float64{1, 1, 1, 0.5}, forwardDelegate, 4 * 0.5 / 3.5},
		{[]float64{3, 1}, forwardOwner, 2.0 / 4 / (1 + 1.0/4)},
	} {
		if got := modelOf(c.tiers, crossingsOf(len(c.tiers), c.way)); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%v, %s: %.4f, want %.4f", c.tiers, c.way, got, c.want)
		}
	}
}

// What was dialled is answered, refused by a bucket, or lost; and what was lost is named.
func TestTierLossesAreNamed(t *testing.T) {
	l := TierLoad{
		Load: 0.5, Dialled: 1000, Answered: 900, Nodes: []traffic.Taken{{Passed: 1000}, {Passed: 900, Refused: 93}},
		Drops: map[string]uint64{"fw-b interface in0.rx_dropped": 4, "fw-a drop slow_hold_limit": 3},
	}
	l.sum([]float64{2, 1}, 500)
	if l.Lost != 7 || l.Delivered != 0.9 || l.Throughput != 0.45 || l.Crossings != 0.5 || !slices.Equal(l.Used, []float64{0.5, 0.9}) {
		t.Errorf("%+v", l)
	}
	r := Report{Tiers: []TierResult{{Tiers: []float64{3, 1}, Forwarding: forwardOwner, Loads: []TierLoad{l}}}}
	var out bytes.Buffer
	r.printTiers(&out)
	if want := "0.50 0.90\t0 93\t7, fw-a drop slow_hold_limit +3, fw-b interface in0.rx_dropped +4\t"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in %q", want, out.String())
	}
}

// TestTiersAreMeasured: of two nodes one has a third of the capacity and gets half of
// the packets, so it is full long before both are, and the other one never is. Counts
// only, of real daemons: buckets are filled by packets, not by time.
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
		if low.Delivered < tierDelivered || low.refused() != 0 || x.Usable != low.Load {
			t.Errorf("%s: %+v", x.Forwarding, x)
		}
		if high.Delivered > 0.95 || high.Used[1] < 0.95 || high.Used[0] > 0.9 || high.Nodes[1].Refused == 0 || high.Nodes[0].Refused != 0 {
			t.Errorf("%s: %+v", x.Forwarding, high)
		}
		crossings := crossingsOf(2, x.Forwarding)
		if d := math.Abs(low.Crossings - crossings); d > 0.1 {
			t.Errorf("%s: %.3f crossings a request, want %.2f", x.Forwarding, low.Crossings, crossings)
		}
		for node, n := range low.Nodes { // few connections: the routers' hash may be uneven by so much
			if got, want := float64(n.Passed)/float64(low.Dialled), (2+crossings)/2; math.Abs(got-want) > 0.15*want {
				t.Errorf("%s: node %d gets %.3f packets of a request, want %.3f", x.Forwarding, node, got, want)
			}
		}
		for _, l := range x.Loads {
			if named := l.refused() + l.named(); l.Dialled-l.Answered > named+l.Dialled/1000 {
				t.Errorf("%s: %d requests have no answer, %d packets were dropped by name: %+v", x.Forwarding, l.Dialled-l.Answered, named, l)
			}
		}
	}
}
