package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cohort/bench/stat"
	"cohort/bench/traffic"
)

// linkConfig bounds the measurement of what replication costs.
type linkConfig struct {
	who    []string // the first is the peer
	what   []string
	chunk  int // connections of one sample
	burst  int // opened at once
	rounds int
	time   time.Duration
	watch  time.Duration
	once   bool // rounds of A B C
	cpu    int
}

// LinkResult is what it costs that a second node can go on with short
// connections of the first, which alone has traffic.
type LinkResult struct {
	Who         string `json:"who"`
	What        string `json:"what"` // linkTCP or linkUDP
	Connections int    `json:"connections_per_sample"`
	Rounds      int    `json:"rounds"`
	Rejected    int    `json:"rounds_rejected"`
	Disturbed   bool   `json:"disturbed"`
	// Bytes on the link a connection, both ways, from Ethernet header to the end
	// of the frame; what the link carries without connections is subtracted.
	Bytes  stat.Summary `json:"bytes"`
	Frames stat.Summary `json:"frames"`
	// Micros is CPU time of both nodes a connection, beyond that of one node which
	// nobody stands behind.
	Micros stat.Summary `json:"replication_us"`
	// ToPeer is the ratio of Micros to conntrackd's.
	ToPeer stat.Summary `json:"to_conntrackd"`
	Single stat.Summary `json:"single_us"` // one node without replication
}

// What a connection is.
const (
	linkTCP = "short TCP"
	linkUDP = "UDP life"
)

// Who replicates.
const (
	whoCohort     = "cohort"
	whoPAT        = "cohort, PAT"
	whoConntrackd = "conntrackd FTFW"
)

// entrant is who replicates, beside the same without replication.
type entrant struct {
	who          string
	pair, single *talk
	link         *traffic.Fabric
	idle         traffic.Carried // in a second
}

// measureLink compares short TCP connections, and then UDP ones.
func measureLink(ctx context.Context, cfg linkConfig) (all []LinkResult, err error) {
	restore, err := confine(cfg.cpu)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	undo, err := conntrackRoom(8 * cfg.chunk * (cfg.rounds + 1))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, undo()) }()
	for _, what := range cfg.what {
		some, err := compareLinks(ctx, cfg, what)
		if err != nil {
			return all, fmt.Errorf("%s: %w", what, err)
		}
		all = append(all, some...)
	}
	return all, nil
}

func compareLinks(ctx context.Context, cfg linkConfig, what string) (all []LinkResult, err error) {
	a, err := newTally(cfg.cpu)
	if err != nil {
		return nil, err
	}
	var closes []func() error
	defer func() {
		for _, c := range slices.Backward(closes) {
			err = errors.Join(err, c())
		}
	}()
	shape := traffic.Talk{Flows: traffic.MaxSpread, Hosts: 4096, UDP: what == linkUDP}
	var entrants []*entrant
	for _, who := range cfg.who {
		e := &entrant{who: who}
		for _, nodes := range []int{1, 2} {
			c, err := clusterOf(ctx, cfg, who, nodes)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", who, err)
			}
			closes = append(closes, c.close)
			t, err := c.talk(fmt.Sprintf("%s, %d nodes", who, nodes), shape, c.Nodes[0])
			if err != nil {
				return nil, err
			}
			e.single, e.pair = e.pair, t // the last is the pair
			if nodes == 2 {
				if e.link, err = c.controlLink(nil); err != nil {
					return nil, err
				}
			}
			if err := e.ready(ctx, a, t, cfg); err != nil {
				return nil, err
			}
		}
		entrants = append(entrants, e)
	}
	return raceLinks(ctx, a, cfg, what, entrants)
}

// clusterOf starts one node or two of an entrant.
func clusterOf(ctx context.Context, cfg linkConfig, who string, nodes int) (*cluster, error) {
	if who == whoConntrackd {
		return newTracked(ctx, nodes)
	}
	more := ""
	if who == whoPAT {
		more = scalePool
	}
	return newCluster(ctx, clusterConfig{nodes: nodes, flows: max(4*cfg.chunk, 1<<15), more: more, talks: true})
}

// ready warms a talk and finds out what its link and its daemons do without
// connections.
func (e *entrant) ready(ctx context.Context, a *tally, t *talk, cfg linkConfig) error {
	if err := t.clients.Closing(true); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); ; {
		n, err := t.open(ctx, cfg.burst, cfg.burst, t.complete())
		if err != nil {
			return err
		}
		if n >= cfg.burst {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: %w", t.name, errLost)
		}
	}
	if err := t.over(ctx); err != nil {
		return err
	}
	before, err := carriedBy(e.link)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := a.admit(ctx, t, cfg.watch); err != nil {
		return err
	}
	after, err := carriedBy(e.link)
	if err != nil {
		return err
	}
	c, seconds := after.Sub(before), time.Since(start).Seconds()
	e.idle = traffic.Carried{OtherFrames: uint64(float64(c.OtherFrames) / seconds), OtherBytes: uint64(float64(c.OtherBytes) / seconds)}
	return nil
}

