package membership

import (
	"testing"
	"time"
)

// TestEL9_SixteenNodesAndMore: a large cluster loses its control node, is cut in halves,
// loses all but one, and is one cluster in the end. Nobody is fenced by the cut.
func TestEL9_SixteenNodesAndMore(t *testing.T) {
	for _, count := range []int{16, 40} {
		n := mesh(1, count, time.Second)
		agree := func(what string) {
			t.Helper()
			n.run(6 * time.Second)
			if v, why := n.agreed(); why != "" {
				t.Fatalf("%d nodes, %s: %s", count, what, why)
			} else if r := v.Member(v.Control).Name; r != "n0" && r != "n1" {
				t.Errorf("%d nodes, %s: %s rules", count, what, r)
			}
		}
		agree("founded")
		n.nodes[0].kill()
		agree("without n0")
		n.nodes[0].boot()
		agree("with it again")
		before := n.fences()
		n.split(n.nodes[:count/2], n.nodes[count/2:])
		n.run(4 * time.Second)
		for i, o := range n.nodes {
			if want := [2]int{count / 2, count - count/2}[i/(count/2)]; !o.member() || len(o.applied.Members) != want {
				t.Fatalf("%d nodes, in halves: %s is %s", count, o.cfg.Self.Name, StateName(o.m.state))
			}
		}
		n.heal()
		agree("healed")
		if n.fences() != before {
			t.Errorf("%d nodes: %d were fenced by the cut", count, n.fences()-before)
		}
		last := n.nodes[count-1]
		for _, o := range n.nodes[:count-1] {
			o.kill()
		}
		n.run(6 * time.Second)
		if !last.m.ruling() || len(last.applied.Members) != 1 {
			t.Errorf("%d nodes: the last one is %s", count, StateName(last.m.state))
		}
		for _, o := range n.nodes[:count-1] {
			o.boot()
		}
		n.run(6 * time.Second)
		if v, why := n.agreed(); why != "" || len(v.Members) != count {
			t.Errorf("%d nodes, all back: %s", count, why)
		}
		for _, b := range n.broken {
			t.Errorf("%d nodes: %s", count, b)
		}
	}
}

// fences counts how often nodes were fenced so far.
func (n *network) fences() (count int) {
	for _, t := range n.nodes {
		count += t.fences
	}
	return count
}
