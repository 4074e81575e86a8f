package campaign

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"cohort/testenv/icmp"
	"cohort/testenv/topology"
)

// restarts are the ways in which a daemon is replaced within its lease.
var restarts = []struct {
	name  string
	spray bool // every packet meets a random node
	do    func(context.Context, *topology.Node) error
}{
	{"sigterm", false, terminate},
	{"kill9", false, crash},
	{"sprayed-sigterm", true, terminate},
	{"sprayed-kill9", true, crash},
}

func terminate(ctx context.Context, n *topology.Node) error {
	return errors.Join(n.TermDaemon(ctx), n.StartDaemon())
}

func crash(_ context.Context, n *topology.Node) error { return n.RestartDaemon() }

// A daemon is replaced while established connections run through its node as
// owner, director, backup and forwarder: not one packet of them is lost.
func TestHL5_RestartWithinTheLeaseLosesNoPacket(t *testing.T) {
	beside(t)
	for _, how := range restarts {
		t.Run(how.name, func(t *testing.T) {
			n := killRounds(1, 20)
			l := newLab(t, topology.Config{Spray: how.spray, Track: quick}, time.Duration(n)*20*time.Second+30*time.Second)
			m := steady(t, l)
			var back []time.Duration
			before := l.counters(t)
			for i := range n {
				node := l.Nodes[i%len(l.Nodes)]
				was := incarnation(t, l, node)
				begin := time.Now()
				if err := how.do(l.ctx, node); err != nil {
					t.Fatal(err)
				}
				if err := node.WaitReady(l.ctx); err != nil {
					t.Fatal(err)
				}
				back = append(back, time.Since(begin))
				l.whole(t)
				l.protected(t, m.keys())
				if now := incarnation(t, l, node); now != was {
					t.Errorf("round %d: %s came back as another life (%s, was %s): it did not take over", i+1, node.Name, now, was)
				}
			}
			after := l.counters(t)
			tally, lost, resent := m.end(t)
			r := NewResult("restart-"+how.name, *command)
			r.Add("restarts", n, "")
			r.Add("until the new daemon answers, min / median / p99 / max", Distribute(back), "within the lease, 0.8 to 1.8 s")
			r.Add("UDP packets of established flows sent", tally.Sent, "")
			r.Add("of them lost there / back", fmt.Sprintf("%d / %d", tally.LostThere, tally.LostBack), "0 / 0")
			r.Add("TCP connections lost", len(lost), "0")
			r.Add("TCP segments sent again by clients / servers", fmt.Sprintf("%d / %d", resent[0], resent[1]), "")
			r.Add("drop counters that grew (the slow path's begin anew with a daemon)", drops(growth(before, after)), "")
			finish(t, r)
			if tally.LostThere+tally.LostBack > 0 {
				t.Errorf("lost %d packets towards and %d from the server of %d; drops: %s", tally.LostThere, tally.LostBack, tally.Sent, drops(growth(before, after)))
			}
			if len(lost) > 0 {
				t.Errorf("lost connections: %v", lost)
			}
		})
	}
}

