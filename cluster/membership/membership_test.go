package membership

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cohort/ccl/wire"
)

// formed is a healthy cluster of count nodes.
func formed(t *testing.T, count int) *network {
	t.Helper()
	return formedWith(t, count, func(*network) {})
}

// formedWith is the same of nodes that have been prepared before they boot.
func formedWith(t *testing.T, count int, prepare func(*network)) *network {
	t.Helper()
	n := newNetwork(1)
	for i := range count {
		n.add(fmt.Sprintf("n%d", i+1), uint8(i+1))
	}
	n.connect()
	prepare(n)
	for _, node := range n.nodes {
		node.boot()
	}
	n.run(5 * time.Second)
	if _, why := n.agreed(); why != "" {
		t.Fatal(why)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("\n" + n.log.String())
		}
		for _, b := range n.broken {
			t.Error(b)
		}
	})
	return n
}

func TestEL9_SixteenAndSixtyThreeNodes(t *testing.T) {
	for _, count := range []int{1, 16, 63} {
		n := formed(t, count)
		if v := n.nodes[0].applied; len(v.Members) != count || v.Control != 1 {
			t.Fatalf("%d nodes form %+v", count, v)
		}
		if views := len(n.nodes[0].history); views > 2 {
			t.Errorf("%d nodes that boot together take %d views", count, views)
		}
		for _, node := range n.nodes[:count/2] { // the control node among them
			node.kill()
		}
		n.run(3500 * time.Millisecond)
		if _, why := n.agreed(); why != "" {
			t.Errorf("%d nodes, half of them killed: %s", count, why)
		}
	}
}

// EL9: whatever dies, in whatever order, the last one goes on and forwards.
func TestEL9_TheLastNodeStays(t *testing.T) {
	n := formed(t, 5)
	for _, i := range []int{2, 0, 4, 1} {
		n.nodes[i].kill()
		n.run(4 * time.Second)
	}
	last := n.nodes[3]
	if v, why := n.agreed(); why != "" || !last.m.ruling() || len(v.Members) != 1 {
		t.Fatalf("view %+v: %s", v, why)
	}
	if last.lease <= n.now {
		t.Error("the last node may not forward")
	}
}

// EL6: all members see the same sequence of views.
func TestEL6_OneSequenceOfViews(t *testing.T) {
	n := formed(t, 4)
	n.nodes[3].kill()
	n.run(4 * time.Second)
	n.nodes[3].boot()
	n.run(time.Second)
	for _, node := range n.nodes[1:3] {
		var a, b []*wire.View
		for _, h := range n.nodes[0].history[1:] {
			a = append(a, h.v)
		}
		for _, h := range node.history {
			b = append(b, h.v)
		}
		if diff := cmp.Diff(a, b, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("views of n1 and %s differ:\n%s", node.cfg.Self.Name, diff)
		}
	}
	if x, y := n.nodes[0].history[1].v.Tag(), n.nodes[0].applied.Tag(); x == y {
		t.Errorf("two views have the tag %x", x)
	}
}

// HL1: any authenticated packet keeps a node alive.
func TestHL1_AnyPacketCounts(t *testing.T) {
	n := formed(t, 2)
	a, b := n.nodes[0], n.nodes[1]
	b.kill()
	for range 100 {
		n.run(100 * time.Millisecond)
		a.do(func() { a.m.Heard(n.now, b.cfg.Self.VTEP) })
	}
	// 10 s later it is still there, but has not acknowledged the control node.
	var cause string
	for _, e := range a.m.Status(n.now).Events {
		cause = e.Cause
	}
	if !strings.Contains(cause, "does not hear the control node") {
		t.Errorf("last event is %q", cause)
	}
}

