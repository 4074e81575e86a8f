package main

import (
	"context"
	"fmt"

	"cohort/bench/stat"
	"cohort/bench/traffic"
)

// throughput compares packets of open connections: clients send data, servers
// answer it, and what one packet of both costs is measured.
func (s *scene) throughput(ctx context.Context) (*ScaleThroughput, error) {
	talks := []*talk{s.floor1, s.wire, s.one}
	if s.many != s.one {
		talks = append(talks, s.many, s.apart, s.floorN)
	}
	for _, t := range talks { // the daemons have done by now what the opening left them
		if err := s.tally.watchIdle(ctx, t, s.cfg.watch); err != nil {
			return nil, err
		}
	}
	before, err := s.carried()
	if err != nil {
		return nil, err
	}
	exchanged := 0
	all, err := s.laps(ctx, talks, func(ctx context.Context, t *talk) (float64, cost, bool, error) {
		if t == s.many {
			exchanged += traffic.Batches(s.cfg.packets) + traffic.Batches(s.cfg.packets/4)
		}
		return s.exchange(t)
	})
	if err != nil {
		return nil, err
	}
	after, err := s.carried()
	if err != nil {
		return nil, err
	}
	use, rejected, disturbed := s.used(all)
	r := &ScaleThroughput{Rounds: len(use), Rejected: rejected, Disturbed: disturbed, Flows: s.one.held}
	if exchanged > 0 {
		r.Crossings = float64(after.Sub(before).DataFrames) / float64(2*exchanged)
	}
	r.sum(s, use)
	return r, nil
}

// sum forms the figures of the laps that count.
func (r *ScaleThroughput) sum(s *scene, use []lap) {
	floor := s.floorN
	if s.many == s.one {
		floor = s.floor1
	}
	net := func(t, floor *talk) []float64 {
		return column(use, func(o lap) float64 { return o.each[t] - o.each[floor] })
	}
	one, many, hop := net(s.one, s.floor1), net(s.many, floor), net(s.wire, s.floor1)
	bare := make([]float64, len(many))
	for i := range many {
		bare[i] = many[i] - r.Crossings*hop[i]
	}
	apart := one
	if s.apart != nil {
		apart = net(s.apart, floor)
	}
	r.Apart, r.ToApart = stat.Of(apart), stat.Of(stat.Ratios(apart, bare))
	r.One, r.Many, r.Switch = stat.Of(one), stat.Of(many), stat.Of(hop)
	r.Factor, r.WithSwitch = stat.Of(stat.Ratios(one, bare)), stat.Of(stat.Ratios(one, many))
}

func (s *scene) carried() (traffic.Carried, error) {
	if s.link == nil {
		return traffic.Carried{}, nil
	}
	return s.link.Carried()
}

// exchange is one sample: ns of CPU a packet, of client or server.
func (s *scene) exchange(t *talk) (each float64, c cost, whole bool, err error) {
	send := func(n int) error { return t.ns.Do(func() error { return t.data.Dial(n) }) }
	if err := send(s.cfg.packets / 4); err != nil { // the caches are the talk's now
		return 0, c, false, err
	}
	before, err := t.clients.Said()
	if err != nil {
		return 0, c, false, err
	}
	c, err = s.tally.measure(t, func() error { return send(s.cfg.packets) })
	if err != nil {
		return 0, c, false, fmt.Errorf("%s: %w", t.name, err)
	}
	after, err := t.clients.Said()
	if err != nil {
		return 0, c, false, err
	}
	sent := uint64(traffic.Batches(s.cfg.packets))
	got := min(after.Answered-before.Answered, sent)
	if got == 0 {
		return 0, c, false, fmt.Errorf("%s: none of %d packets was answered", t.name, sent)
	}
	return float64(c.whole()) / float64(2*sent), c, float64(got) >= (1-maxLost)*float64(sent), nil
}
