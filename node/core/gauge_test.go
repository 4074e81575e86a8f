package core

import (
	"strings"
	"testing"
	"time"

	"cohort/ccl/wire"
	"cohort/cluster/health"
)

// told returns the events that have all the words.
func (n *end) told(words ...string) (list []string) {
next:
	for _, e := range n.events {
		for _, w := range words {
			if !strings.Contains(e, w) {
				continue next
			}
		}
		list = append(list, e)
	}
	return list
}

// A link that begins to swallow large packets after the join is noticed within a
// hold time: of two nodes the data node goes, for a cause with its sizes and with
// the ladder of the control link, and comes back when the link is mended.
func TestCL3_HL3_LinkThatBecomesNarrowCostsTheDataNode(t *testing.T) {
	for name, size := range map[string]int{"one byte is missing": 1653, "half": 900} {
		p := newPair(t, MTUEnforce, 1654)
		p.run(2 * time.Second)
		control, data := p.nodes[0], p.nodes[1]
		p.size = size
		p.run(350 * time.Millisecond) // the hold time is 300
		if len(data.fenced) != 1 || !strings.Contains(data.fenced[0], "does not carry full-sized packets") || control.members() != 1 || len(control.fenced) != 0 {
			t.Fatalf("%s: control node in a view of %d, fenced %v; data node fenced %v", name, control.members(), control.fenced, data.fenced)
		}
		for _, n := range p.nodes {
			if len(n.told("1654", "do not cross")) != 1 {
				t.Errorf("%s: node %d says %v, want one line with the sizes", name, n.index, n.events)
			}
		}
		if s := data.core.Ladder(); s.Cause != wire.CauseLink || s.Phase != health.Waiting || s.Attempts != health.Forever {
			t.Errorf("%s: on the ladder of %s: %+v", name, health.CauseName(s.Cause), s)
		}
		// The attempt finds it as it was, and the next one that it is mended.
		for _, mended := range []bool{false, true} {
			if mended {
				p.size = 1654
			}
			until := data.core.Ladder().Next - p.now + 6*int64(time.Second)
			p.run(time.Duration(until))
			if got := data.members() == 2; got != mended {
				t.Fatalf("%s: mended %v, a member: %v: %v", name, mended, got, data.events)
			}
		}
		for _, n := range p.nodes {
			if err := n.core.MTUError(); err != nil {
				t.Errorf("%s: node %d still says %v", name, n.index, err)
			}
		}
	}
}

func TestCL3_WarnOnlyTellsOfALinkThatBecomesNarrow(t *testing.T) {
	p := newPair(t, MTUWarn, 1654)
	p.run(2 * time.Second)
	p.size = 1000
	p.run(5 * time.Second)
	for _, n := range p.nodes {
		if n.members() != 2 || len(n.fenced) != 0 {
			t.Errorf("node %d: %d members, fenced %v", n.index, n.members(), n.fenced)
		}
		if err := n.core.MTUError(); err == nil || !strings.Contains(err.Error(), "1654") || len(n.told("do not cross")) != 1 {
			t.Errorf("node %d: %v, said %v", n.index, err, n.told("do not cross"))
		}
		if s := n.core.Member().Status(p.now); len(s.Narrow) != 2 || !s.Narrow[0].All {
			t.Errorf("node %d: %+v", n.index, s.Narrow)
		}
	}
	p.size = 1654
	p.run(time.Second)
	for _, n := range p.nodes {
		if err := n.core.MTUError(); err != nil || len(n.told("cross again")) != 1 || len(n.core.Member().Status(p.now).Narrow) != 0 {
			t.Errorf("node %d after the mend: %v, %v", n.index, err, n.told("cross again"))
		}
	}
}

// Only what the control node sends is swallowed: a node that wants to join is told.
func TestEL8_CL3_JoinerHearsThatItIsNotReached(t *testing.T) {
	p := newPair(t, MTUEnforce, 1654)
	for end := p.now + 25*int64(time.Second); p.now < end; p.now += 10 * ms {
		p.nodes[0].core.Tick(p.now) // alone
		p.queue = nil
	}
	p.limits[0] = 1000
	joiner := p.boot(1, MTUEnforce)
	joiner.core.Start(p.now)
	p.run(5 * time.Second)
	if joiner.members() != 0 || p.nodes[0].members() != 1 {
		t.Fatalf("%d and %d members: %v", p.nodes[0].members(), joiner.members(), joiner.events)
	}
	if len(joiner.told("1654", "do not cross")) == 0 {
		t.Errorf("the joiner knows nothing: %v", joiner.events)
	}
}
