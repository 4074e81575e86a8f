package main

import (
	"context"
	"strings"
	"testing"
)

// What a lost packet is told by, and whether it says anything of the nodes.
func TestLossesAreAccountedFor(t *testing.T) {
	before := accounts{"fw-a drop slow_hold_limit": 1, "fw-a role queries_sent": 5, "fw-a interface in0.rx_dropped": 7}
	for _, c := range []struct {
		name   string
		grow   accounts
		cables bool
		drops  uint64
		text   string
	}{
		{"nothing", accounts{}, false, 0, "no counter of any node or interface has grown"},
		{"a full ring", accounts{"fw-a interface in0.rx_dropped": 3, "fw-a role queries_sent": 1}, true, 3, "fw-a interface in0.rx_dropped +3, fw-a role queries_sent +1"},
		{"the node, too", accounts{"fw-a interface in0.rx_dropped": 3, "fw-a drop slow_hold_limit": 1}, false, 4, "fw-a drop slow_hold_limit +1, fw-a interface in0.rx_dropped +3"},
		{"something else", accounts{"fw-a role queries_sent": 2}, false, 0, "fw-a role queries_sent +2"},
	} {
		after := accounts{}
		for name, n := range before {
			after[name] = n + c.grow[name]
		}
		if got := after.onCables(before); got != c.cables {
			t.Errorf("%s: on cables %v", c.name, got)
		}
		lost := uint64(0)
		for name, n := range after.drops(before) {
			lost += n
			if strings.Contains(name, " role ") {
				t.Errorf("%s: %s counts as a drop", c.name, name)
			}
		}
		if lost != c.drops {
			t.Errorf("%s: %d drops, want %d", c.name, lost, c.drops)
		}
		if got := after.since(before); got != c.text {
			t.Errorf("%s: %q, want %q", c.name, got, c.text)
		}
	}
}

// A loss that no cable explains is told at once and not taken again.
func TestLossesOfNodesAreNotTakenAgain(t *testing.T) {
	samples := 0
	_, _, lost, err := watched(t.Context(), &talk{name: "cluster"}, func(context.Context, *talk) (float64, cost, bool, error) {
		samples++
		return 1, cost{}, false, nil
	})
	if err != nil || samples != 1 || !strings.HasPrefix(lost, "cluster: no counter") {
		t.Errorf("%d samples, %q, %v", samples, lost, err)
	}
}