// incarnation of a node in the cluster's view, the same as long as it has not
// lost its state.
func incarnation(t *testing.T, l *lab, n *topology.Node) string {
	t.Helper()
	info, err := n.API().Info(l.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range info.Members {
		if m.Name == n.Name {
			return m.Incarnation
		}
	}
	t.Fatalf("%s is not in its own view", n.Name)
	return ""
}

// traffic of established connections whose every packet counts.
type steadyLoad struct {
	l       *lab
	talks   *Talks
	streams *Streams
}

// steady starts it and waits until all of it is established and protected.
func steady(t *testing.T, l *lab) *steadyLoad {
	t.Helper()
	talks, err := OpenTalks(l.ctx, l.client, l.echo.Addr, TalksConfig{
		Connections: 40, Bytes: 512, Every: 50 * time.Millisecond, Timeout: 30 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(talks.Close)
	streams, err := OpenStreams(l.client, l.server.Namespace, l.at(9), 32, 5*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(streams.Close)
	m := &steadyLoad{l, talks, streams}
	l.protected(t, m.keys())
	l.settled(t)
	return m
}

// settled waits until the fast path knows all that runs, on every node that
// its packets meet: for a while nothing has been handed to the slow path.
func (l *lab) settled(t *testing.T) {
	t.Helper()
	const quiet = 500 * time.Millisecond
	since, last := time.Now(), punts(l.counters(t))
	err := topology.Poll(l.ctx, func() (bool, error) {
		if now := punts(l.counters(t)); now != last {
			since, last = time.Now(), now
		}
		return time.Since(since) > quiet, nil
	})
	if err != nil {
		t.Fatalf("the slow path still gets packets: %v", err)
	}
}

// punts sums what was handed to the slow path.
func punts(c map[string]uint64) (sum uint64) {
	for name, n := range c {
		if strings.HasPrefix(name, "punt_") {
			sum += n
		}
	}
	return sum
}

func (m *steadyLoad) keys() []Key { return append(m.talks.Keys(), m.streams.Keys()...) }

// end stops the traffic and counts what was lost, and the TCP segments that
// clients and servers sent again.
func (m *steadyLoad) end(t *testing.T) (tally Tally, lost []error, resent [2]uint64) {
	t.Helper()
	tally = m.streams.Finish(3 * time.Second)
	lost = m.talks.Finish()
	var err error
	if resent[0], err = m.talks.Retransmissions(); err != nil {
		t.Error(err)
	}
	m.l.echo.EachTCP(func(c *net.TCPConn) {
		n, err := retransmissions(c)
		if err != nil {
			t.Error(err)
		}
		resent[1] += n
	})
	return tally, lost, resent
}

// A daemon that hangs past its lease forwards nothing: no data, no answer to
// the routers' probes. They move away, the others take its connections over,
// and none is lost. When it goes on, it comes back as a member.
func TestHL5_HangingDaemonForwardsNothing(t *testing.T) {
	beside(t)
	l := newLab(t, topology.Config{HoldTime: time.Second, Track: quick}, 2*time.Minute)
	o := startLoad(t, l)
	l.protected(t, o.keys())
	n := role(l, t, "owner", o.keys())
	ping, err := icmp.Open(l.Inside.Namespace, 77)
	if err != nil {
		t.Fatal(err)
	}
	defer ping.Close()
	if !answers(t, ping, n) {
		t.Fatalf("%s does not answer a ping before", n.Name)
	}
	before, err := Counters(n)
	if err != nil {
		t.Fatal(err)
	}
	o.mark()
	begin := time.Now()
	if err := n.StopDaemon(); err != nil {
		t.Fatal(err)
	}
	w := watchForwarding(l.ctx, n)
	defer w.stop()
	d, err := Detect(l.ctx, l.Topology, n, begin)
	if err != nil {
		t.Fatal(err)
	}
	var withdrawn time.Duration
	for _, r := range []*topology.Router{l.Inside, l.Outside} {
		at, err := r.Tracker().Wait(l.ctx, n.Index-1, false)
		if err != nil {
			t.Fatal(err)
		}
		withdrawn = max(withdrawn, at.Sub(begin))
		if slices.Contains(r.Live(), n.Index) {
			t.Errorf("router %s still uses %s", r.Namespace.Name(), n.Name)
		}
	}
	if err := topology.Poll(l.ctx, func() (bool, error) { return o.allSince(d.Last), nil }); err != nil {
		t.Fatalf("not everything lives after %s is out: %v", n.Name, err)
	}
	if answers(t, ping, n) {
		t.Errorf("%s answers a ping past its lease", n.Name)
	}
	seen, err := w.stop()
	if err != nil {
		t.Fatal(err)
	}
	expired := growth(before, seen.last().counts)["drop_lease_expired"]
	forwardedAfter := seen.since(d.First)
	if forwardedAfter > 0 {
		t.Errorf("%s forwarded %d packets after the others had a view without it", n.Name, forwardedAfter)
	}
	if expired == 0 {
		t.Errorf("%s dropped nothing by lease", n.Name)
	}
	var gap time.Duration
	for _, g := range o.streams.Gaps() {
		gap = max(gap, g.Length())
	}

	thawed := time.Now()
	if err := n.ContDaemon(); err != nil {
		t.Fatal(err)
	}
	l.whole(t)
	rejoined := time.Since(thawed)
	l.protected(t, o.keys())
	lost := append(o.idle.Finish(), o.busy.Finish()...)
	if len(lost) > 0 {
		t.Errorf("lost connections: %v", lost)
	}
	r := NewResult("hang", *command)
	r.Add("routers withdraw the node after", withdrawn.Round(time.Millisecond), "")
	r.Add("detection: until the last node has the new view", d.Last.Sub(begin).Round(time.Millisecond), "")
	r.Add("packets forwarded after the new view", forwardedAfter, "0")
	r.Add("packets dropped by lease", expired, "> 0")
	r.Add("longest UDP gap", gap.Round(time.Millisecond), "")
	r.Add("member again after it goes on", rejoined.Round(time.Millisecond), "")
	r.Add("established TCP connections lost", len(lost), "0")
	finish(t, r)
}

// answers reports whether a node answers one of a few pings.
func answers(t *testing.T, c *icmp.Conn, n *topology.Node) bool {
	t.Helper()
	for seq := range uint16(3) {
		if err := c.Send(n.Inside, seq, nil); err != nil {
			continue // no neighbour: it does not answer ARP either
		}
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if r, err := c.Read(); err == nil && r.From == n.Inside {
			return true
		}
	}
	return false
}
