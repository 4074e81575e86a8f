package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cohort/bench/traffic"
)

// tiersConfig bounds the measurement of a cluster whose nodes can take unequal loads.
type tiersConfig struct {
	tiers   [][]float64   // each the capacities of all nodes, in any unit; as many nodes in all
	loads   []float64     // offered, as shares of the sum of all capacities
	flows   int           // open connections
	packets int           // dialled at each load
	burst   int           // connections opened at once, for each node
	lend    time.Duration // how long it may take until all that can be lent is
	cpu     int
}

// tierDepth is how many packets an idle node's bucket saves up: some batches of the
// generator, which leave all at once.
const tierDepth = 512

// TierResult is what a cluster delivers whose nodes have tiers, behind routers that
// spread connections evenly over them.
type TierResult struct {
	Tiers       []float64  `json:"tiers"`
	Forwarding  string     `json:"forwarding"`
	Connections int        `json:"connections"`
	Loads       []TierLoad `json:"loads"`
	// Usable is the largest load of which 99 % is delivered, and of all smaller ones:
	// what the cluster takes, as a share of what its nodes take together. Model is what
	// the arithmetic says of it, see modelOf.
	Usable float64 `json:"usable"`
	Model  float64 `json:"usable_model"`
	// Most is the largest throughput of all loads, whatever was lost meanwhile.
	Most float64 `json:"most_throughput"`
}

// TierLoad is one load. A request that a node refuses has no answer, so that the nodes
// behind are offered less.
type TierLoad struct {
	Load       float64         `json:"load"`
	Dialled    uint64          `json:"requests"`
	Answered   uint64          `json:"answered"`
	Delivered  float64         `json:"delivered"`  // of the requests
	Throughput float64         `json:"throughput"` // of the sum of all capacities
	Crossings  float64         `json:"crossings_per_request"`
	Nodes      []traffic.Taken `json:"nodes"` // packets from routers and over the control link
	Used       []float64       `json:"capacity_used"`
	// Lost are requests that no bucket refused and nobody answered, and Drops what
	// counters of nodes and their interfaces say of packets dropped meanwhile.
	Lost  uint64            `json:"lost"`
	Drops map[string]uint64 `json:"drops,omitempty"`
}

// measureTiers has one cluster for each way of forwarding, and puts one set of tiers
// after the other in front of it.
func measureTiers(ctx context.Context, cfg tiersConfig) (all []TierResult, err error) {
	restore, err := confine(cfg.cpu)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	ways := forwardings()
	for _, way := range sorted(ways) {
		some, err := measureTiersOf(ctx, cfg, way, ways[way])
		all = append(all, some...)
		if err != nil {
			return all, fmt.Errorf("%s: %w", way, err)
		}
	}
	slices.SortStableFunc(all, func(a, b TierResult) int { return indexOf(cfg.tiers, a.Tiers) - indexOf(cfg.tiers, b.Tiers) })
	return all, nil
}

func indexOf(all [][]float64, one []float64) int {
	return slices.IndexFunc(all, func(v []float64) bool { return slices.Equal(v, one) })
}

