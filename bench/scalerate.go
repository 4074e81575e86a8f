package main

import (
	"context"
	"fmt"
	"time"

	"cohort/bench/stat"
)

// rate compares short connections from their SYN to the end of their entries.
func (s *scene) rate(ctx context.Context) (*ScaleRate, error) {
	talks := s.talks()
	for _, t := range talks {
		if err := t.clients.Closing(true); err != nil {
			return nil, err
		}
		if err := s.warm(ctx, t); err != nil {
			return nil, err
		}
	}
	before, err := s.carried()
	if err != nil {
		return nil, err
	}
	opened := s.many.sent
	all, err := s.laps(ctx, talks, s.shortConnections)
	if err != nil {
		return nil, err
	}
	after, err := s.carried()
	if err != nil {
		return nil, err
	}
	carried, each := after.Sub(before), float64(s.many.sent-opened)
	use, rejected, disturbed := s.used(all)
	net := func(t, floor *talk) []float64 {
		return column(use, func(o lap) float64 { return (o.each[t] - o.each[floor]) / 1e3 })
	}
	floor := s.floorN
	if s.many == s.one {
		floor = s.floor1
	}
	one, many, peer := net(s.one, s.floor1), net(s.many, floor), net(s.peer, s.floor1)
	apart := one
	if s.apart != nil {
		apart = net(s.apart, floor)
	}
	return &ScaleRate{
		Apart: stat.Of(apart), ToApart: stat.Of(stat.Ratios(apart, many)),
		Rounds: len(use), Rejected: rejected, Disturbed: disturbed, Connections: s.cfg.chunk,
		One: stat.Of(one), Many: stat.Of(many), Masquerade: stat.Of(peer),
		Factor: stat.Of(stat.Ratios(one, many)), ToMasquerade: stat.Of(stat.Ratios(peer, one)),
		Frames: float64(carried.OtherFrames) / each, Bytes: float64(carried.OtherBytes) / each, Crossed: float64(carried.DataFrames) / each,
		Idle: s.many.idle / float64(len(s.many.cluster.Nodes)),
	}, nil
}

// burst is how many connections are opened at once: every node of a cluster
// gets as many as one that is alone.
func (s *scene) burst(t *talk) int { return s.cfg.burst * len(t.spread.Outs) }

// warm opens connections until all of a burst get through: neighbours are
// resolved then, and every node has ports to give.
func (s *scene) warm(ctx context.Context, t *talk) error {
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
			left += tables.Owned + tables.Copies
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: %d entries are left of connections that have ended", t.name, left)
		}
	}
}
