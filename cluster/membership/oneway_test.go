package membership

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cohort/ccl/wire"
)

// mesh starts a cluster in which n0 rules, and the others follow in the order of their
// names.
func mesh(seed uint64, count int, hold time.Duration) *network {
	n := newNetwork(seed)
	for i := range count {
		t := n.add(fmt.Sprintf("n%d", i), uint8(1+i))
		t.cfg.Hold, t.cfg.ElectionInterval, t.cfg.ElectionWait = hold, time.Second, 5*time.Second
	}
	n.connect()
	n.rejoin = 200 * time.Millisecond
	for _, t := range n.nodes {
		t.boot()
	}
	n.run(time.Second)
	return n
}

// pattern cuts single directions: bit i of mask is the i-th ordered pair of different
// nodes.
func (n *network) pattern(mask uint64) {
	n.heal()
	for _, a := range n.nodes {
		for _, b := range n.nodes {
			if a == b {
				continue
			}
			if mask&1 != 0 {
				n.cuts[[2]*testNode{a, b}] = true
			}
			mask >>= 1
		}
	}
}

// hear reports whether two nodes hear each other.
func (n *network) hear(a, b *testNode) bool {
	return !n.cuts[[2]*testNode{a, b}] && !n.cuts[[2]*testNode{b, a}]
}

// restless counts what has changed so far.
func (n *network) restless() (count int) {
	for _, t := range n.nodes {
		count += len(t.history) + t.fences
	}
	return count
}

// cutNames says which directions are cut.
func (n *network) cutNames() string {
	var list []string
	for _, a := range n.nodes {
		for _, b := range n.nodes {
			if n.cuts[[2]*testNode{a, b}] {
				list = append(list, a.cfg.Self.Name+">"+b.cfg.Self.Name)
			}
		}
	}
	return strings.Join(list, " ")
}

// checkStill proves what holds behind every cut that lasts: it comes to rest, somebody
// serves (EL9), and no two control nodes hear each other both ways.
func (n *network) checkStill() {
	where, before := n.cutNames(), n.restless()
	n.run(10 * time.Second)
	if more := n.restless() - before; more != 0 {
		n.violated("behind %s: %d changes in 10 s, long after the cut", where, more)
	}
	members := 0
	for i, a := range n.nodes {
		if a.member() {
			members++
		}
		for _, b := range n.nodes[i+1:] {
			if a.m.ruling() && b.m.ruling() && n.hear(a, b) {
				n.violated("behind %s: %s and %s rule and hear each other", where, a.cfg.Self.Name, b.cfg.Self.Name)
			}
		}
		for _, b := range n.nodes {
			if !a.member() && b.m.ruling() && n.hear(a, b) {
				n.violated("behind %s: %s is %s, and %s rules and hears it", where, a.cfg.Self.Name, StateName(a.m.state), b.cfg.Self.Name)
			}
		}
	}
	if members == 0 {
		n.violated("EL9: behind %s nobody is a member", where)
	}
}

// TestEL5_EL9_EveryCutOfThreeAndFourNodes cuts three nodes, and four, in every way in
// which single directions can fail ("A hears B, B does not hear A, C hears all"), and
// three nodes from any such way to any other one. Behind each, nodes start anew. With
// -short: some.
func TestEL5_EL9_EveryCutOfThreeAndFourNodes(t *testing.T) {
	try := func(count int, masks ...uint64) {
		n := mesh(1, count, time.Second)
		for _, mask := range masks {
			n.pattern(mask)
			n.run(12 * time.Second)
			n.checkStill()
		}
		if len(masks) == 1 {
			for _, a := range n.nodes[masks[0]%2:] {
				a.boot()
				n.run(12 * time.Second)
				n.checkStill()
			}
		}
		n.heal()
		n.run(14 * time.Second)
		if _, why := n.agreed(); why != "" {
			n.violated("after the heal: %s", why)
		}
		for _, b := range n.broken {
			t.Errorf("%d nodes, cuts %#x: %s", count, masks, b)
		}
	}
	for _, deaf := range []uint64{0x11, 0x14, 0x15} { // n0 is heard, and does not hear who joins it
		try(3, 0x3f, deaf)
	}
	step := uint64(max(1, 8*defaultSeeds / *seeds))
	if testing.Short() {
		step = 37
	}
	for one := range uint64(1 << 6) {
		try(3, one)
		for two := one % step; two < 1<<6; two += step {
			try(3, one, two)
		}
	}
	for mask := uint64(0); mask < 1<<12; mask += step {
		try(4, mask)
	}
}