func measureTiersOf(ctx context.Context, cfg tiersConfig, way, line string) (all []TierResult, err error) {
	tiers, err := traffic.NewTiers()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tiers.Close()) }()
	b := &balance{cfg: cfg, scene: &scene{cfg: scaleConfig{flows: cfg.flows, burst: cfg.burst}}, tiers: tiers}
	nodes := len(cfg.tiers[0])
	c, err := newCluster(ctx, clusterConfig{nodes: nodes, flows: b.scene.cfg.room(), more: scalePool + line, talks: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if b.talk, err = c.talk("tiers", traffic.Talk{Flows: traffic.MaxSpread, Hosts: 4096, ByFlow: true, Tiers: tiers}); err != nil {
		return nil, err
	}
	if b.scene.link, err = c.controlLink(tiers); err != nil {
		return nil, err
	}
	if err := b.talk.pin(cfg.cpu); err != nil { // the buckets are for one CPU
		return nil, err
	}
	if err := b.scene.warm(ctx, b.talk); err != nil {
		return nil, err
	}
	if err := b.scene.hold(ctx, b.talk); err != nil {
		return nil, err
	}
	for _, these := range cfg.tiers {
		r := TierResult{Tiers: these, Forwarding: way, Connections: b.talk.held, Model: modelOf(these, crossingsOf(nodes, way))}
		for _, load := range cfg.loads {
			l, err := b.measure(ctx, these, load, way == forwardDelegate)
			if err != nil {
				return all, fmt.Errorf("tiers %s, load %.2f: %w", tierName(these), load, err)
			}
			r.Loads = append(r.Loads, *l)
		}
		r.Usable, r.Most = usable(r.Loads), most(r.Loads)
		all = append(all, r)
	}
	return all, b.talk.sound()
}

// balance is one cluster with its buckets.
type balance struct {
	cfg   tiersConfig
	scene *scene
	talk  *talk
	tiers *traffic.Tiers
}

// measure takes one load, and takes it again when only interfaces have lost something:
// their rings overflow when others have the CPU.
func (b *balance) measure(ctx context.Context, tiers []float64, load float64, lends bool) (*TierLoad, error) {
	for try := 0; ; try++ {
		if lends {
			crossed, err := b.scene.lend(ctx, b.talk, b.cfg.flows, b.cfg.lend)
			if err != nil {
				return nil, err
			}
			if crossed > lent {
				return nil, fmt.Errorf("%.3f packets of a request still cross after %v: not all connections are lent", crossed, b.cfg.lend)
			}
		}
		before, err := b.talk.accounts(ctx)
		if err != nil {
			return nil, err
		}
		l, err := b.offer(ctx, tiers, load)
		if err != nil {
			return nil, err
		}
		after, err := b.talk.accounts(ctx)
		if err != nil {
			return nil, err
		}
		if l.Drops = after.drops(before); l.Lost == 0 || !after.onCables(before) || try == again {
			return l, nil
		}
	}
}

// offer sends requests at one load.
func (b *balance) offer(ctx context.Context, tiers []float64, load float64) (l *TierLoad, err error) {
	rates := ratesOf(tiers, load)
	for node, rate := range rates {
		if err := b.tiers.Set(node, rate, tierDepth); err != nil {
			return nil, err
		}
	}
	defer func() {
		for node := range rates {
			err = errors.Join(err, b.tiers.Set(node, 0, tierDepth))
		}
	}()
	carried, err := b.scene.carried()
	if err != nil {
		return nil, err
	}
	said, err := b.talk.clients.Said()
	if err != nil {
		return nil, err
	}
	l = &TierLoad{Load: load}
	for packets := uint64(traffic.Batches(b.cfg.packets)); l.Dialled < packets && ctx.Err() == nil; {
		n := min(packets-l.Dialled, 1<<14)
		if err := b.talk.ns.Do(func() error { return b.talk.data.Dial(int(n)) }); err != nil {
			return nil, err
		}
		l.Dialled += n
		if err := b.settle(l, said.Answered); err != nil {
			return nil, err
		}
	}
	after, err := b.scene.carried()
	if err != nil {
		return nil, err
	}
	l.sum(rates, after.Sub(carried).DataFrames)
	return l, ctx.Err()
}

// settle waits until every request was answered or refused, or nothing more comes, and
// reads how many were.
func (b *balance) settle(l *TierLoad, before uint64) error {
	ended := l.Answered + l.refused()
	for last := time.Now(); ; time.Sleep(200 * time.Microsecond) {
		said, err := b.talk.clients.Said()
		if err != nil {
			return err
		}
		l.Answered, l.Nodes = said.Answered-before, l.Nodes[:0]
		for node := range b.cfg.tiers[0] {
			taken, err := b.tiers.Taken(node)
			if err != nil {
				return err
			}
			l.Nodes = append(l.Nodes, taken)
		}
		if now := l.Answered + l.refused(); now != ended {
			ended, last = now, time.Now()
		}
		if ended >= l.Dialled || time.Since(last) > patience {
			return nil
		}
	}
}

func (l *TierLoad) refused() (n uint64) {
	for _, t := range l.Nodes {
		n += t.Refused
	}
	return n
}

// named is how many packets counters of nodes and interfaces call dropped.
func (l *TierLoad) named() (n uint64) {
	for _, d := range l.Drops {
		n += d
	}
	return n
}

// sum forms the figures of a load.
func (l *TierLoad) sum(rates []float64, crossed uint64) {
	l.Delivered = float64(l.Answered) / float64(l.Dialled)
	l.Throughput = l.Load * l.Delivered
	l.Crossings = float64(crossed) / float64(l.Dialled)
	for node, rate := range rates {
		l.Used = append(l.Used, float64(l.Nodes[node].Passed)/(rate*float64(l.Dialled)))
	}
	if ended := l.Answered + l.refused(); ended < l.Dialled {
		l.Lost = l.Dialled - ended
	}
}
