package campaign

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/sniff"
	"cohort/testenv/topology"
	"cohort/testenv/track"
	"cohort/testenv/traffic"
)

const (
	partitionNAT  = "{hold_down: 2s, pools: {egress: {addresses: 203.0.113.10}}, rules: [{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}]}"
	partitionHold = time.Second
	exchangePort  = 8                       // of the server, for the UDP exchanges that begin all the time
	openFor       = 1500 * time.Millisecond // an opening that takes longer has failed: a SYN lost is sent again after 1 s
)

// forgets is what the campaign's clusters are told: short times, so that nothing
// outlasts the load by much, but longer than a cut for what is open.
func forgets() (timeouts string, quiet sniff.Quiet) {
	open := size(8, 30)
	timeouts = fmt.Sprintf("{tcp_syn: 3s, tcp_established: %ds, tcp_half_closed: 3s, tcp_closing: 3s, tcp_time_wait: 2s, tcp_reset: 3s, udp: 3s, udp_stream: 3s, icmp: 2s, other: 2s}", open)
	return timeouts, sniff.Quiet{Opening: 3 * time.Second, Open: time.Duration(open) * time.Second, Closing: 3 * time.Second, Datagrams: 3 * time.Second}
}

// The control link breaks between nodes that all go on to have data links, with
// routers that go on to spread over all of them, and heals, again and again,
// while connections are open and others begin all the time. What the servers'
// interface sees proves NT4, what the routers' ports see and the nodes say proves
// that each side used its own blocks and no others; and when it is over there is
// one cluster again, in which all have fair shares.
func TestNT4_EL5_PartitionUnderTraffic(t *testing.T) {
	beside(t)
	for _, c := range []breakage{
		{name: "halves", far: 2, way: bothWays},
		{name: "one", far: 1, way: bothWays},
		{name: "sprayed", far: 2, way: bothWays, spray: true},
		{name: "mute", far: 1, way: mute},
		{name: "deaf", far: 1, way: deaf},
		{name: "flapping", far: 2, way: flapping},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !*full && c.name != "halves" {
				t.Skip("a part of the whole proof")
			}
			beside(t)
			partitionCampaign(t, c)
		})
	}
}

// way is how the link between two sides breaks.
type way int

const (
	bothWays way = iota
	mute         // nobody hears the far side, which hears all
	deaf         // the far side hears nobody, and all hear it
	flapping     // both ways, again and again, for random times
)

// breakage is one kind of partition.
type breakage struct {
	name  string
	far   int // nodes on the far side
	way   way
	spray bool
}

func partitionCampaign(t *testing.T, c breakage) {
	n, name, far, spray := killRounds(1, 10), c.name, c.far, c.spray
	timeouts, quiet := forgets()
	health := ""
	if c.way != bothWays {
		health = promptHealth // who was fenced comes back at once
	}
	l := newLab(t, topology.Config{
		Health: health, Clients: 2, NAT: partitionNAT, Timeouts: timeouts, HoldTime: partitionHold, Spray: spray,
		Track: track.Config{Interval: 100 * time.Millisecond, Losses: 20}, // the routers go on
	}, time.Duration(n)*60*time.Second+2*time.Minute)
	p := newPartition(t, l, spray, quiet)
	p.way = c.way
	t.Cleanup(func() { p.explain(t) })
	for i := range n {
		side := make([]*topology.Node, 0, far)
		for _, k := range rand.Perm(len(l.Nodes))[:far] {
			side = append(side, l.Nodes[k])
		}
		r := p.round(t, side)
		t.Logf("round %d: %v", i+1, r)
		p.rounds = append(p.rounds, r)
	}
	p.end(t, name)
}

// partition is a campaign under way.
type partition struct {
	l       *lab
	spray   bool // every packet meets a random node
	way     way
	tuples  *sniff.Tuples
	tap     *sniff.Tap
	paths   *Paths
	openers *Openers
	streams []*Streams
	rivals  *Rivals
	rounds  []*cutRound
}

