package campaign

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// outAndIn is how an operator takes a node out, and how it comes back.
type outAndIn struct {
	name    string
	out, in string // verbs
	other   bool   // the first is said to another node
}

var outsAndIns = []outAndIn{
	{name: "drain", out: api.VerbDrain, in: api.VerbEnable, other: true},
	{name: "leave", out: api.VerbLeave, in: api.VerbJoin},
	{name: "disable", out: api.VerbDisable, in: api.VerbEnable},
}

// shareWithin is how soon new connections are spread over the members again.
const shareWithin = 10 * time.Second

// Nodes join, drain, leave and come back in a cluster with 10,000 live TCP
// connections behind one public address, and others begin all the time. None is lost,
// none is refused, and new ones are spread over all members soon after.
func TestEL10_TR5_VerbsUnderLoad(t *testing.T) {
	beside(t)
	n := killRounds(1, 3)
	every := time.Duration(size(2, 5)) * time.Second // between two words of a connection
	l := newLab(t, topology.Config{NAT: onePublicAddress, HoldTime: time.Second, Track: quick, Health: promptHealth}, time.Duration(n)*3*time.Minute+3*time.Minute)
	v := &verbs{l: l, t: t}
	last := l.Nodes[len(l.Nodes)-1]
	if _, err := last.PowerOff(); err != nil { // it joins for the first time, under load
		t.Fatal(err)
	}
	v.formed(len(l.Nodes) - 1)
	server, err := traffic.ServeEchoApart(l.server.Namespace, l.at(70))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	v.open, err = OpenTalks(l.ctx, l.client, server.Addr, TalksConfig{
		Connections: size(500, 10_000), Bytes: 64, Every: every, Timeout: 30 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.open.Close)
	before := l.counters(t)
	v.phase("first join", len(l.Nodes), func() error {
		if err := last.PowerOn(); err != nil {
			return err
		}
		return l.WaitFormed(l.ctx, len(l.Nodes))
	})
	for range n {
		for _, o := range outsAndIns[:size(2, len(outsAndIns))] { // disable is leave, and stays out after a restart
			v.outAndIn(o, v.richest())
		}
	}
	lost := v.open.Finish()
	if len(lost) > 0 {
		t.Errorf("%d connections lost: %v", len(lost), lost[:min(5, len(lost))])
	}
	v.report(lost, growth(before, l.counters(t)))
}

// verbs is a campaign under way.
type verbs struct {
	l     *lab
	t     *testing.T
	open  *Talks
	steps []*step
}

// richest is the node that owns most of the open connections.
func (v *verbs) richest() (n *topology.Node) {
	v.t.Helper()
	c, count := v.l.census(v.t), map[*topology.Node]int{}
	for _, k := range v.open.Keys() {
		for _, by := range c.With(k, api.Owner) {
			if count[by]++; n == nil || count[by] > count[n] {
				n = by
			}
		}
	}
	return n
}

// step is one verb and what became of it.
type step struct {
	what         string
	done, shared time.Duration // after it was said
	moved        uint64        // connections, from a node on its way out
	stall        time.Duration // longest wait of an open connection
	begun        int           // connections meanwhile
	failed       []error
}

// outAndIn takes a node out and lets it come back.
func (v *verbs) outAndIn(o outAndIn, n *topology.Node) {
	t, l := v.t, v.l
	t.Helper()
	act := func(n *topology.Node, verb, about string) error {
		a, err := n.API().Act(l.ctx, verb, about)
		if err == nil && (!a.Done || a.Left > 0) {
			err = fmt.Errorf("%s of %s: %+v", verb, n.Name, a)
		}
		return err
	}
	v.phase(o.name, len(l.Nodes)-1, func() error {
		if !o.other {
			return act(n, o.out, "")
		}
		i := slices.Index(l.Nodes, n)
		return act(l.Nodes[(i+1)%len(l.Nodes)], o.out, n.Name)
	})
	v.phase(o.in+" after "+o.name, len(l.Nodes), func() error { return act(n, o.in, "") })
	l.whole(t)
}

func (v *verbs) formed(n int) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.l.ctx, 30*time.Second)
	defer cancel()
	if err := v.l.WaitFormed(ctx, n); err != nil {
		v.t.Fatal(err)
	}
}