// HL5: lease times of a healthy node, and none for the others.
func TestHL5_Lease(t *testing.T) {
	n := newNetwork(1)
	a := n.add("a", 1)
	n.add("b", 2)
	n.connect()
	a.boot()
	n.run(10 * time.Second)
	if l := a.m.LeaseUntil(n.now); l != 0 {
		t.Fatalf("a node without a view has a lease until %d", l)
	}
	n.nodes[1].boot()
	n.run(10 * time.Second)
	hold := int64(DefaultHold)
	if l := a.m.LeaseUntil(n.now) - n.now; l <= hold*6/10-hold/3-int64(time.Millisecond) || l > hold*6/10 {
		t.Errorf("lease ends in %v", time.Duration(l))
	}
	stuck := n.now + hold
	if l := a.m.LeaseUntil(stuck); l != 0 {
		t.Errorf("a node that did not run for the hold time renews until %d", l)
	}
	a.do(func() { a.m.Leave(n.now, "left") })
	if l := a.m.LeaseUntil(n.now); l != 0 {
		t.Errorf("a node that left has a lease until %d", l)
	}
}

// HL5: a planned restart leaves nearly a hold time.
func TestHL5_PlannedRestart(t *testing.T) {
	n := formed(t, 3)
	b := n.nodes[1]
	n.run(700 * time.Millisecond)
	b.lease = b.m.PlanRestart(n.now)
	b.kill()
	n.run(2600 * time.Millisecond)
	if b.lease <= n.now {
		t.Error("the lease ended early")
	}
	b.resume()
	n.run(10 * time.Millisecond)
	if v, why := n.agreed(); why != "" || b.m.doubt.on {
		t.Errorf("view %v: %s", v, why)
	}
	if len(b.history) != 1 || len(n.nodes[0].history) != 2 {
		t.Error("the restart changed the view")
	}
	if b.m.PlanRestart(n.now) == 0 || func() int64 { b.m.Leave(n.now, "left"); return b.m.PlanRestart(n.now) }() != 0 {
		t.Error("PlanRestart does not depend on the membership")
	}
}