func newPartition(t *testing.T, l *lab, spray bool, quiet sniff.Quiet) *partition {
	t.Helper()
	p := &partition{l: l, spray: spray, tuples: sniff.NewTuples()}
	p.tuples.Quiet = quiet
	var err error
	if p.tuples.Sequences, err = l.Sequences(); err != nil {
		t.Fatal(err)
	}
	udp, err := traffic.ServeUDPEcho(l.server.Namespace, l.at(exchangePort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	if p.tap, err = sniff.Open(l.server.Namespace, "eth0", p.tuples.See); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.tap.Close() })
	if p.paths, err = WatchPaths(l.Topology); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.paths.Close() })
	// The server must not remember half-open connections for longer than the
	// cluster does and hold-down lasts: it would not answer the next in a tuple.
	if err := l.server.Namespace.Sysctl("net/ipv4/tcp_synack_retries", "1"); err != nil {
		t.Fatal(err)
	}
	for i, c := range l.Clients {
		err := errors.Join(
			c.Namespace.Sysctl("net/ipv4/ip_local_port_range", "30000 30400"), // of what is open for long
			c.Namespace.Sysctl("net/ipv4/tcp_tw_reuse", "1"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := OpenStreams(c.Namespace, l.server.Namespace, l.at(uint16(9+i)), 16, 20*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		p.streams = append(p.streams, s)
	}
	p.fair(t)
	p.openers = StartOpeners(l.ctx, OpenersConfig{
		From: l.Clients, TCP: l.echo.Addr, UDP: udp.Addr,
		First: 20000, Ports: uint16(size(800, 1800)), Every: 25 * time.Millisecond, Timeout: openFor,
	})
	t.Cleanup(func() { p.openers.Finish() })
	p.rivals = WatchRivals(l.ctx, l.Topology, 300*time.Millisecond)
	t.Cleanup(func() { p.rivals.Stop() })
	return p
}

// fair waits until everybody has his blocks, but for those that their holders count
// uses of, and returns when that was.
func (p *partition) fair(t *testing.T) time.Time {
	t.Helper()
	at, _ := p.settle(t, func(b *api.NATBlock) bool { return b.Uses > 0 })
	return at
}

// returned waits until everybody has his blocks, but for those with a flow that never
// ends: no connection that begins may keep a block from where it should be. It returns
// when that was, and how many blocks such flows keep.
func (p *partition) returned(t *testing.T) (at time.Time, kept int) {
	t.Helper()
	return p.settle(t, func(b *api.NATBlock) bool {
		for _, s := range p.streams {
			if slices.ContainsFunc(s.Sources(), func(a netip.AddrPort) bool { return b.First <= a.Port() && a.Port() <= b.Last }) {
				return true
			}
		}
		return false
	})
}

// settle waits until every block is at the node that should have it, or may stay.
func (p *partition) settle(t *testing.T, stays func(*api.NATBlock) bool) (at time.Time, stayed int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.l.ctx, 30*time.Second)
	defer cancel()
	why := ""
	err := topology.Poll(ctx, func() (bool, error) {
		h, err := TakeHolders(ctx, p.l.Topology, "egress")
		if err == nil {
			stayed, why = h.Unreturned(p.l.Topology, stays)
		}
		return err == nil && why == "", nil
	})
	if err != nil {
		t.Fatalf("the blocks are not fair: %v: %s", err, why)
	}
	return time.Now(), stayed
}

// cutRound is what a round measured.
type cutRound struct {
	far                             []*topology.Node
	ruled                           bool // the control node is beyond the cut (one way)
	begin, apart, heal, whole, fair time.Time
	talks, lost                     int
	stalls                          []time.Duration
	owner                           map[uint16]*topology.Node // of each block, when the cut came
	foreign                         []string                  // blocks that a side had of the other's
	samples                         int
	returned                        time.Duration // from the end of the round's connections
	kept                            int           // blocks that flows keep from where they should be, then
	flaps                           int           // cuts of one that flaps
	zombie                          uint64        // packets forwarded by a node that was to be silent
}

func (r *cutRound) String() string {
	since := func(a, b time.Time) string { return b.Sub(a).Round(time.Millisecond).String() }
	return fmt.Sprintf("%d far, apart after %s, healed after %s, one cluster %s later, fair %s after that; %d of %d connections lost; %d samples of blocks, %d foreign; blocks returned %s after the connections ended, %d kept by flows",
		len(r.far), since(r.begin, r.apart), since(r.begin, r.heal), since(r.heal, r.whole), since(r.whole, r.fair), r.lost, r.talks, r.samples, len(r.foreign), r.returned.Round(time.Millisecond), r.kept)
}

// side is 1 for the nodes beyond the cut.
func (r *cutRound) side(n *topology.Node) int {
	if slices.Contains(r.far, n) {
		return 1
	}
	return 0
}

// cutFor is how long a cut lasts: several hold times.
func cutFor() time.Duration { return time.Duration(size(3, 5)) * partitionHold }

// round is one cut: connections are open, the link breaks, each side serves, the
// link heals, and all is one again.
func (p *partition) round(t *testing.T, far []*topology.Node) *cutRound {
	t.Helper()
	r := &cutRound{far: far, owner: make(map[uint16]*topology.Node)}
	talks := p.converse(t)
	for _, k := range talks {
		r.talks += len(k.Keys())
	}
	p.fair(t)
	h, err := TakeHolders(p.l.ctx, p.l.Topology, "egress")
	if err != nil {
		t.Fatal(err)
	}
	for block, by := range h.Own(p.l.Topology) {
		r.owner[block] = by[0]
	}
	r.begin = time.Now()
	switch p.way {
	case bothWays:
		if err := p.l.SplitCCL(far...); err != nil {
			t.Fatal(err)
		}
		p.cut(t, r)
		r.heal = time.Now()
		if err := p.l.JoinCCL(); err != nil {
			t.Fatal(err)
		}
	case flapping:
		p.flap(t, r)
	default:
		p.oneWay(t, r)
	}
	p.formed(t)
	r.whole = time.Now()
	r.fair = p.fair(t)
	p.alive(t, r, talks)
	if t.Failed() {
		p.rounds = append(p.rounds, r)
		t.FailNow() // what the nodes have logged is of this round
	}
	for _, k := range talks {
		k.Close()
	}
	closed := time.Now()
	at, kept := p.returned(t)
	r.returned, r.kept = at.Sub(closed), kept
	return r
}

// converse opens the connections that a cut will meet.
func (p *partition) converse(t *testing.T) (talks []*Talks) {
	t.Helper()
	for _, c := range p.l.Clients {
		k, err := OpenTalks(p.l.ctx, c.Namespace, p.l.echo.Addr, TalksConfig{
			Connections: 40, Bytes: 64, Every: 250 * time.Millisecond, Timeout: 25 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Close)
		talks = append(talks, k)
	}
	for _, k := range talks {
		p.l.protected(t, k.Keys())
		k.Mark()
	}
	return talks
}

// cut watches the two sides for as long as the cut lasts.
func (p *partition) cut(t *testing.T, r *cutRound) {
	t.Helper()
	ctx, stop := context.WithDeadline(p.l.ctx, r.begin.Add(cutFor()))
	var watching sync.WaitGroup
	var err error
	watching.Go(func() { err = p.watchBlocks(ctx, r) })
	defer watching.Wait()
	defer stop()
	p.apart(t, r)
	watching.Wait()
	if err != nil || p.l.ctx.Err() != nil {
		t.Fatal(err, p.l.ctx.Err())
	}
}

// apart waits until each side is a cluster of its own.
func (p *partition) apart(t *testing.T, r *cutRound) {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.l.ctx, 20*time.Second)
	defer cancel()
	last := ""
	err := topology.Poll(ctx, func() (bool, error) {
		var control [2]string
		for _, n := range p.l.Nodes {
			info, err := n.API().Info(ctx)
			if err != nil {
				return false, err
			}
			last = fmt.Sprintf("%s: %+v", n.Name, info)
			of := &control[r.side(n)]
			if *of == "" {
				*of = info.Control
			}
			size := len(p.l.Nodes) - len(r.far)
			if r.side(n) == 1 {
				size = len(r.far)
			}
			if info.Control == "" || info.Control != *of || len(info.Members) != size {
				return false, nil
			}
		}
		return control[0] != control[1], nil
	})
	if err != nil {
		t.Fatalf("the sides are not clusters of their own: %v: %s", err, last)
	}
	r.apart = time.Now()
}

// formed waits until all are one cluster again.
func (p *partition) formed(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.l.ctx, 30*time.Second)
	defer cancel()
	if err := p.l.WaitFormed(ctx, len(p.l.Nodes)); err != nil {
		t.Fatal(err)
	}
}

