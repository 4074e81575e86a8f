package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cohort/api"
	"cohort/bench/stat"
	"cohort/bench/traffic"
	"cohort/testenv/netns"
	"cohort/testenv/topology"
)

// natConnectConfig bounds the measurement of new translated connections.
type natConnectConfig struct {
	nodes   int
	hosts   int           // that open them; 0 = each connection its own
	chunk   int           // connections of one sample
	burst   int           // sent at once: what a ring of the daemon holds
	rounds  int           // wanted
	time    time.Duration // for all rounds
	profile string
}

// NATConnectResult is what a new translated connection costs: CPU time, in
// microseconds a connection. The node's is XDP + Daemon: what XDP, the cables and
// the rings take on the CPU that sends, and all of the daemon, system calls and
// softirqs of its CPU included. The peer's is all that it does. From both sides
// the generator is subtracted, and both have the same number of connections in
// their tables when they are compared.
type NATConnectResult struct {
	Nodes       int          `json:"nodes"`
	Hosts       int          `json:"hosts"` // that open them; 0 = each connection its own
	Connections int          `json:"connections"`
	Rounds      int          `json:"rounds"`
	Rejected    int          `json:"rounds_rejected"`
	Disturbed   bool         `json:"disturbed"` // too few quiet rounds: all are used
	XDP         stat.Summary `json:"xdp_us"`
	Daemon      stat.Summary `json:"daemon_us"`
	Backup      stat.Summary `json:"backup_us"` // at the other node, which keeps the copies; 0 with one
	Masquerade  stat.Summary `json:"masquerade_us"`
	// Ratio is connections a CPU second, the node's to the peer's.
	Ratio stat.Summary `json:"ratio"`
	// RatioInGo is the same when only the daemon's time counts.
	RatioInGo stat.Summary `json:"ratio_daemon_only"`
}

// pool has ports enough that nobody has to search for one. The peer has a single
// address, where the servers' number sees to the same.
const pool = "nat: {pools: {egress: {addresses: 203.0.113.16-203.0.113.31}}, rules: [{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}]}\n"

