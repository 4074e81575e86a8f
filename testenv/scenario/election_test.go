package scenario

import (
	"testing"
	"time"

	"cohort/testenv/topology"
)

// TestEL1_AbsentPeerDoesNotDelayTheElection boots two of three configured
// nodes: nobody answers ARP for the third, so that its vote is not waited for.
func TestEL1_AbsentPeerDoesNotDelayTheElection(t *testing.T) {
	top := formed(t, topology.Config{HoldTime: time.Second})
	for _, n := range top.Nodes {
		if _, err := n.PowerOff(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range top.Nodes[:2] {
		if err := n.PowerOn(); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if err := top.WaitFormed(within(t, 30*time.Second), 2); err != nil { // election_timeout is 45 s
		t.Fatal(err)
	}
	t.Logf("two of three formed after %v", time.Since(began).Round(time.Millisecond))
}
