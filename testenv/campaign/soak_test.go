package campaign

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
)

// After load has ended and time-outs have passed, every table of every node is
// empty again, also after deaths in the middle of it (FR15).
func TestFR15_TablesEmptyAfterChurn(t *testing.T) {
	beside(t)
	l := newLab(t, topology.Config{
		HoldTime: time.Second, Track: quick,
		Timeouts: "{tcp_syn: 2s, tcp_established: 10s, tcp_half_closed: 2s, tcp_closing: 2s, tcp_time_wait: 1s, udp: 2s, udp_stream: 2s, icmp: 2s, other: 2s}",
	}, time.Duration(size(80, 600))*time.Second)
	o := startLoad(t, l)
	for range killRounds(1, 20) {
		l.protected(t, o.keys())
		n := role(l, t, "owner", o.keys())
		if _, err := n.PowerOff(); err != nil {
			t.Fatal(err)
		}
		if err := l.WaitFormed(l.ctx, len(l.Nodes)-1); err != nil {
			t.Fatal(err)
		}
		l.heard(t, o)
		if err := n.PowerOn(); err != nil {
			t.Fatal(err)
		}
		l.whole(t)
		l.protected(t, o.keys())
		if err := n.RestartDaemon(); err != nil {
			t.Fatal(err)
		}
		l.whole(t)
		l.heard(t, o)
	}
	o.churn()
	churned := <-o.churned
	o.churned <- churned // for the clean-up
	if lost := append(o.idle.Finish(), o.busy.Finish()...); len(lost) > 0 {
		t.Errorf("lost connections: %v", lost)
	}
	o.busy.Close()
	o.streams.Finish(0)
	held := l.fill(t)
	// Without FIN or RST idle connections and UDP end by their idle time alone.
	begin := time.Now()
	ctx, cancel := context.WithTimeout(l.ctx, 40*time.Second)
	defer cancel()
	err := topology.Poll(ctx, func() (bool, error) { f := l.fill(t); return f.Owned+f.Copies+f.Forwards == 0, nil })
	if err != nil {
		t.Errorf("tables are not empty %v after the last packet: %+v", time.Since(begin), l.fill(t))
		c := l.census(t)
		for _, k := range slices.Collect(maps.Keys(c))[:min(len(c), 20)] {
			t.Log(c.Describe(k))
		}
	}
	r := NewResult("soak", *command)
	r.Add("short connections", churned.Done, "")
	r.Add("entries at the end of the load: owned / copies / forwards", fmt.Sprintf("%d / %d / %d", held.Owned, held.Copies, held.Forwards), "")
	left := l.fill(t)
	r.Add("after the time-outs", fmt.Sprintf("%d / %d / %d", left.Owned, left.Copies, left.Forwards), "0 / 0 / 0")
	r.Add("empty after", time.Since(begin).Round(100*time.Millisecond), "")
	finish(t, r)
}

// heard waits until all of the load has been heard of from now on: what a dead
// node owned has new owners then.
func (l *lab) heard(t *testing.T, o *load) {
	t.Helper()
	now := time.Now()
	if err := topology.Poll(l.ctx, func() (bool, error) { return o.allSince(now), nil }); err != nil {
		t.Fatalf("not everything lives: %v", err)
	}
}

// fill sums the tables of all nodes.
func (l *lab) fill(t *testing.T) (sum api.Tables) {
	t.Helper()
	for _, n := range l.Nodes {
		one, err := n.API().Tables(l.ctx)
		if err != nil {
			t.Fatal(err)
		}
		sum.Owned += one.Owned
		sum.Copies += one.Copies
		sum.Forwards += one.Forwards
		sum.Stubs += one.Stubs
	}
	return sum
}
