package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"cohort/bench/traffic"
)

// tiersConfig bounds the measurement of a cluster whose nodes can take unequal loads.
type tiersConfig struct {
	tiers   []float64 // capacity of each node, in any unit
	loads   []float64 // offered, as shares of the sum of all capacities
	flows   int       // open connections
	packets int       // dialled at each load
	burst   int       // connections opened at once, for each node
	lend    time.Duration
	cpu     int
}

// tierDepth is how many packets an idle node's bucket saves up: some batches of the
// generator, which leave all at once.
const tierDepth = 512

// tierDelivered is what a cluster must deliver of what it is offered.
const tierDelivered = 0.99

// TierResult is what a cluster delivers whose nodes have tiers, behind routers that
// spread connections evenly over them.
type TierResult struct {
	Tiers       []float64  `json:"tiers"`
	Forwarding  string     `json:"forwarding"`
	Connections int        `json:"connections"`
	Loads       []TierLoad `json:"loads"`
	// Usable is the largest load of which 99 % is delivered, and of all smaller ones.
	Usable float64 `json:"usable"`
}

// TierLoad is one load. A request that a node refuses has no answer, so that the nodes
// behind are offered less.
type TierLoad struct {
	Load      float64         `json:"load"`
	Dialled   uint64          `json:"requests"`
	Answered  uint64          `json:"answered"`
	Delivered float64         `json:"delivered"`
	Crossings float64         `json:"crossings_per_request"`
	Nodes     []traffic.Taken `json:"nodes"` // packets from routers and over the control link
	Used      []float64       `json:"capacity_used"`
}

// tiersOf reads capacities, "1:1:1:0.5".
func tiersOf(list string) (all []float64, err error) {
	if list == "" {
		return nil, nil
	}
	for _, f := range strings.Split(list, ":") {
		v, err := strconv.ParseFloat(f, 64)
		if err != nil || !(v > 0 && v <= 1000) {
			return nil, fmt.Errorf("tier %q, want a number above 0 and at most 1000", f)
		}
		all = append(all, v)
	}
	if len(all) < 2 || len(all) > maxNodes {
		return nil, fmt.Errorf("%d tiers, want those of 2 to %d nodes", len(all), maxNodes)
	}
	return all, nil
}

func measureTiers(ctx context.Context, cfg tiersConfig) (all []TierResult, err error) {
	restore, err := confine(cfg.cpu)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	ways := forwardings()
	for _, way := range sorted(ways) {
		r := TierResult{Tiers: cfg.tiers, Forwarding: way}
		if err := r.measure(ctx, cfg, ways[way]); err != nil {
			return all, fmt.Errorf("tiers %v, %s: %w", cfg.tiers, way, err)
		}
		all = append(all, r)
	}
	return all, nil
}

func (r *TierResult) measure(ctx context.Context, cfg tiersConfig, line string) (err error) {
	tiers, err := traffic.NewTiers()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tiers.Close()) }()
	s := &scene{cfg: scaleConfig{flows: cfg.flows, burst: cfg.burst}}
	c, err := newCluster(ctx, clusterConfig{nodes: len(cfg.tiers), flows: s.cfg.room(), more: scalePool + line, talks: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	t, err := c.talk("tiers", traffic.Talk{Flows: traffic.MaxSpread, Hosts: 4096, ByFlow: true, Tiers: tiers})
	if err != nil {
		return err
	}
	if s.link, err = c.controlLink(tiers); err != nil {
		return err
	}
	if err := s.warm(ctx, t); err != nil {
		return err
	}
	if err := s.hold(ctx, t); err != nil {
		return err
	}
	r.Connections = t.held
	for end := time.Now().Add(cfg.lend); time.Now().Before(end) && ctx.Err() == nil; {
		if _, err := t.burst(t.data, cfg.flows, answered); err != nil { // until what can be lent is
			return err
		}
	}
	for _, load := range cfg.loads {
		if err := ctx.Err(); err != nil {
			return err
		}
		l, err := s.offer(t, tiers, cfg, load)
		if err != nil {
			return err
		}
		r.Loads = append(r.Loads, *l)
	}
	r.Usable = usable(r.Loads)
	return t.sound()
}

// usable is the largest load up to which everything is delivered.
func usable(loads []TierLoad) (most float64) {
	all := slices.Clone(loads)
	slices.SortFunc(all, func(a, b TierLoad) int { return int(1e6 * (a.Load - b.Load)) })
	for _, l := range all {
		if l.Delivered < tierDelivered {
			break
		}
		most = l.Load
	}
	return most
}

// ratesOf is what each node's bucket gets for a request: each is two packets, and at a
// load of 1 all nodes together take just these.
func ratesOf(tiers []float64, load float64) (rates []float64) {
	sum := 0.0
	for _, v := range tiers {
		sum += v
	}
	for _, v := range tiers {
		rates = append(rates, 2/load*v/sum)
	}
	return rates
}

// offer sends requests at one load.
func (s *scene) offer(t *talk, tiers *traffic.Tiers, cfg tiersConfig, load float64) (*TierLoad, error) {
	rates := ratesOf(cfg.tiers, load)
	for node, rate := range rates {
		if err := tiers.Set(node, rate, tierDepth); err != nil {
			return nil, err
		}
	}
	carried, err := s.carried()
	if err != nil {
		return nil, err
	}
	l := &TierLoad{Load: load}
	for l.Dialled < uint64(cfg.packets) {
		n := traffic.Batches(min(cfg.packets-int(l.Dialled), 1<<14))
		heard, err := t.burst(t.data, n, answered)
		if err != nil {
			return nil, err
		}
		l.Dialled, l.Answered = l.Dialled+uint64(n), l.Answered+uint64(heard)
	}
	after, err := s.carried()
	if err != nil {
		return nil, err
	}
	l.Delivered = float64(l.Answered) / float64(l.Dialled)
	l.Crossings = float64(after.Sub(carried).DataFrames) / float64(l.Dialled)
	for node, rate := range rates {
		taken, err := tiers.Taken(node)
		if err != nil {
			return nil, err
		}
		l.Nodes = append(l.Nodes, taken)
		l.Used = append(l.Used, float64(taken.Passed)/(rate*float64(l.Dialled)))
		if err := tiers.Set(node, 0, tierDepth); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (r *Report) printTiers(w io.Writer) {
	if len(r.Tiers) == 0 {
		return
	}
	fmt.Fprintln(w, "\nnodes of unequal capacity, by tiers and forwarding\tload\tdelivered\tcrossings a request\tcapacity used, by node\tusable load\t")
	for _, x := range r.Tiers {
		for _, l := range x.Loads {
			var used []string
			for _, u := range l.Used {
				used = append(used, fmt.Sprintf("%.2f", u))
			}
			fmt.Fprintf(w, "%s, %s\t%.2f\t%.4f\t%.3f\t%s\t%.2f\t\n", x.name(), x.Forwarding, l.Load, l.Delivered, l.Crossings, strings.Join(used, " "), x.Usable)
		}
	}
}

// name is the tiers as the option has them.
func (r *TierResult) name() string {
	var all []string
	for _, v := range r.Tiers {
		all = append(all, strconv.FormatFloat(v, 'g', -1, 64))
	}
	return strings.Join(all, ":")
}