// phase says something to the cluster while connections begin, and waits until they
// are spread over so many members, and all that is open has said something since.
func (v *verbs) phase(what string, members int, say func() error) {
	t, l := v.t, v.l
	t.Helper()
	s := &step{what: what}
	v.steps = append(v.steps, s)
	v.open.Mark()
	before := l.counters(t)
	a := StartArrivals(l.ctx, l.client, l.echo.Addr, arrivalEvery, arrivalPatience)
	defer a.Finish()
	said := time.Now()
	if err := say(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	done := time.Now()
	s.done = done.Sub(said)
	// Those who begin before a node is out move away from it: they prove nothing.
	since := said
	if members < len(l.Nodes) {
		since = done
	}
	ctx, cancel := context.WithDeadline(l.ctx, done.Add(shareWithin+20*time.Second))
	defer cancel()
	why := ""
	err := topology.Poll(ctx, func() (bool, error) {
		c, err := TakeCensus(ctx, l.Topology, api.ConnFilter{Port: l.echo.Addr.Port(), Role: api.Owner})
		if err != nil {
			return false, err
		}
		var at time.Time
		at, why = sharedAt(a.Owners(since, c), l.membersNow(t), members)
		s.shared = at.Sub(said)
		return !at.IsZero(), nil
	})
	if err != nil {
		t.Logf("blocks %v", v.blocks())
		t.Fatalf("%s: new connections are not spread over %d members: %v: %s", what, members, err, why)
	}
	if s.shared > s.done+shareWithin {
		t.Errorf("%s: new connections were spread over %d members after %v, want %v", what, members, s.shared, shareWithin)
	}
	if err := topology.Poll(ctx, func() (bool, error) { return v.open.AllSince(done), nil }); err != nil {
		t.Fatalf("%s: not everything talks: %v", what, err)
	}
	s.stall = slices.Max(v.open.Stalls())
	for _, k := range a.Finish() {
		s.begun++
		if k.Err != nil {
			s.failed = append(s.failed, k.Err)
		}
	}
	if len(s.failed) > 0 {
		t.Errorf("%s: %d of %d connections that began meanwhile failed: %v", what, len(s.failed), s.begun, s.failed[:min(3, len(s.failed))])
	}
	if lost := v.open.Lost(); len(lost) > 0 {
		t.Fatalf("%s lost %d connections: %v", what, len(lost), lost[:min(5, len(lost))])
	}
	grown := growth(before, l.counters(t))
	s.moved = grown["connections_bequeathed"]
	if adopted := grown["connections_adopted"]; adopted > 0 || members < len(l.Nodes) && s.moved == 0 {
		t.Errorf("%s: %d connections moved, %d were adopted from copies", what, s.moved, adopted)
	}
	t.Logf("%s: %d moved, done after %v, spread after %v, longest wait of those open %v, %d began", what, s.moved, s.done.Round(time.Millisecond), s.shared.Round(time.Millisecond), s.stall.Round(time.Millisecond), s.begun)
}

// blocks are those of the pool as each member sees them.
func (v *verbs) blocks() (list []string) {
	for _, n := range v.l.Nodes {
		pools, err := n.API().NATPools(v.l.ctx)
		for _, p := range pools {
			list = append(list, fmt.Sprintf("%s: %+v %s", n.Name, p.Blocks, p.Why))
		}
		if err != nil {
			list = append(list, err.Error())
		}
	}
	return list
}

// membersNow are the names of those in the newest view that anybody has.
func (l *lab) membersNow(t *testing.T) (names []string) {
	t.Helper()
	for _, n := range l.Nodes {
		info, err := n.API().Info(l.ctx)
		if err == nil && len(info.Members) > 0 {
			for _, m := range info.Members {
				names = append(names, m.Name)
			}
			return names
		}
	}
	t.Fatal("nobody has a view")
	return nil
}

func (v *verbs) report(lost []error, grown map[string]uint64) {
	r := NewResult("verbs", *command)
	r.Add("live TCP connections behind one public address", len(v.open.Keys()), "")
	r.Add("of them lost", len(lost), "0")
	var begun, failed int
	kinds, moved := map[string]*[3][]time.Duration{}, map[string][]uint64{}
	var order []string
	for _, s := range v.steps {
		begun, failed = begun+s.begun, failed+len(s.failed)
		k := kinds[s.what]
		if k == nil {
			k = &[3][]time.Duration{}
			kinds[s.what], order = k, append(order, s.what)
		}
		moved[s.what] = append(moved[s.what], s.moved)
		for i, d := range []time.Duration{s.done, s.shared, s.stall} {
			k[i] = append(k[i], d)
		}
	}
	r.Add("connections that began meanwhile / failed", fmt.Sprintf("%d / %d", begun, failed), "0 of the second")
	for _, name := range order {
		k := kinds[name]
		r.Add(name+": done after, min / median / p99 / max", Distribute(k[0]), "")
		if slices.Max(moved[name]) > 0 {
			r.Add("... connections moved, each time", fmt.Sprint(moved[name]), "")
		}
		r.Add("... new connections spread over the members after", Distribute(k[1]), "10 s after it is done")
		r.Add("... longest wait of an open connection", Distribute(k[2]), "")
	}
	for _, c := range []string{"connections_bequeathed", "connections_inherited", "connections_adopted"} {
		r.Add(c, grown[c], "")
	}
	r.Add("spread: of "+fmt.Sprint(shareOf)+" connections begun one after the other every member owns its share within", fmt.Sprintf("%d of 100", sharePoints), "")
	finish(v.t, r)
}