// watchBlocks looks again and again whether a side has a block that it did not
// have before.
func (p *partition) watchBlocks(ctx context.Context, r *cutRound) error {
	err := topology.Poll(ctx, func() (bool, error) {
		h, err := TakeHolders(ctx, p.l.Topology, "egress")
		if err != nil {
			return false, err
		}
		r.samples++
		for block, by := range h.Own(p.l.Topology) {
			for _, n := range by {
				if was := r.owner[block]; was == nil || r.side(was) != r.side(n) {
					r.foreign = append(r.foreign, fmt.Sprintf("%s holds block %d, which was %s's", n.Name, block, nameOf(was)))
				}
			}
		}
		return false, nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func nameOf(n *topology.Node) string {
	if n == nil {
		return "nobody"
	}
	return n.Name
}

// alive waits until all that is left of the traffic flows again, and counts it.
func (p *partition) alive(t *testing.T, r *cutRound, talks []*Talks) {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.l.ctx, 30*time.Second)
	defer cancel()
	told := 0
	err := topology.Poll(ctx, func() (bool, error) {
		for _, s := range p.streams {
			if !s.AllSince(r.whole) {
				return false, nil
			}
		}
		for _, k := range talks {
			late := k.Waiting(r.whole)
			if len(late) == 0 {
				continue
			}
			// TCP waits up to as long as the trouble lasted, and this is longer.
			for told < 5 && len(late) > 0 && time.Since(r.whole) > 2*cutFor() {
				t.Logf("%v after the heal nothing has come through %v", time.Since(r.whole).Round(time.Millisecond), late[0])
				p.known(t, late[0])
				late, told = late[1:], told+1
			}
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		t.Errorf("not everything flows again: %v", err)
	}
	for _, k := range talks {
		lost := k.Finish()
		r.lost += len(lost)
		r.stalls = append(r.stalls, k.Stalls()...)
		for i, err := range lost {
			t.Errorf("lost: %v: %s", err, p.paths.All(k.DeadKeys()[i]))
			if i < 5 {
				p.known(t, k.DeadKeys()[i])
			}
		}
	}
}

// known tells what each node knows of a connection.
func (p *partition) known(t *testing.T, k Key) {
	t.Helper()
	for _, n := range p.l.Nodes {
		_, err := n.API().Conns(p.l.ctx, api.ConnFilter{Protocol: k.Protocol, Port: max(k.Low.Port(), k.High.Port())}, 20, func(c *api.Conn) error {
			t.Logf("%s knows %+v", n.Name, *c)
			return nil
		})
		if err != nil {
			t.Logf("%s: %v", n.Name, err)
		}
	}
}
