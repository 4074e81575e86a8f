package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"cohort/bench/stat"
	"cohort/bench/traffic"
)

// rate compares short connections from their SYN to the end of their entries.
func (s *scene) rate(ctx context.Context) (*ScaleRate, error) {
	talks := s.talks()
	for _, t := range talks { // their tables have been used now, and every node knows its neighbours
		if err := s.tally.watchIdle(ctx, t, s.cfg.watch); err != nil {
			return nil, err
		}
	}
	var on, before [2]traffic.Carried
	err := s.frames(&before)
	if err != nil {
		return nil, err
	}
	opened, hops := s.many.sent, s.wire.sent
	all, err := s.laps(ctx, talks, s.shortConnections)
	if err != nil {
		return nil, err
	}
	if err := s.frames(&on); err != nil {
		return nil, err
	}
	use, rejected, disturbed := s.used(all)
	each, wire := float64(s.many.sent-opened), on[1].Sub(before[1])
	link := on[0].Sub(before[0])
	r := &ScaleRate{
		Rounds: len(use), Rejected: rejected, Disturbed: disturbed, Connections: s.cfg.chunk,
		Frames: float64(link.OtherFrames) / each, Bytes: float64(link.OtherBytes) / each, Crossed: float64(link.DataFrames) / each,
		Idle: s.many.idle / float64(len(s.many.cluster.Nodes)),
	}
	r.sum(s, use, float64(wire.DataFrames+wire.OtherFrames)/float64(s.wire.sent-hops))
	return r, nil
}

// frames reads what the switches have carried: that of many, and that of wire.
func (s *scene) frames(to *[2]traffic.Carried) (err error) {
	if to[0], err = s.carried(); err == nil {
		to[1], err = s.hop.Carried()
	}
	return err
}

// sum forms the figures of the laps that count. A connection of wire crosses its
// switch in so many frames.
func (r *ScaleRate) sum(s *scene, use []lap, frames float64) {
	floor := s.floorN
	if s.many == s.one {
		floor = s.floor1
	}
	net := func(t, floor *talk) []float64 {
		return column(use, func(o lap) float64 { return (o.each[t] - o.each[floor]) / 1e3 })
	}
	idle := func(t *talk) []float64 { return column(use, func(o lap) float64 { return o.idle[t] / 1e3 }) }
	one, many, peer, hop := net(s.one, s.floor1), net(s.many, floor), net(s.peer, s.floor1), net(s.wire, s.floor1)
	idleOne, idleMany := idle(s.one), idle(s.many)
	bare, rawOne, rawMany := slices.Clone(many), slices.Clone(one), slices.Clone(many)
	for i := range use {
		hop[i] /= frames
		bare[i] -= (r.Crossed + r.Frames) * hop[i]
		rawOne[i] += idleOne[i]
		rawMany[i] += idleMany[i]
	}
	apart := one
	if s.apart != nil {
		apart = net(s.apart, floor)
	}
	r.One, r.Many, r.Masquerade, r.Apart, r.Switch = stat.Of(one), stat.Of(many), stat.Of(peer), stat.Of(apart), stat.Of(hop)
	r.IdleOne, r.IdleMany = stat.Of(idleOne), stat.Of(idleMany)
	r.Factor, r.WithSwitch, r.Raw = stat.Of(stat.Ratios(one, bare)), stat.Of(stat.Ratios(one, many)), stat.Of(stat.Ratios(rawOne, rawMany))
	r.ToApart, r.ToMasquerade = stat.Of(stat.Ratios(apart, bare)), stat.Of(stat.Ratios(peer, one))
}

// burst is how many connections are opened at once: every node of a cluster
// gets as many as one that is alone.
func (s *scene) burst(t *talk) int { return s.cfg.burst * len(t.spread.Outs) }

// warm opens connections until all of a burst get through: neighbours are
// resolved then, and every node has ports to give. The clients close what is
// opened, from now on until hold.
func (s *scene) warm(ctx context.Context, t *talk) error {
	if err := t.clients.Closing(true); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); ; {
		n, err := t.open(ctx, s.burst(t), s.burst(t), closed)
		if err != nil {
			return err
		}
		if n >= s.burst(t) {
			return t.quiesce(ctx)
		}
		if time.Now().After(end) {
			said, _ := t.clients.Said()
			return fmt.Errorf("%s: %w: %d of %d connections complete; clients %+v", t.name, errLost, n, s.burst(t), said)
		}
	}
}

// shortConnections is one sample: ns of CPU a connection.
func (s *scene) shortConnections(ctx context.Context, t *talk) (each float64, c cost, whole bool, err error) {
	n := 0
	c, err = s.tally.measure(t, func() (err error) {
		if n, err = t.open(ctx, s.cfg.chunk, s.burst(t), closed); err != nil {
			return err
		}
		return t.quiesce(ctx)
	})
	if err == nil && n == 0 {
		err = fmt.Errorf("%s: no connection is complete", t.name)
	}
	if err != nil {
		return 0, c, false, err
	}
	return float64(c.whole()) / float64(n), c, float64(n) >= (1-maxLost)*float64(s.cfg.chunk), nil
}

// quiesce waits until no node of the talk owns a connection, and then for the
// messages that end the copies.
func (t *talk) quiesce(ctx context.Context) error {
	if t.cluster == nil {
		return nil
	}
	for end := time.Now().Add(30 * time.Second); ; {
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		left := 0
		for _, n := range t.cluster.Nodes {
			tables, err := n.API().Tables(ctx)
			if err != nil {
				return err
			}
			if left = tables.Owned + tables.Copies; left != 0 {
				break // the questions are work of the daemons, too: no more than it takes
			}
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: %d entries are left of connections that have ended", t.name, left)
		}
	}
}
