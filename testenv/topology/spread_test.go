package topology

import (
	"testing"
	"time"
)

// Flows are what ECMP spreads: each sticks to one node per direction, both
// routers use every node, and the directions mostly differ.
func TestECMP_SpreadsFlowsAndDirectionsDiffer(t *testing.T) {
	top := start(t, Config{Mode: Forwarders, Track: calm})
	server := udpEcho(t, top.Servers[0])
	ctx := within(t, 60*time.Second)
	const flows, packets = 48, 25
	count := must[[]uint64](t)
	var there, back [MaxNodes]int
	differ := 0
	for range flows {
		c, err := top.Clients[0].Namespace.DialUDP(server)
		if err != nil {
			t.Fatal(err)
		}
		in, out := count(top.Inside.Sent()), count(top.Outside.Sent())
		for range packets {
			exchange(t, c, ctx)
		}
		c.Close()
		a, nIn := busiest(growth(in, count(top.Inside.Sent())))
		b, nOut := busiest(growth(out, count(top.Outside.Sent())))
		if nIn < packets || nOut < packets {
			t.Fatalf("ports sent %d and %d packets, want at least the flow's %d", nIn, nOut, packets)
		}
		there[a]++
		back[b]++
		if a != b {
			differ++
		}
	}
	t.Logf("flows per node: there %v, back %v; different node back: %d of %d", there[:4], back[:4], differ, flows)
	for i := range top.Nodes {
		// 48 flows on 4 nodes: none on one of them, there or back, once in 120,000 runs.
		if there[i] == 0 || back[i] == 0 {
			t.Errorf("node %d: %d flows there, %d back of %d: a router does not spread", i+1, there[i], back[i], flows)
		}
	}
	// Independent choices differ in 3 of 4: 36 of 48, give or take 3; fewer than half
	// would be seen once in 30,000 runs, a third never.
	if differ < flows/3 {
		t.Errorf("only %d of %d flows come back through another node", differ, flows)
	}
}

func TestSpray_IsPerPacketAndUniform(t *testing.T) {
	top := start(t, Config{Mode: Forwarders, Spray: true, Track: calm})
	server := udpEcho(t, top.Servers[0])
	c, err := top.Clients[0].Namespace.DialUDP(server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := within(t, 60*time.Second)
	const packets = 2000
	count := must[[]uint64](t)
	portsIn := count(top.Inside.Sent())
	for range packets {
		exchange(t, c, ctx)
	}
	for name, r := range map[string]*Router{"inside": top.Inside, "outside": top.Outside} {
		sent := count(r.Sprayed())
		_, sum := busiest(sent)
		if sum < packets {
			t.Errorf("%s: sprayed %d packets of one flow, want at least %d", name, sum, packets)
		}
		want, chi2 := float64(sum)/4, 0.0
		for _, n := range sent {
			chi2 += (float64(n) - want) * (float64(n) - want) / want
		}
		// 3 degrees of freedom: 30 is exceeded once in a million runs.
		if chi2 > 30 {
			t.Errorf("%s: shares %v: chi-square %.1f, not uniform", name, sent, chi2)
		}
	}
	// The marks must have led to the nodes they name.
	for i, n := range growth(portsIn, count(top.Inside.Sent())) {
		if n < packets/8 {
			t.Errorf("port of node %d sent %d of %d packets: marks do not route", i+1, n, packets)
		}
	}
}
