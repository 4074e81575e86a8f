package main

import (
	"context"
	"fmt"
	"time"

	"cohort/bench/traffic"
)

// entries opens the connections whose packets are sent later, has every node
// see packets of each that the routers send it, and counts what the nodes keep.
func (s *scene) entries(ctx context.Context) (*ScaleConnections, error) {
	each, err := entryBytes(s.cfg.flows)
	if err != nil {
		return nil, err
	}
	bytes := make(map[string]float64)
	for _, e := range each {
		bytes[e.Role] = e.Total
	}
	if !s.cfg.once {
		if err := s.many.bare(ctx); err != nil {
			return nil, err
		}
	}
	for _, t := range s.talks() {
		if err := s.hold(ctx, t); err != nil {
			return nil, err
		}
	}
	r := &ScaleConnections{}
	// What was sent last may still be on its way to the nodes that keep copies.
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if *r, err = s.many.entries(ctx); err != nil {
			return nil, err
		}
		if s.many == s.one || r.Copies > 0.999 || time.Now().After(end) {
			break
		}
	}
	if r.Owned < 0.999 || r.Owned > 1.001 {
		return nil, fmt.Errorf("%.4f owner entries a connection", r.Owned)
	}
	if s.many != s.one && r.Copies < 0.999 {
		return nil, fmt.Errorf("%.4f copies a connection: not every connection is protected", r.Copies)
	}
	r.weigh(bytes, s.many == s.one)
	return r, nil
}

// weigh computes what a connection takes, all of which are translated: copies and
// stubs have a second key, and those that are both are found by it. A node alone keeps
// no copies.
func (r *ScaleConnections) weigh(bytes map[string]float64, alone bool) {
	r.OneBytes = bytes["owner"]
	kept := (r.Copies-r.Joined+r.Stubs)*bytes[translatedBackup] + r.Joined*bytes[joinedBackup]
	r.ManyBytes = r.Owned*bytes["owner"] + kept + r.Forwards*bytes["forwarder"]
	if alone {
		r.ManyBytes = r.OneBytes + r.Stubs*bytes[translatedBackup]
	}
	r.Factor = r.OneBytes / r.ManyBytes
}

// bare waits until nothing is left of connections that have ended, keys that
// rest and forward entries included.
func (t *talk) bare(ctx context.Context) error {
	for end := time.Now().Add(time.Minute); ; {
		left := 0
		for _, n := range t.cluster.Nodes {
			tables, err := n.API().Tables(ctx)
			if err != nil {
				return err
			}
			left += tables.Owned + tables.Copies + tables.Stubs + tables.Forwards
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: %d entries are left a minute after the last connection ended", t.name, left)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// entries counts what all nodes together keep of each connection.
func (t *talk) entries(ctx context.Context) (r ScaleConnections, err error) {
	r.Connections = t.held
	for _, n := range t.cluster.Nodes {
		tables, err := n.API().Tables(ctx)
		if err != nil {
			return r, err
		}
		r.Owned += float64(tables.Owned) / float64(t.held)
		r.Copies += float64(tables.Copies) / float64(t.held)
		r.Stubs += float64(tables.Stubs) / float64(t.held)
		r.Joined += float64(tables.Joined) / float64(t.held)
		r.Forwards += float64(tables.Forwards) / float64(t.held)
	}
	return r, nil
}

// hold opens connections that stay open, and sends data of each by every way
// that the routers could choose.
func (s *scene) hold(ctx context.Context, t *talk) error {
	if err := t.clients.Closing(false); err != nil {
		return err
	}
	held := t.spread
	held.Flows = traffic.Batches(s.cfg.flows)
	err := t.ns.Do(func() (err error) {
		if t.opens, err = traffic.NewDialer(held, traffic.First); err == nil {
			t.data, err = traffic.NewDialer(held, traffic.AnyData)
		}
		return err
	})
	if err != nil {
		return err
	}
	n, err := t.open(ctx, held.Flows, s.burst(t), answered)
	if err != nil {
		return err
	}
	if n != held.Flows {
		return fmt.Errorf("%s: %w: %d of %d connections are open", t.name, errLost, n, held.Flows)
	}
	t.held = n
	return s.visit(ctx, t, held)
}

// visit sends data of every connection by each port, until every answer comes:
// a node that has just learnt of a connection may still drop what its rings
// cannot hold.
func (s *scene) visit(ctx context.Context, t *talk, held traffic.Talk) error {
	ways := []traffic.Talk{held}
	if !held.ByFlow {
		ways = nil
		for _, o := range held.Outs {
			one := held
			one.Outs = []traffic.Out{o}
			ways = append(ways, one)
		}
	}
	for _, way := range ways {
		var d *traffic.Dialer
		err := t.ns.Do(func() (err error) { d, err = traffic.NewDialer(way, traffic.InOrder); return err })
		if err != nil {
			return err
		}
		for left := held.Flows; left > 0 && err == nil; {
			b := min(left, traffic.Batches(s.burst(t)))
			if err = ctx.Err(); err == nil {
				_, err = t.burst(d, b, answered)
			}
			left -= b
		}
		if err != nil {
			d.Close()
			return err
		}
		if err := d.Close(); err != nil {
			return err
		}
	}
	return nil
}
