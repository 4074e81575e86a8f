package core

import (
	"testing"
	"time"

	"cohort/ccl/wire"
	"cohort/cluster/health"
)

// A node that an operator takes out, at whichever node, is out for the others when it
// is kept that it does not come back: a kill after the answer does not change it. A disk
// that does not answer keeps it in for a second.
func TestEL10_ANodeIsRemovedWhenThatIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		asked, out int
		full       bool
	}{
		"at the control node":            {asked: 0, out: 1},
		"at another one":                 {asked: 2, out: 1},
		"at itself":                      {asked: 1, out: 1},
		"the control node, at itself":    {asked: 0, out: 0},
		"the control node, at another":   {asked: 1, out: 0},
		"at the control node, disk full": {asked: 0, out: 1, full: true},
		"itself, disk full":              {asked: 0, out: 0, full: true},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrio(t, 3, func(_, _, _ int) bool { return false })
			tr.run(5 * time.Second)
			gone, other := tr.nodes[c.out], tr.nodes[2]
			if other.members() != 3 {
				t.Fatalf("no cluster: %d members", other.members())
			}
			onDisk, said := false, ""
			tr.kept = func(i int, why string) bool {
				if i != c.out {
					t.Errorf("node %d asks whether %q is kept", i, why)
				}
				said = why
				return onDisk
			}
			if err := tr.nodes[c.asked].core.Member().Expel(tr.now, tr.nodes[c.out].core.Name()); err != nil {
				t.Fatal(err)
			}
			tr.run(900 * time.Millisecond)
			if other.members() != 3 || gone.members() != 3 || said == "" || gone.core.Expelled() != said {
				t.Fatalf("members of the other %d, of the removed one %d, asked for %q, expelled %q", other.members(), gone.members(), said, gone.core.Expelled())
			}
			if onDisk = !c.full; c.full {
				tr.run(200 * time.Millisecond)
			} else {
				tr.run(50 * time.Millisecond)
			}
			s := gone.core.Ladder()
			if other.members() != 2 || s.Phase != health.Disabled || s.Cause != wire.CauseOperator || s.Why != said || gone.core.Expelled() != "" {
				t.Errorf("members of the other %d, the removed one %+v, asked for %q", other.members(), s, said)
			}
			tr.run(5 * time.Second)
			if other.members() != 2 || gone.core.Ladder().Phase != health.Disabled {
				t.Errorf("it is back: %q", gone.events)
			}
		})
	}
}

// Who is about to go by an operator's order does not come back, whatever throws it out
// first.
func TestEL10_WhatComesBeforeTheDiskDoesNotBringItBack(t *testing.T) {
	lost := false
	tr := newTrio(t, 3, func(from, to, _ int) bool { return lost && (from == 1 || to == 1) })
	tr.run(5 * time.Second)
	tr.kept = func(int, string) bool { return false }
	if err := tr.nodes[0].core.Member().Expel(tr.now, "fw-1"); err != nil {
		t.Fatal(err)
	}
	tr.run(50 * time.Millisecond)
	b := tr.nodes[1].core
	if b.Expelled() == "" {
		t.Fatal("it has not heard of it")
	}
	why := b.Expelled()
	if err := b.Member().Withdraw(tr.now, wire.CauseInterface, "interface in failed"); err != nil {
		t.Fatal(err)
	}
	lost = true
	tr.run(50 * time.Millisecond)
	if s := b.Ladder(); s.Phase != health.Disabled || s.Cause != wire.CauseOperator || s.Why != why {
		t.Errorf("%+v", s)
	}
}

// A cluster that is broken up ends at each node when that is kept there, a second later
// at most; and nobody passes the order on again and again until then.
func TestEL10_BreakIsKeptEverywhere(t *testing.T) {
	sent := 0
	tr := newTrio(t, 3, func(_, _, _ int) bool { sent++; return false })
	tr.run(5 * time.Second)
	asked := map[int]bool{}
	tr.kept = func(i int, _ string) bool { asked[i] = true; return false }
	sent = 0
	tr.run(900 * time.Millisecond)
	quiet := sent
	sent = 0
	if err := tr.nodes[2].core.Member().Break(tr.now); err != nil {
		t.Fatal(err)
	}
	tr.run(900 * time.Millisecond)
	if len(asked) != 3 || sent > quiet+60 { // three times to two others, from each of three: 18; and some more
		t.Errorf("%d nodes keep it, with %d datagrams; without it there are %d", len(asked), sent, quiet)
	}
	for i, n := range tr.nodes {
		if n.members() != 3 || n.core.Expelled() == "" {
			t.Errorf("node %d: %d members, expelled %q", i, n.members(), n.core.Expelled())
		}
	}
	tr.run(200 * time.Millisecond)
	for i, n := range tr.nodes {
		if s := n.core.Ladder(); s.Phase != health.Disabled || s.Cause != wire.CauseOperator {
			t.Errorf("node %d: %+v", i, s)
		}
	}
}
