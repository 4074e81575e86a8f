package scenario

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// exposure asks a node what the cluster would lose with each.
func exposure(t *testing.T, n *topology.Node) api.Exposure {
	t.Helper()
	e, err := n.API().Exposure(t.Context())
	must(t, err)
	return e
}

// own is what a node says of itself.
func own(e *api.Exposure) *api.NodeExposure {
	for i := range e.Nodes {
		if e.Nodes[i].Node == e.Self {
			return &e.Nodes[i]
		}
	}
	return &api.NodeExposure{AgeMS: -1}
}

// untilExposed asks a node until what it says is as wanted.
func untilExposed(t *testing.T, ctx context.Context, n *topology.Node, what string, wanted func(e *api.Exposure) bool) api.Exposure {
	t.Helper()
	for {
		e := exposure(t, n)
		if wanted(&e) {
			return e
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: not %s: %+v", n.Name, what, e)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestMG9_ExposureRisesWithACutLinkAndFalls: a node that takes new connections while
// nothing it sends on the control link arrives says so, and when the link is back it
// has nothing left to say.
func TestMG9_ExposureRisesWithACutLinkAndFalls(t *testing.T) {
	top := formed(t, topology.Config{Nodes: 2, HoldTime: 10 * time.Second})
	ctx := within(t, 60*time.Second)
	to := netip.AddrPortFrom(top.Servers[0].Addr, 7)
	echo, err := traffic.ServeEcho(top.Servers[0].Namespace, to)
	must(t, err)
	defer echo.Close()
	pool := func(count int) (*traffic.Pool, error) {
		return traffic.OpenPool(ctx, top.Clients[0].Namespace, to, traffic.PoolConfig{Connections: count, Interval: time.Minute})
	}
	first, err := pool(100)
	must(t, err)
	defer first.Close()
	quiet := func(e *api.Exposure) bool {
		n := own(e)
		for _, p := range e.Peers {
			if p.LagMS != 0 || p.Queued != 0 {
				return false
			}
		}
		return n.AgeMS >= 0 && n.Owned > 0 && n.Async == 0 && n.LagMS == 0
	}
	for _, n := range top.Nodes {
		e := untilExposed(t, ctx, n, "quiet", quiet)
		if p := e.Peers[0]; p.Count == 0 || p.P99MS == 0 || p.P99MS < p.P50MS {
			t.Errorf("%s: replication to %+v", n.Name, p)
		}
	}

	a := top.Nodes[0]
	cut := time.Now()
	must(t, a.CutCCL(topology.FromNode))
	second := make(chan error, 1)
	var more *traffic.Pool
	go func() { // some of them wait for the other node, which hears of none
		p, err := pool(100)
		more = p
		second <- err
	}()
	up := untilExposed(t, ctx, a, "exposed", func(e *api.Exposure) bool {
		n := own(e)
		return n.Async >= 10 && n.IfDies.Lost >= 10 && n.LagMS > 1000 && e.Peers[0].Queued > 0
	})
	since := time.Since(cut)
	most := float64(since.Milliseconds() + 100) // what was on its way when the cable was cut is older
	if n := own(&up); n.LagMS > most || up.Peers[0].LagMS > most || n.Sync+n.NoCopy+n.Behind != 0 {
		t.Errorf("%v after the cut: %+v, %+v", since, n, up.Peers)
	}
	t.Logf("%v after the cut: %+v, %+v", since.Round(time.Millisecond), *own(&up), up.Peers)
	must(t, a.MendCCL(topology.FromNode))
	must(t, <-second)
	defer more.Close()
	total := 0
	for _, n := range top.Nodes {
		e := untilExposed(t, ctx, n, "quiet again", quiet)
		total += own(&e).Owned
	}
	if total < 200 {
		t.Errorf("%d connections are owned, 200 are open", total)
	}
	if got := members(t, top); len(got) != 2 {
		t.Errorf("members %v: the cut was longer than the test means", got)
	}
}

// states counts, at one node, from how many copies another's connections can go on.
func states(t *testing.T, at *topology.Node, owner string) (n int) {
	t.Helper()
	_, err := at.API().Conns(t.Context(), api.ConnFilter{Role: api.Backup}, 0, func(c *api.Conn) error {
		if c.Owner == owner {
			n++
		}
		return nil
	})
	must(t, err)
	return n
}

// TestMG9_WhatDiesWithANodeIsWhatWasSaid: of a quiet cluster with connections of
// durability async and none, one node's power goes off. As many connections end, as
// many are taken over, and as many copies are gone, as every other node had said.
func TestMG9_WhatDiesWithANodeIsWhatWasSaid(t *testing.T) {
	t.Parallel()
	top := formed(t, topology.Config{
		HoldTime: time.Second,
		Rules: []string{
			"{name: brief, from: inside, to: outside, protocol: tcp, ports: [8081], action: allow, durability: none}",
			"{name: kept, from: inside, to: outside, protocol: tcp, ports: [8080], action: allow}",
		},
	})
	ctx := within(t, 60*time.Second)
	open := func(port uint16, count int) *traffic.Pool {
		to := netip.AddrPortFrom(top.Servers[0].Addr, port)
		echo, err := traffic.ServeEcho(top.Servers[0].Namespace, to)
		must(t, err)
		t.Cleanup(func() { echo.Close() })
		p, err := traffic.OpenPool(ctx, top.Clients[0].Namespace, to, traffic.PoolConfig{Connections: count, Interval: time.Minute, Timeout: 5 * time.Second})
		must(t, err)
		return p
	}
	kept := open(8080, 240)
	defer kept.Close()
	brief := open(8081, 90)
	defer brief.Close()

	victim, witness := top.Nodes[0], top.Nodes[1]
	settled := untilExposed(t, ctx, witness, "told of all", func(e *api.Exposure) bool {
		owned := 0
		for i := range e.Nodes {
			if n := &e.Nodes[i]; n.AgeMS < 0 || n.Async+n.Sync != 0 {
				return false
			}
			owned += e.Nodes[i].Owned
		}
		return owned == 330
	})
	var said api.NodeExposure
	for i := range settled.Nodes {
		if settled.Nodes[i].Node == victim.Name {
			said = settled.Nodes[i]
		}
	}
	if d := said.IfDies; d.Lost < 10 || d.Moves < 30 || len(d.To) != 2 || d.CopiesLost < 30 {
		t.Fatalf("%+v: the test tests nothing", said)
	}
	for _, h := range said.IfDies.To {
		for _, n := range top.Nodes {
			if got := states(t, n, victim.Name); n.Name == h.Node && got != h.Connections {
				t.Errorf("%s has the state of %d connections of %s, said were %d", n.Name, got, victim.Name, h.Connections)
			}
		}
	}
	copies := 0
	for _, n := range top.Nodes[1:] {
		copies += states(t, victim, n.Name)
	}
	if copies != said.IfDies.CopiesLost {
		t.Errorf("%s has %d copies of others' connections, said were %d", victim.Name, copies, said.IfDies.CopiesLost)
	}

	_, err := victim.PowerOff()
	must(t, err)
	must(t, top.WaitFormed(ctx, 2))
	lost := 0
	for _, p := range []*traffic.Pool{kept, brief} {
		r := p.Close()
		lost += r.Wanted - r.Done
		if p == kept && r.Err() != nil {
			t.Errorf("connections with a copy: %v", r)
		}
	}
	if lost != said.IfDies.Lost {
		t.Errorf("%d connections ended, said were %d", lost, said.IfDies.Lost)
	}
	if moved := counter(t, top, "connections_adopted"); int(moved) != said.IfDies.Moves {
		t.Errorf("%d connections were taken over, said were %d", moved, said.IfDies.Moves)
	}
	t.Logf("%s died: %d lost, %d taken over, %d copies lost, as said", victim.Name, lost, said.IfDies.Moves, copies)
}
