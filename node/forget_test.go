package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"cohort/api"
)

// forget is what the verb does, with the cluster's clock going on meanwhile.
func (n *testNode) forget(node string) (api.Forgotten, error) {
	f, err := provider{n.Node}.Forgettable(context.Background(), node)
	if err != nil {
		return f, err
	}
	for end := n.c.now + int64(5*time.Second); n.c.now < end; n.c.run(20 * time.Millisecond) {
		if err := n.core.Forget(n.c.now, node); err != nil {
			return f, refusal(node, err, nil)
		}
		if f.Unaware = n.core.Units().Unaware(); len(f.Unaware) == 0 {
			return f, nil
		}
	}
	return f, nil
}

func (n *testNode) history() (lines []string) {
	n.c.t.Helper()
	list, err := provider{n.Node}.History(context.Background())
	if err != nil {
		n.c.t.Fatal(err)
	}
	for _, e := range list {
		lines = append(lines, e.Cause)
	}
	return lines
}

func TestNT5_AForgottenNodeIsNotWaitedFor(t *testing.T) {
	c := newTestCluster(t, 3)
	a, b := c.nodes[0], c.nodes[1]
	c.nodes[2].alive = false
	c.until("fw-c is removed", func() bool { return a.members() == 2 && b.members() == 2 })
	c.run(time.Second)
	if p := a.pools()[0]; p.Why != "fw-c is missing" || !slices.Equal(p.WaitsFor, []string{"fw-c"}) {
		t.Fatalf("frozen because %q, waits for %v", p.Why, p.WaitsFor)
	}
	f, err := a.forget("fw-c")
	if err != nil || f.Already || f.Held == 0 || f.Held != f.Frozen || len(f.WaitsFor) > 0 || f.Unaware != nil {
		t.Fatalf("%+v, %v", f, err)
	}
	c.run(time.Second)
	for _, n := range []*testNode{a, b} {
		if p := n.pools()[0]; p.Here.Held != 63 || p.Blocks.Frozen != 0 || p.Why != "" || p.WaitsFor != nil {
			t.Errorf("%+v", p)
		}
	}
	if lines := a.history(); lines[len(lines)-1] != "fw-c is forgotten: an operator says that it is over" {
		t.Errorf("%q", lines)
	}
	if lines := b.history(); lines[len(lines)-1] != "fw-c is over: another member says so" {
		t.Errorf("%q", lines)
	}
	if f, err := b.forget("fw-c"); err != nil || !f.Already || f.Frozen != 0 {
		t.Errorf("again: %+v, %v", f, err)
	}
}

// The operator's word was false: the node was cut off only. What it has, others
// have too, so after the heal its life ends, and it joins again with nothing.
func TestNT4_AForgottenNodeThatLivesBeginsAnew(t *testing.T) {
	c := newTestCluster(t, 3)
	a, b, cut := c.nodes[0], c.nodes[1], c.nodes[2]
	lives := [3]uint64{a.life, b.life, cut.life}
	cut.side = 1
	c.until("fw-c is alone", func() bool { return a.members() == 2 && b.members() == 2 && cut.members() == 1 })
	c.run(time.Second)
	if _, err := a.forget("fw-c"); err != nil {
		t.Fatal(err)
	}
	c.run(time.Second)
	if x, y, z := a.pools()[0].Here.Held, b.pools()[0].Here.Held, cut.pools()[0].Here.Held; x != 63 || y != 63 || z != 42 {
		t.Fatalf("%d, %d and %d blocks are held: nobody has what fw-c has", x, y, z)
	}
	cut.side = 0
	c.until("fw-c is back", func() bool { return cut.life != lives[2] && cut.members() == 3 && a.members() == 3 && b.members() == 3 })
	c.run(5 * time.Second)
	for i, n := range c.nodes {
		if p := n.pools()[0]; p.Here.Held != 42 || p.Blocks.Frozen+p.Blocks.Limbo > 0 {
			t.Errorf("%d: %+v", i, p)
		}
	}
	for u := range a.core.Units().Status().Units {
		if hands := [3]bool{a.core.Units().Held(u), b.core.Units().Held(u), cut.core.Units().Held(u)}; hands[0] && hands[1] || hands[1] && hands[2] || hands[0] && hands[2] {
			t.Fatalf("unit %d is held twice: %v", u, hands)
		}
	}
	if a.life != lives[0] || b.life != lives[1] || cut.life != lives[2]+16 {
		t.Errorf("lives %d %d %d, after %v", a.life, b.life, cut.life, lives)
	}
	const why = "it was forgotten while it was cut off: others serve its connections and have its blocks"
	if lines := cut.history(); !slices.Contains(lines, why) {
		t.Errorf("%q", lines)
	}
}

func TestForgetIsRefusedInOneLine(t *testing.T) {
	c := newTestCluster(t, 3)
	a, gone := c.nodes[0], c.nodes[2]
	refused := func(n *testNode, node, want string) {
		t.Helper()
		_, err := n.forget(node)
		var no api.Refusal
		if !errors.As(err, &no) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", node, err, want)
		}
	}
	refused(a, "fw-c", "fw-c is a member of the present view; a node must be over to be forgotten")
	refused(a, "fw-a", "fw-a is a member of the present view")
	refused(a, "fw-x", "no node of the name fw-x was ever a member; none is missing")
	gone.alive = false
	c.until("fw-c is removed", func() bool { return a.members() == 2 })
	refused(a, "fw-x", "no node of the name fw-x was ever a member; missing: fw-c")
	// It is back in that moment: not a member yet, but it lives.
	a.core.Member().Heard(c.now, gone.at)
	refused(a, "fw-c", "fw-c lives: it was heard 0s ago; end its daemon first")
	c.run(2 * time.Second)
	if _, err := a.forget("fw-c"); err != nil {
		t.Error(err)
	}
	lone := newTestCluster(t, 1).nodes[0]
	lone.core.Units().Fence(lone.c.now)
	refused(lone, "fw-c", "this node is no member of the cluster at present; ask one that is")
}
