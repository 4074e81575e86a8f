package sim

import (
	"fmt"
	"testing"
)

// TestFR10 plays the scenarios with hosts that send in fragments, each of which takes a
// way of its own. That those of one datagram leave with one translation, and none leaves
// twice, is checked where they arrive.
func TestFR10(t *testing.T) {
	for name, cfg := range scenarios {
		for _, nat := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/nat=%v", name, nat), func(t *testing.T) {
				t.Parallel()
				cfg := cfg
				cfg.NAT, cfg.Fragments = nat, true
				var sum Result
				for s := range (*seeds + 1) / 2 {
					r := play(t, name, cfg, *first+uint64(s))
					sum.Datagrams, sum.Gathered, sum.Completed, sum.Excused = sum.Datagrams+r.Datagrams, sum.Gathered+r.Gathered, sum.Completed+r.Completed, sum.Excused+r.Excused
				}
				t.Logf("%d datagrams in fragments, %d arrived whole; %d conversations complete, %d excused", sum.Datagrams, sum.Gathered, sum.Completed, sum.Excused)
				if sum.Datagrams == 0 || sum.Completed == 0 {
					t.Fatal("no fragments, or nothing completed: nothing was tested")
				}
				if name == "calm" && sum.Gathered != sum.Datagrams {
					t.Errorf("%d of %d datagrams were lost although nothing was broken", sum.Datagrams-sum.Gathered, sum.Datagrams)
				}
			})
		}
	}
}
