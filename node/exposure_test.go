package node

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cohort/api"
	"cohort/ccl/wire"
	"cohort/node/core"
)

// What dies with a node is what it owns and nobody has, and what it has of others.
func TestMG9_ForeseesEveryNodesDeath(t *testing.T) {
	now := int64(50e9)
	said := []core.Exposure{
		{Node: 1, At: now - 300e6, Exposure: wire.Exposure{
			Owned: 100, NoCopy: 3, Async: 10, Sync: 2, Behind: 4, Oldest: 1500, P50: 180, P99: 2300,
			Held: []wire.HeldBy{{Node: 2, Count: 60}, {Node: 3, Count: 29}},
		}},
		{Node: 2, At: now, Exposure: wire.Exposure{Owned: 7, Held: []wire.HeldBy{{Node: 1, Count: 7}}}},
		{Node: 3}, // has said nothing yet
	}
	got := foresee(now, said, func(id wire.NodeID) string { return fmt.Sprint("fw-", id) })
	want := []api.NodeExposure{
		{
			Node: "fw-1", AgeMS: 300, Owned: 100, NoCopy: 3, Async: 10, Sync: 2, Behind: 4, LagMS: 1.5, P50MS: 0.18, P99MS: 2.3,
			IfDies: api.IfDies{Lost: 11, Moves: 89, To: []api.Heir{{Node: "fw-2", Connections: 60}, {Node: "fw-3", Connections: 29}}, CopiesLost: 7},
		},
		{Node: "fw-2", Owned: 7, IfDies: api.IfDies{Moves: 7, To: []api.Heir{{Node: "fw-1", Connections: 7}}, CopiesLost: 60}},
		{Node: "fw-3", AgeMS: -1, IfDies: api.IfDies{To: []api.Heir{}, CopiesLost: 29}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
