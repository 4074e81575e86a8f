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

// throughput compares packets of so many of the connections that are open: clients send
// data, servers answer it, and what one packet of both costs is measured.
func (s *scene) throughput(ctx context.Context, flows int) (r *ScaleThroughput, err error) {
	talks := []*talk{s.floor1, s.wire, s.one}
	if s.many != s.one {
		talks = append(talks, s.many, s.apart, s.floorN)
	}
	for _, t := range talks {
		undo, err := t.narrow(flows)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, undo()) }()
	}
	for _, t := range talks { // the daemons have done by now what the opening left them
		if err := s.tally.watchIdle(ctx, t, s.cfg.watch); err != nil {
			return nil, err
		}
	}
	r = &ScaleThroughput{Flows: flows}
	var crossed uint64
	exchanged := 0
	all, err := s.laps(ctx, talks, func(ctx context.Context, t *talk) (float64, cost, bool, error) {
		if err := s.settle(ctx, t, flows); err != nil {
			return 0, cost{}, false, err
		}
		before, err := s.carried()
		if err != nil {
			return 0, cost{}, false, err
		}
		each, c, whole, err := s.exchange(t)
		if err != nil || t != s.many {
			return each, c, whole, err
		}
		after, err := s.carried()
		crossed += after.Sub(before).DataFrames
		exchanged += traffic.Batches(s.cfg.packets)
		return each, c, whole, err
	})
	if err != nil {
		return nil, err
	}
	use, rejected, disturbed := s.used(all)
	r.Rounds, r.Rejected, r.Disturbed = len(use), rejected, disturbed
	if exchanged > 0 {
		r.Crossings = float64(crossed) / float64(2*exchanged)
	}
	r.sum(s, use)
	return r, nil
}

// narrow has data sent of the first of the open connections only, until undo.
func (t *talk) narrow(flows int) (undo func() error, err error) {
	few := t.spread
	few.Flows = traffic.Batches(flows)
	all, d := t.data, (*traffic.Dialer)(nil)
	err = t.ns.Do(func() (err error) {
		d, err = traffic.NewDialer(few, traffic.AnyData)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.name, err)
	}
	t.data = d
	return func() error {
		t.data = all
		return d.Close()
	}, nil
}

// settle brings a talk to where it stays: what can be lent is, as in long transfers, and
// the caches are its own.
func (s *scene) settle(ctx context.Context, t *talk, flows int) error {
	if t == s.many && s.lends {
		if _, err := s.lend(ctx, t, flows, lendTime); err != nil {
			return err
		}
	}
	return t.ns.Do(func() error { return t.data.Dial(s.cfg.packets / 4) })
}

// lendTime is how long packets may cross before a sample begins nevertheless: how many
// did in it is reported.
const lendTime = 2 * time.Second

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
	upkeep := func(t *talk) []float64 { return column(use, func(o lap) float64 { return o.upkeep[t] }) }
	ofOne, ofMany := upkeep(s.one), upkeep(s.many)
	bare, onePacket, manyPacket := slices.Clone(many), slices.Clone(one), slices.Clone(many)
	for i := range many {
		bare[i] -= r.Crossings * hop[i]
		onePacket[i] -= ofOne[i]
		manyPacket[i] = bare[i] - ofMany[i]
	}
	r.Upkeep, r.Packets = stat.Of(ofMany), stat.Of(stat.Ratios(onePacket, manyPacket))
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