func carriedBy(f *traffic.Fabric) (traffic.Carried, error) {
	if f == nil {
		return traffic.Carried{}, nil
	}
	return f.Carried()
}

// complete is the count that tells that a connection has had all it wanted.
func (t *talk) complete() func(traffic.Said) uint64 {
	if t.spread.UDP {
		return answered
	}
	return closed
}

// over waits until all connections of a talk are forgotten.
func (t *talk) over(ctx context.Context) error {
	if t.cluster.tracked {
		return t.cluster.forgotten(ctx)
	}
	return t.quiesce(ctx)
}

// linkLap is one round of all entrants.
type linkLap struct {
	bytes, frames, single, pair []float64 // by entrant
	quiet, whole                bool
}

func raceLinks(ctx context.Context, a *tally, cfg linkConfig, what string, entrants []*entrant) ([]LinkResult, error) {
	var laps []linkLap
	quiet := 0
	for end := time.Now().Add(cfg.time); quiet < cfg.rounds && len(laps) < 2*cfg.rounds && (len(laps) == 0 || time.Now().Before(end)); {
		lap, err := oneLinkLap(ctx, a, cfg, entrants)
		if err != nil {
			return nil, err
		}
		if laps = append(laps, lap); lap.quiet && lap.whole {
			quiet++
		}
	}
	whole := slices.DeleteFunc(slices.Clone(laps), func(l linkLap) bool { return !l.whole })
	if len(whole) == 0 {
		return nil, errLost
	}
	use, disturbed := slices.DeleteFunc(slices.Clone(whole), func(l linkLap) bool { return !l.quiet }), false
	if len(use) < (cfg.rounds+3)/4 {
		use, disturbed = whole, true
	}
	var peer []float64
	var all []LinkResult
	for i, e := range entrants {
		if err := errors.Join(e.single.sound(), e.pair.sound()); err != nil {
			return nil, err
		}
		r := LinkResult{Who: e.who, What: what, Connections: cfg.chunk, Rounds: len(use), Rejected: len(laps) - len(use), Disturbed: disturbed}
		var bytes, frames, micros, single []float64
		for _, l := range use {
			bytes, frames = append(bytes, l.bytes[i]), append(frames, l.frames[i])
			micros, single = append(micros, l.pair[i]-l.single[i]), append(single, l.single[i])
		}
		if i == 0 {
			peer = micros
		}
		r.Bytes, r.Frames, r.Micros, r.Single = stat.Of(bytes), stat.Of(frames), stat.Of(micros), stat.Of(single)
		r.ToPeer = stat.Of(stat.Ratios(micros, peer))
		all = append(all, r)
	}
	return all, nil
}

// oneLinkLap is A B C C B A over all, each a single and a pair.
func oneLinkLap(ctx context.Context, a *tally, cfg linkConfig, entrants []*entrant) (l linkLap, err error) {
	n := len(entrants)
	l = linkLap{bytes: make([]float64, n), frames: make([]float64, n), single: make([]float64, n), pair: make([]float64, n), whole: true}
	var with company
	sample := func(t *talk) (micro float64, c cost, err error) {
		done := 0
		c, err = a.measure(t, func() (err error) {
			if done, err = t.open(ctx, cfg.chunk, cfg.burst, t.complete()); err != nil {
				return err
			}
			return t.over(ctx)
		})
		if err == nil && done == 0 {
			err = fmt.Errorf("%s: no connection is complete", t.name)
		}
		with.add(c)
		l.whole = l.whole && float64(done) >= (1-maxLost)*float64(cfg.chunk)
		return float64(c.whole()) / 1e3 / float64(max(done, 1)), c, err
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	passes := passesOf(cfg.once)
	for range passes {
		for _, i := range order {
			e := entrants[i]
			one, _, err := sample(e.single)
			if err != nil {
				return l, err
			}
			before, err := carriedBy(e.link)
			if err != nil {
				return l, err
			}
			two, c, err := sample(e.pair)
			if err != nil {
				return l, err
			}
			after, err := carriedBy(e.link)
			if err != nil {
				return l, err
			}
			l.single[i], l.pair[i] = l.single[i]+one/float64(passes), l.pair[i]+two/float64(passes)
			sent, each := after.Sub(before), float64(passes)*float64(traffic.Batches(cfg.chunk))
			l.bytes[i] += (float64(sent.OtherBytes+sent.DataBytes) - float64(e.idle.OtherBytes)*c.wall.Seconds()) / each
			l.frames[i] += (float64(sent.OtherFrames+sent.DataFrames) - float64(e.idle.OtherFrames)*c.wall.Seconds()) / each
		}
		slices.Reverse(order)
	}
	l.quiet = with.quiet()
	return l, nil
}
