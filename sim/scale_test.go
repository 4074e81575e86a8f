package sim

import (
	"flag"
	"fmt"
	"math"
	"testing"
	"time"
)

var sizesOfModel = flag.Bool("model", false, "TestDESIGN8_ModelOfScaling: all sizes, which takes minutes")

// TestDESIGN8_ModelOfScaling holds clusters of 2 to 63 nodes against the model of
// docs/scaling.md. Shares are those of as many random connections as there are: they
// may be five standard deviations off, and one seed always gives the same ones.
func TestDESIGN8_ModelOfScaling(t *testing.T) {
	type size struct{ nodes, conns int }
	sizes := []size{{2, 2000}, {4, 2000}, {16, 1000}}
	if *sizesOfModel {
		sizes = []size{{2, 2000}, {4, 2000}, {8, 2000}, {16, 2000}, {32, 2000}, {63, 2000}}
	}
	for _, nat := range []bool{false, true} {
		for _, ownerOnly := range []bool{true, false} {
			for _, z := range sizes {
				name := fmt.Sprintf("%d nodes/nat=%v/owner-only=%v", z.nodes, nat, ownerOnly)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					s := Scale(Config{
						Seed: 1, Nodes: z.nodes, NAT: nat, OwnerOnly: ownerOnly,
						Conns: z.conns, Flows: 4096, Duration: 4 * time.Second, Steps: 100, Hold: 3 * time.Second,
					})
					t.Logf("%+v", s)
					s.wantModel(t, nat, ownerOnly, Given)
				})
			}
		}
	}
	for _, z := range sizes {
		t.Run(fmt.Sprintf("%d nodes/own numbers", z.nodes), func(t *testing.T) {
			t.Parallel()
			s := Scale(Config{
				Seed: 1, Nodes: z.nodes, OwnerOnly: true, Numbers: Own,
				Conns: z.conns, Flows: 4096, Duration: 4 * time.Second, Steps: 100, Hold: 3 * time.Second,
			})
			t.Logf("%+v", s)
			s.wantModel(t, false, true, Own)
		})
	}
	if !*sizesOfModel {
		t.Run("63 nodes", func(t *testing.T) {
			t.Parallel()
			s := Scale(Config{Seed: 1, Nodes: 63, OwnerOnly: true, Conns: 300, Flows: 1024, Duration: 3 * time.Second, Steps: 60, Hold: 3 * time.Second})
			t.Logf("%+v", s)
			s.wantModel(t, false, true, Given)
		})
	}
}

func (s *Census) wantModel(t *testing.T, nat, ownerOnly bool, numbers Numbers) {
	t.Helper()
	n := float64(s.Nodes)
	away := (n - 1) / n // a direction meets another node than the owner
	off := 5 * math.Sqrt(away*(1-away)/float64(s.Connections))
	want := func(what string, got, want, off float64) {
		t.Helper()
		if math.Abs(got-want) > off {
			t.Errorf("%s: %.4f, the model says %.4f (±%.4f)", what, got, want, off)
		}
	}
	if s.Connections == 0 {
		t.Fatal("nothing is open")
	}
	want("owners", s.Owners, 1, 0)
	want("copies", s.Copies, 1, 0)
	want("claims", s.Claims, 1, 0)
	switch {
	case nat: // arithmetic leads replies: nobody asks, and a delegation alone takes an entry
		want("second keys", s.Stubs+s.Joined, 1, 0)
		want("queries", s.Queries, 0, 0)
		if ownerOnly {
			want("forward entries", s.Forwards, 0, 0)
		} else {
			want("forward entries", s.Forwards, away, off)
		}
		if s.MostBlocks-s.FewestBlocks > 1 {
			t.Errorf("NT2: nodes have %d to %d blocks", s.FewestBlocks, s.MostBlocks)
		}
	default:
		want("second keys", s.Stubs+s.Joined, 0, 0)
		if numbers == Given { // they lead the reply
			want("queries", s.Queries, 0, 0)
		} else {
			want("queries", s.Queries, away, off)
		}
		want("forward entries", s.Forwards, away, off)
	}
	if ownerOnly {
		want("share of packets that cross", s.Crossed, away/2, off)
		want("crossings of these", s.Crossings, 1, 0)
	} else if s.Crossed > away/4 {
		t.Errorf("%.3f of the packets cross although connections are lent; %.3f without", s.Crossed, away/2)
	}
	// The most of n binomial draws, with a chance of a thousandth.
	mean := float64(s.Connections) / n
	want("the busiest director", s.Busiest, 1, math.Sqrt(2*math.Log(1000*n)/mean))
	want("datagrams of a node to another in a second of rest", s.Idle, 1.25, 0.5)
}