// measureNATConnect opens connections through a cluster and through a
// masquerading router, alternately.
func measureNATConnect(ctx context.Context, cfg natConnectConfig) (res *NATConnectResult, err error) {
	room := min((2*cfg.rounds+2)*cfg.chunk*5/4, traffic.MaxSpread)
	restore, err := conntrackRoom(room)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	c, err := newCluster(ctx, clusterConfig{nodes: cfg.nodes, flows: room, profile: cfg.profile, more: pool})
	if err != nil {
		return nil, err
	}
	defer c.close()
	if err := c.apart(); err != nil {
		return nil, err
	}
	r, err := c.openRace(cfg)
	if err != nil {
		return nil, err
	}
	all, err := r.rounds(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.translated(ctx, c.Nodes[0]); err != nil {
		return nil, err
	}
	return r.result(all), c.saveProfiles(ctx, connectConfig{profile: cfg.profile})
}

// race is a cluster, its peer and the generator alone, to which the same first
// packets are sent.
type race struct {
	c     *cluster
	cfg   natConnectConfig
	lanes [3]*lane // generator, masquerade, cluster
	peer  place
	here  *meter // the CPU that sends
	there *meter // the CPU of the daemons
}

// Lanes of a race.
const (
	laneGenerator = iota
	laneMasquerade
	laneCluster
)

// lane is one way from a source to a sink.
type lane struct {
	ns     *netns.Namespace // where the source sends
	source *traffic.Source
	sink   *traffic.Sink
	sent   int
}

func (c *cluster) openRace(cfg natConnectConfig) (*race, error) {
	r := &race{c: c, cfg: cfg}
	shape := traffic.Shape{Flows: traffic.MaxSpread, Hosts: cfg.hosts, Spread: true, Sequential: true, Flags: traffic.SYN, Mapped: mappedAddr}
	f, err := c.lab.newField(shape)
	if err != nil {
		return nil, err
	}
	if err := f.addFloor(); err != nil {
		return nil, err
	}
	if r.peer, err = f.masqueradeRouter(); err != nil {
		return nil, err
	}
	if _, err := f.add("masquerade", r.peer.near, r.peer.in, r.peer.far, false); err != nil {
		return nil, err
	}
	for i, t := range f.tracks {
		r.lanes[i] = &lane{ns: f.gen, source: t.source, sink: t.sink}
	}
	r.lanes[laneCluster] = &lane{sink: c.outside}
	if r.lanes[laneCluster].source, r.lanes[laneCluster].ns, err = c.source("rin", c.Nodes[0], shape); err != nil {
		return nil, err
	}
	for _, l := range r.lanes {
		if err := l.ns.Do(func() error { return pinThread(0) }); err != nil {
			return nil, err
		}
	}
	if r.here, err = newMeter(0); err == nil {
		r.there, err = newMeter(lastCPU())
	}
	return r, err
}

// opened is what one sample cost, in CPU time of a connection.
type opened struct {
	front     time.Duration   // where it was sent
	daemons   []time.Duration // of the cluster
	disturbed bool            // somebody else wanted the CPU that sends
	whole     bool            // nothing was lost
}

// sample opens a chunk of connections. The generator pauses after each burst
// until all of it is through: what a full ring drops would cost only the half.
// It ends with the first loss.
func (r *race) sample(ctx context.Context, l *lane) (o opened, err error) {
	before, err := r.daemonTimes(l)
	if err != nil {
		return o, err
	}
	start, softirq := time.Now(), r.here.softirqTime()
	sent, arrived, waited := 0, 0, time.Duration(0)
	for n := traffic.Batches(r.cfg.chunk); sent < n && arrived == sent && ctx.Err() == nil; {
		b := min(n-sent, r.cfg.burst)
		got, err := l.burst(b, &o.front, &waited)
		if err != nil {
			return o, err
		}
		sent, arrived = sent+b, arrived+got
	}
	l.sent += sent
	wall := time.Since(start)
	softirq = r.here.softirqTime() - softirq
	after, err := r.daemonTimes(l)
	if err != nil {
		return o, err
	}
	if arrived == 0 {
		return o, ctx.Err()
	}
	o.front = (o.front + softirq) / time.Duration(arrived)
	for i := range after {
		o.daemons = append(o.daemons, (after[i]-before[i])/time.Duration(arrived))
	}
	o.disturbed = waited-softirq > time.Duration(maxDisturbed*float64(wall))
	o.whole = arrived == sent
	return o, ctx.Err()
}

// daemonTimes is the CPU time of each daemon; the softirqs of their CPU count
// as the first one's. Only the cluster's lane has daemons.
func (r *race) daemonTimes(l *lane) ([]time.Duration, error) {
	if l != r.lanes[laneCluster] {
		return nil, nil
	}
	all, err := r.c.times()
	if err == nil && lastCPU() != 0 {
		all[0] += r.there.softirqTime()
	}
	return all, err
}

// patience is how long a burst may stand still before what is missing is lost.
const patience = time.Second

// burst sends packets and waits for them. It adds the CPU time of the thread
// that sends to front, and to waited how long that thread was ready to run and
// did not.
func (l *lane) burst(n int, front, waited *time.Duration) (arrived int, err error) {
	before, err := l.sink.Taken()
	if err != nil {
		return 0, err
	}
	err = l.ns.Do(func() error {
		own, queued := threadTime(), queuedTime()
		defer func() {
			*front += threadTime() - own
			*waited += queuedTime() - queued
		}()
		return l.source.Send(n)
	})
	if err != nil {
		return 0, err
	}
	for last := time.Now(); arrived < n && time.Since(last) < patience; {
		now, err := l.sink.Taken()
		if err != nil {
			return 0, err
		}
		if int(now-before) != arrived {
			arrived, last = int(now-before), time.Now()
		}
		if arrived < n {
			time.Sleep(200 * time.Microsecond) // leaves the CPU to the softirqs
		}
	}
	return arrived, nil
}

// contest is one round, the mean of A B C C B A, in microseconds a connection.
type contest struct {
	xdp, daemon, backup, masquerade float64
	quiet, whole                    bool
}

// rounds repeats until there are enough quiet rounds, the time is over or the
// connections are used up.
func (r *race) rounds(ctx context.Context) ([]contest, error) {
	if err := r.warm(ctx); err != nil {
		return nil, err
	}
	var all []contest
	left := traffic.MaxSpread/traffic.Batches(r.cfg.chunk) - 1 // samples of new connections
	quiet := 0
	for end := time.Now().Add(r.cfg.time); quiet < r.cfg.rounds && len(all) < 2*r.cfg.rounds && left >= 2 && (len(all) == 0 || time.Now().Before(end)); left -= 2 {
		one, err := r.round(ctx)
		if err != nil {
			return nil, err
		}
		if all = append(all, one); one.quiet && one.whole {
			quiet++
		}
	}
	if !slices.ContainsFunc(all, func(o contest) bool { return o.whole }) {
		return nil, errLost
	}
	return all, nil
}

// warm opens a chunk everywhere: neighbours are resolved, and the cluster has
// ports to give.
func (r *race) warm(ctx context.Context) error {
	for _, l := range r.lanes {
		o, err := opened{}, error(nil)
		for end := time.Now().Add(15 * time.Second); !o.whole; {
			if o, err = r.sample(ctx, l); err != nil {
				return err
			}
			if time.Now().After(end) {
				return errLost
			}
		}
	}
	return nil
}

func (r *race) round(ctx context.Context) (contest, error) {
	one := contest{quiet: true, whole: true}
	var front [len(r.lanes)]float64
	for _, i := range [...]int{laneGenerator, laneMasquerade, laneCluster, laneCluster, laneMasquerade, laneGenerator} {
		o, err := r.sample(ctx, r.lanes[i])
		if err != nil {
			return one, err
		}
		one.quiet, one.whole = one.quiet && !o.disturbed, one.whole && o.whole
		front[i] += micros(o.front, 2)
		if i == laneCluster && o.whole {
			one.daemon += micros(o.daemons[0], 2)
			for _, d := range o.daemons[1:] {
				one.backup += micros(d, 2)
			}
		}
	}
	one.masquerade = front[laneMasquerade] - front[laneGenerator]
	one.xdp = front[laneCluster] - front[laneGenerator]
	return one, nil
}

// translated checks that the peer has an entry for each first packet, and the
// node a translated connection of its own for nearly each.
func (r *race) translated(ctx context.Context, n *topology.Node) error {
	if err := tracks(r.peer.ns, r.lanes[laneMasquerade].sent); err != nil {
		return err
	}
	created, err := counter(ctx, n, "connections_created")
	if err != nil {
		return err
	}
	if sent := r.lanes[laneCluster].sent; int(created) < sent*9/10 {
		return fmt.Errorf("%s made %d connections of %d first packets", n.Name, created, sent)
	}
	_, err = n.API().Conns(ctx, api.ConnFilter{Role: api.Owner}, 1000, func(c *api.Conn) error {
		if !c.MappedSource.IsValid() {
			return fmt.Errorf("%s: connection from %v is not translated", n.Name, c.Source)
		}
		return nil
	})
	return err
}

// result takes the quiet rounds, or all if most were not, but never one with
// losses.
func (r *race) result(all []contest) *NATConnectResult {
	res := &NATConnectResult{Nodes: r.cfg.nodes, Hosts: r.cfg.hosts, Connections: r.lanes[laneMasquerade].sent}
	rejected := len(all)
	all = slices.DeleteFunc(slices.Clone(all), func(o contest) bool { return !o.whole })
	use := slices.DeleteFunc(slices.Clone(all), func(o contest) bool { return !o.quiet })
	res.Rejected = rejected - len(use)
	if len(use) < (r.cfg.rounds+3)/4 {
		use, res.Disturbed = all, true
	}
	res.Rounds = len(use)
	column := func(of func(contest) float64) (v []float64) {
		for _, o := range use {
			v = append(v, of(o))
		}
		return v
	}
	xdp, daemon := column(func(o contest) float64 { return o.xdp }), column(func(o contest) float64 { return o.daemon })
	node, masquerade := column(func(o contest) float64 { return o.xdp + o.daemon }), column(func(o contest) float64 { return o.masquerade })
	res.XDP, res.Daemon, res.Masquerade = stat.Of(xdp), stat.Of(daemon), stat.Of(masquerade)
	res.Backup = stat.Of(column(func(o contest) float64 { return o.backup }))
	res.Ratio, res.RatioInGo = stat.Of(stat.Ratios(masquerade, node)), stat.Of(stat.Ratios(masquerade, daemon))
	return res
}