// TestHL1_WhoHearsTheControlNodeStays: of a member's heartbeats only a question comes
// through, and the answer to it, and then nothing for less than the hold time: it was
// never silent, and it hears the control node.
func TestHL1_WhoHearsTheControlNodeStays(t *testing.T) {
	n := mesh(1, 3, time.Second)
	n0, n1 := n.nodes[0], n.nodes[1]
	n.run(time.Duration(max(n0.m.nextBeat, n1.m.nextBeat)-n.now) + 5*time.Millisecond) // both were just heard
	cut := func() { n.cuts = map[[2]*testNode]bool{{n0, n1}: true, {n1, n0}: true} }
	cut()
	p := n0.m.peers[n1.cfg.Self.VTEP]
	n.run(750 * time.Millisecond)
	for asked := p.asked; p.asked == asked; { // between two questions of the control node
		n.run(time.Millisecond)
	}
	n.heal()
	question := n1.m.hello(n.now)
	question.Alive &^= 1 << n0.m.self.ID
	n1.Send(n0.cfg.Self.VTEP, question)
	n.run(4 * time.Millisecond)
	cut()
	n.run(900 * time.Millisecond)
	n.heal()
	n.run(3 * time.Second)
	if _, why := n.agreed(); why != "" || n1.fences > 0 {
		t.Errorf("%s was fenced %d times; %s\n%s", n1.cfg.Self.Name, n1.fences, why, n.log.String())
	}
}

// TestHL1_WhoIsHeardIsAskedWhetherItHears: four heartbeats of a member in a row are lost,
// and what else it sends is not. Before it is removed as one that does not hear the
// control node, it is asked.
func TestHL1_WhoIsHeardIsAskedWhetherItHears(t *testing.T) {
	n := mesh(1, 3, time.Second)
	n0, n1 := n.nodes[0], n.nodes[1]
	n.run(time.Duration(max(n0.m.nextBeat, n1.m.nextBeat)-n.now) + 5*time.Millisecond) // both were just heard
	for ms := range 1500 {
		n.cuts = map[[2]*testNode]bool{}
		if ms < 1020 || ms > 1290 { // the beats are at 330, 660, 990 and 1330
			n.cuts[[2]*testNode{n1, n0}] = true
		}
		if ms%50 == 0 {
			n0.do(func() { n0.m.Heard(n.now, n1.cfg.Self.VTEP) })
		}
		n.run(time.Millisecond)
	}
	n.heal()
	n.run(3 * time.Second)
	if _, why := n.agreed(); why != "" || n1.fences > 0 {
		t.Errorf("%s was fenced %d times; %s\n%s", n1.cfg.Self.Name, n1.fences, why, n.log.String())
	}
}

// TestCL6_WhatAHeartbeatOvertookIsNoNews: the heartbeats that say that all others follow
// a new control node are there, and then the ones before them arrive. The former control
// node, which nobody hears, believes the newer ones of both.
func TestCL6_WhatAHeartbeatOvertookIsNoNews(t *testing.T) {
	n := mesh(1, 3, time.Second)
	n0 := n.nodes[0]
	old := map[*testNode]wire.Heartbeat{}
	for _, o := range n.nodes[1:] {
		old[o] = o.m.hello(n.now)
		n.cuts[[2]*testNode{n0, o}] = true
	}
	for range 20000 {
		n.run(time.Millisecond / 4)
		if p := n0.m.peers[vtep(2)]; n0.m.strayed(p) {
			break
		}
	}
	n.run(2 * time.Millisecond)
	was := n0.applied
	for _, o := range n.nodes[1:] {
		if !n0.m.strayed(n0.m.peers[o.cfg.Self.VTEP]) {
			t.Fatalf("%s does not follow another control node: nothing is tested", o.cfg.Self.Name)
		}
	}
	n0.do(func() { n0.m.Step(n.now, vtep(2), old[n.nodes[1]]) })
	n.run(50 * time.Millisecond)
	if v := n0.applied; v == was || len(v.Members) != 1 {
		t.Errorf("%s keeps %+v\n%s", n0.cfg.Self.Name, v.Members, n.log.String())
	}
	n.heal()
	n.run(5 * time.Second)
	for _, o := range n.nodes {
		if o.fences > 0 {
			t.Errorf("%s was fenced", o.cfg.Self.Name)
		}
	}
}
