package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"cohort/bench/stat"
	"cohort/bench/traffic"
)

// pathConfig bounds the end-to-end measurement.
type pathConfig struct {
	flows   int
	packets int           // of one sample
	rounds  int           // wanted
	time    time.Duration // for all rounds
	cpu     int
}

// PathResult is ns per packet end to end, per track, and ratios to the peers.
type PathResult struct {
	Flows     int                     `json:"flows"`
	Packets   int                     `json:"packets_per_sample"`
	Rounds    int                     `json:"rounds"`
	Rejected  int                     `json:"rounds_rejected"`
	Disturbed bool                    `json:"disturbed"` // too few quiet rounds: all are used
	Whole     map[string]stat.Summary `json:"ns_per_packet_with_generator"`
	Net       map[string]stat.Summary `json:"ns_per_packet"` // generator subtracted, round by round
	Ratio     map[string]stat.Summary `json:"ratio"`         // "owner/conntrack"
	Loss      map[string]float64      `json:"loss"`          // share of packets that no sink saw
}

// round is the mean ns per packet of each track, A B C C B A.
type round struct {
	ns    map[string]float64
	quiet bool
}

func measurePath(ctx context.Context, cfg pathConfig) (*PathResult, error) {
	f, err := newField(cfg.flows)
	if err != nil {
		return nil, err
	}
	defer f.close()
	m, err := newMeter(cfg.cpu)
	if err != nil {
		return nil, err
	}
	if err := f.gen.Do(func() error { return pinThread(cfg.cpu) }); err != nil {
		return nil, err
	}
	r := &runner{field: f, cfg: cfg, meter: m, lost: make(map[string]uint64), sent: make(map[string]uint64)}
	rounds, err := r.rounds(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range f.tracks {
		if err := t.check(); err != nil {
			return nil, err
		}
	}
	return r.result(rounds), nil
}

// runner measures the tracks of a field.
type runner struct {
	*field
	cfg        pathConfig
	meter      *meter
	lost, sent map[string]uint64
}

// rounds repeats until there are enough quiet rounds or the time is over.
func (r *runner) rounds(ctx context.Context) ([]round, error) {
	var all []round
	quiet := 0
	for end := time.Now().Add(r.cfg.time); quiet < r.cfg.rounds && (time.Now().Before(end) || len(all) == 0); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		one, err := r.round()
		if err != nil {
			return nil, err
		}
		all = append(all, one)
		if one.quiet {
			quiet++
		}
	}
	return all, nil
}

func (r *runner) round() (round, error) {
	one := round{ns: make(map[string]float64), quiet: true}
	order := slices.Clone(r.tracks)
	for range 2 {
		for _, t := range order {
			ns, s, err := r.sample(t)
			if err != nil {
				return one, err
			}
			one.ns[t.name] += ns / 2
			one.quiet = one.quiet && s.disturbed() <= maxDisturbed
		}
		slices.Reverse(order)
	}
	return one, nil
}

// sample warms the caches with the track's own tables and then measures.
func (r *runner) sample(t *track) (ns float64, s spent, err error) {
	before, err := t.sink.Taken()
	if err != nil {
		return 0, s, err
	}
	warm := r.cfg.packets / 4
	err = r.gen.Do(func() (err error) {
		if err := t.source.Send(warm); err != nil {
			return err
		}
		s, err = r.meter.measure(func() error { return t.source.Send(r.cfg.packets) })
		return err
	})
	if err != nil {
		return 0, s, fmt.Errorf("%s: %w", t.name, err)
	}
	after, err := t.sink.Taken()
	if err != nil {
		return 0, s, err
	}
	sent := uint64(traffic.Batches(warm) + traffic.Batches(r.cfg.packets))
	arrived := after - before
	if arrived < sent-sent/50 {
		return 0, s, fmt.Errorf("%s: %d of %d packets arrived", t.name, arrived, sent)
	}
	r.sent[t.name] += sent
	r.lost[t.name] += sent - min(arrived, sent)
	return float64(s.ours.Nanoseconds()) / float64(traffic.Batches(r.cfg.packets)), s, nil
}

// result takes the quiet rounds, or all if most were not.
func (r *runner) result(all []round) *PathResult {
	res := &PathResult{
		Flows: r.cfg.flows, Packets: r.cfg.packets,
		Whole: make(map[string]stat.Summary), Net: make(map[string]stat.Summary),
		Ratio: make(map[string]stat.Summary), Loss: make(map[string]float64),
	}
	use := slices.DeleteFunc(slices.Clone(all), func(o round) bool { return !o.quiet })
	res.Rejected = len(all) - len(use)
	if len(use) < (r.cfg.rounds+3)/4 {
		use, res.Disturbed = all, true
	}
	res.Rounds = len(use)
	whole, net := make(map[string][]float64), make(map[string][]float64)
	floor := r.tracks[0].name
	for _, o := range use {
		for _, t := range r.tracks {
			whole[t.name] = append(whole[t.name], o.ns[t.name])
			net[t.name] = append(net[t.name], o.ns[t.name]-o.ns[floor])
		}
	}
	for _, t := range r.tracks {
		res.Whole[t.name] = stat.Of(whole[t.name])
		res.Loss[t.name] = float64(r.lost[t.name]) / float64(max(r.sent[t.name], 1))
		if t.name != floor {
			res.Net[t.name] = stat.Of(net[t.name])
		}
	}
	for _, our := range []string{"owner", "forwarder", "forwarder+owner"} {
		for _, peer := range []string{"linux", "conntrack"} {
			res.Ratio[our+"/"+peer] = stat.Of(stat.Ratios(net[our], net[peer]))
		}
	}
	return res
}
