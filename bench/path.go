package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	Net       map[string]stat.Summary `json:"ns_per_packet"`      // generator subtracted, round by round
	Ratio     map[string]stat.Summary `json:"ratio"`              // "owner/conntrack"
	Added     map[string]stat.Summary `json:"added_ns,omitempty"` // "steered+owner - reply at owner": ns a packet
	Loss      map[string]float64      `json:"loss"`               // share of packets that no sink saw
}

// round is the mean ns per packet of each track, A B C C B A.
type round struct {
	ns    map[string]float64
	quiet bool // nobody else had the CPU
	whole bool // no ring overflowed: what is dropped early costs less
}

func measurePath(ctx context.Context, cfg pathConfig) (*PathResult, error) {
	f, err := plainField(cfg.flows, cfg.cpu)
	if err != nil {
		return nil, err
	}
	defer f.close()
	return f.measure(ctx, cfg)
}

// measure lets the tracks of a field run against each other.
func (f *field) measure(ctx context.Context, cfg pathConfig) (*PathResult, error) {
	m, err := newMeter(cfg.cpu)
	if err != nil {
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
		if one.quiet && one.whole {
			quiet++
		}
	}
	if !slices.ContainsFunc(all, func(o round) bool { return o.whole }) {
		return nil, r.tooLossy()
	}
	return all, nil
}

var errLost = errors.New("packets were lost in every round")

// tooLossy says which tracks lost how much.
func (r *runner) tooLossy() error {
	var b strings.Builder
	for _, t := range r.tracks {
		if lost := r.lost[t.name]; lost != 0 {
			fmt.Fprintf(&b, ", %s %.1f %%", t.name, 100*float64(lost)/float64(r.sent[t.name]))
		}
	}
	return fmt.Errorf("%w%s", errLost, b.String())
}

func (r *runner) round() (round, error) {
	one := round{ns: make(map[string]float64), quiet: true, whole: true}
	order := slices.Clone(r.tracks)
	for range 2 {
		for _, t := range order {
			s, err := r.patient(t)
			if err != nil {
				return one, err
			}
			one.ns[t.name] += s.ns / 2
			one.quiet = one.quiet && s.disturbed() <= maxDisturbed
			one.whole = one.whole && s.lost <= maxLost
		}
		slices.Reverse(order)
	}
	return one, nil
}

// maxLost is the share of packets that may be lost before a round says nothing.
const maxLost = 0.01

// patient takes a sample again, once, when it was disturbed.
func (r *runner) patient(t *track) (s sample, err error) {
	for range 2 {
		if s, err = r.sample(t); err != nil || s.disturbed() <= maxDisturbed && s.lost <= maxLost {
			break
		}
	}
	return s, err
}

// sample is one measurement of one track.
type sample struct {
	spent
	ns   float64 // a packet
	lost float64 // share of packets
}

// sample warms the caches with the track's own tables and then measures.
func (r *runner) sample(t *track) (s sample, err error) {
	before, err := t.sink.Taken()
	if err != nil {
		return s, err
	}
	warm := r.cfg.packets / 4
	err = r.gen.Do(func() (err error) {
		if err := t.source.Send(warm); err != nil {
			return err
		}
		s.spent, err = r.meter.measure(func() error { return t.source.Send(r.cfg.packets) })
		return err
	})
	if err != nil {
		return s, fmt.Errorf("%s: %w", t.name, err)
	}
	after, err := t.sink.Taken()
	if err != nil {
		return s, err
	}
	measured := traffic.Batches(r.cfg.packets)
	sent := uint64(traffic.Batches(warm) + measured)
	arrived := min(after-before, sent)
	if arrived == 0 {
		return s, fmt.Errorf("%s: none of %d packets arrived", t.name, sent)
	}
	r.sent[t.name] += sent
	r.lost[t.name] += sent - arrived
	s.ns = float64(s.ours.Nanoseconds()) / float64(measured)
	s.lost = float64(sent-arrived) / float64(sent)
	return s, nil
}

// result takes the quiet rounds, or all if most were not, but never one with
// losses.
func (r *runner) result(all []round) *PathResult {
	res := &PathResult{
		Flows: r.cfg.flows, Packets: r.cfg.packets,
		Whole: make(map[string]stat.Summary), Net: make(map[string]stat.Summary),
		Ratio: make(map[string]stat.Summary), Added: make(map[string]stat.Summary), Loss: make(map[string]float64),
	}
	rejected := len(all)
	all = slices.DeleteFunc(slices.Clone(all), func(o round) bool { return !o.whole })
	use := slices.DeleteFunc(slices.Clone(all), func(o round) bool { return !o.quiet })
	if len(use) < (r.cfg.rounds+3)/4 {
		use, res.Disturbed = all, true
	}
	res.Rounds, res.Rejected = len(use), rejected-len(use)
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
	for _, p := range r.ratios {
		res.Ratio[p.ratio()] = stat.Of(stat.Ratios(net[p.one], net[p.other]))
	}
	for _, d := range r.added {
		v := stat.Differences(net[d.one], net[d.other])
		if d.without != "" {
			v = stat.Differences(v, net[d.without])
		}
		res.Added[d.name()] = stat.Of(v)
	}
	return res
}