func TestResumeRefusesWhatIsNotItsOwn(t *testing.T) {
	n := formed(t, 2)
	b := n.nodes[1]
	v := b.applied
	for what, try := range map[string]func(m *Machine) error{
		"no view":   func(m *Machine) error { return m.Resume(n.now, nil, 2) },
		"other id":  func(m *Machine) error { return m.Resume(n.now, v, 1) },
		"bad view":  func(m *Machine) error { return m.Resume(n.now, &wire.View{Term: 5, Epoch: 1}, 2) },
		"new life":  func(m *Machine) error { m.self.Incarnation = 77; return m.Resume(n.now, v, 2) },
		"running":   func(m *Machine) error { m.Start(n.now); return m.Resume(n.now, v, 2) },
		"no rejoin": func(m *Machine) error { m.Start(n.now); return m.Rejoin(n.now, 99) },
		"same life": func(m *Machine) error { return m.Rejoin(n.now, m.self.Incarnation) },
	} {
		b.launch(b.cfg.Self.Incarnation)
		if err := try(b.m); err == nil || !strings.HasPrefix(err.Error(), "membership: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	good := Config{
		Self:  wire.Member{Name: "a", VTEP: vtep(1), Priority: 1, Incarnation: 1},
		Peers: []netip.Addr{vtep(1), vtep(2), vtep(2)},
	}
	if m, err := New(good, nil); err != nil || len(m.order) != 1 || m.cfg.Hold != DefaultHold {
		t.Fatalf("%v", err)
	}
	for want, change := range map[string]func(*Config){
		"no name":            func(c *Config) { c.Self.Name = "" },
		"no CCL address":     func(c *Config) { c.Self.VTEP = netip.Addr{} },
		"priority 0":         func(c *Config) { c.Self.Priority = 0 },
		"priority 101":       func(c *Config) { c.Self.Priority = 101 },
		"incarnation":        func(c *Config) { c.Self.Incarnation = 0 },
		"has id 3":           func(c *Config) { c.Self.ID = 3 },
		"hold time 1ms":      func(c *Config) { c.Hold = time.Millisecond },
		"hold time 46s":      func(c *Config) { c.Hold = 46 * time.Second },
		"do not fit":         func(c *Config) { c.ElectionWait = time.Second },
		"is empty":           func(c *Config) { c.Peers = append(c.Peers, netip.Addr{}) },
		"same low 12 bits":   func(c *Config) { c.Peers = append(c.Peers, netip.MustParseAddr("10.99.16.1")) },
		"out of range":       func(c *Config) { c.LastTerm = math.MaxUint32 },
		"at most 63 nodes":   func(c *Config) { c.Peers = manyPeers(63) },
		"quick wait -1ns do": func(c *Config) { c.QuickWait = -1 },
	} {
		c := good
		change(&c)
		if _, err := New(c, nil); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func manyPeers(count int) (list []netip.Addr) {
	for i := range count {
		list = append(list, vtep(2+i))
	}
	return list
}

// A member that hears of newer views but gets none for the hold time is out:
// others act without it.
func TestEL6_AMemberThatGetsNoViewsStops(t *testing.T) {
	n := formed(t, 2)
	a, b := n.nodes[0], n.nodes[1]
	h := a.m.hello(n.now)
	h.Epoch++
	a.kill()
	for range 12 {
		n.run(300 * time.Millisecond)
		b.do(func() { b.m.Step(n.now, a.cfg.Self.VTEP, h) })
	}
	if b.fences != 1 || b.lease != 0 {
		t.Errorf("fenced %d times, state %s", b.fences, StateName(b.m.state))
	}
}

// A control node that was held up a little does not take its own deafness for
// the death of others.
func TestHL5_LateIsNotDeaf(t *testing.T) {
	n := formed(t, 2)
	a, b := n.nodes[0], n.nodes[1]
	n.cuts[[2]*testNode{b, a}] = true
	for n.now-a.m.order[0].last < 2*second || n.now-a.m.beatAt > second/10 {
		n.run(10 * time.Millisecond)
	}
	a.pause()
	n.run(1500 * time.Millisecond)
	n.heal()
	a.unpause()
	n.run(time.Second)
	if a.m.doubt.on || len(a.history) != 2 || len(b.history) != 1 {
		t.Errorf("the view changed: %+v", a.m.Status(n.now).Events)
	}
}

// CL4: nobody speaks for another address.
func TestCL4_NobodySpeaksForAnother(t *testing.T) {
	n := formed(t, 3)
	a, b, c := n.nodes[0], n.nodes[1], n.nodes[2]
	b.do(func() { b.m.Step(n.now, c.cfg.Self.VTEP, wire.Leave{From: a.m.self}) })
	n.run(time.Second)
	if b.m.ruling() || b.m.Status(n.now).Malformed != 1 {
		t.Error("a forged Leave removed the control node")
	}
}

// A cluster that is full says so.
func TestEL8_FullCluster(t *testing.T) {
	n := formed(t, 2)
	a := n.nodes[0]
	v := *a.m.view
	for i := len(v.Members) + 1; i < wire.MaxNodes; i++ {
		v.Members = append(v.Members, wire.Member{ID: wire.NodeID(i), Name: fmt.Sprint("x", i), VTEP: vtep(100 + i)})
	}
	a.m.view = &v
	j := wire.Join{
		From:    wire.Member{Name: "late", VTEP: vtep(99), Incarnation: 1, Priority: 1},
		Cluster: "edge", Version: "1", DataMTU: 1500, Interfaces: []string{"outside", "inside"},
	}
	if got := a.m.objection(&j); got != "the cluster is full: 63 nodes" {
		t.Errorf("objection %q", got)
	}
}

// A reload does not switch NAT on or off: who has it and meets a cluster without, or
// the other way round, is told which of the two, and to restart.
func TestEL8_NATOnOneSide(t *testing.T) {
	a := formed(t, 1).nodes[0]
	for _, c := range []struct {
		has, want uint64
		advice    string
	}{
		{0xa00000002, 0xb00000002, "bring policy and nat in its cluster.yaml up to date and reload it"},
		{0xa00000003, 0xb00000003, "bring policy and nat in its cluster.yaml up to date and reload it"},
		{0xa00000003, 0xb00000002, "its cluster.yaml has rules or pools in nat, the cluster has none: take nat out and restart the node"},
		{0xa00000002, 0xb00000003, "its cluster.yaml has no rules or pools in nat, the cluster has: put nat in as the others have it and restart the node"},
	} {
		a.m.running = c.want
		j := wire.Join{
			From:    wire.Member{Name: "late", VTEP: vtep(99), Incarnation: 1, Priority: 1},
			Cluster: "edge", Version: "1", DataMTU: 1500, Interfaces: []string{"outside", "inside"}, Config: c.has,
		}
		if got, want := a.m.objection(&j), "configuration 0000000a, the cluster runs 0000000b: "+c.advice; got != want {
			t.Errorf("objection %q, want %q", got, want)
		}
		a.m.running = c.has
		v := *a.m.view
		v.Config = c.want
		if got, want := a.m.unfit(&v), "here it is 0000000a: "+strings.ReplaceAll(c.advice, "its cluster.yaml", "cluster.yaml"); !strings.HasSuffix(got, want) {
			t.Errorf("a view with it: %q, want the end %q", got, want)
		}
	}
}

func TestMG1_Status(t *testing.T) {
	n := formed(t, 3)
	n.nodes[2].kill()
	n.run(1500 * time.Millisecond)
	s := n.nodes[0].m.Status(n.now)
	if !s.Control || s.State != wire.StateInSync || s.Self.ID != 1 || s.LeaseUntil <= n.now || len(s.Events) != 3 {
		t.Errorf("%+v", s)
	}
	b, c := s.Peers[0], s.Peers[1]
	if !b.Alive || !b.Applied || !b.HearsUs || b.Member.ID != 2 || b.LastHeard > time.Second || b.State != wire.StateInSync {
		t.Errorf("n2: %+v", b)
	}
	if !c.Alive || c.LastHeard < 1500*time.Millisecond || c.Member.Name != "n3" {
		t.Errorf("n3: %+v", c)
	}
	n.run(2 * time.Second)
	if c := n.nodes[0].m.Status(n.now).Peers[1]; c.Alive || c.Member.ID != 0 || !c.Heard {
		t.Errorf("n3 after its removal: %+v", c)
	}
}

func TestHistoryKeepsTheNewest(t *testing.T) {
	var h history
	for i := range 300 {
		h.add(Event{At: int64(i)})
	}
	l := h.list()
	if len(l) != 128 || l[0].At != 172 || l[127].At != 299 {
		t.Errorf("%d events, %d to %d", len(l), l[0].At, l[len(l)-1].At)
	}
}

// All nodes of a cluster restart at once, the former control node alone first. No view
// is named as one before: a straggler that still is in that one must not take what is
// said in the new one for its own. It is the memory that sees to it: without, the very
// first view comes again.
func TestFR13_EL5_ViewsAreNotNamedTwice(t *testing.T) {
	for _, remembers := range []bool{true, false} {
		n := formed(t, 3)
		before := map[uint32]bool{}
		var last *wire.View
		for _, node := range n.nodes {
			for _, h := range node.history {
				before[h.v.Tag()] = true
				if last = h.v; !remembers {
					node.term, node.epoch = 0, 0
				}
			}
			node.history = nil
			node.kill()
		}
		n.nodes[0].boot()
		n.run(time.Minute)
		n.nodes[1].boot()
		n.nodes[2].boot()
		n.run(time.Minute)
		again := 0
		for _, node := range n.nodes {
			if len(node.history) == 0 {
				t.Fatalf("%s is in no view", node.cfg.Self.Name)
			}
			for _, h := range node.history {
				if before[h.v.Tag()] {
					again++
				}
				if remembers && !h.v.Newer(last) {
					t.Errorf("%s is not newer than %s", ViewName(h.v.Term, h.v.Epoch), ViewName(last.Term, last.Epoch))
				}
			}
		}
		if !remembers {
			n.broken = nil // two views of one name are among what is checked everywhere
		}
		if (again > 0) == remembers {
			t.Errorf("with a memory: %v; %d views are named as one before", remembers, again)
		}
	}
}

func TestTermsOfTwoNodesDiffer(t *testing.T) {
	a, b := formed(t, 2).nodes[0].m, &Machine{}
	b.self.VTEP = vtep(2)
	for _, m := range []*Machine{a, b} {
		m.maxTerm = 9 << termHostBits
	}
	if a.openTerm() == b.openTerm() || Round(a.openTerm()) != 10 || Round(b.openTerm()) != 10 {
		t.Errorf("%x and %x", a.openTerm(), b.openTerm())
	}
}
