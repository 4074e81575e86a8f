package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"cohort/testenv/topology"
)

// publicAddress is the one address that both contenders translate to.
const publicAddress = "203.0.113.10"

// cohortPair is two nodes; the control node is the one that dies. The routers
// before and behind it spread over both and drop a hop that leaves three pings
// unanswered, 100 ms apart.
func cohortPair(name string, hold time.Duration, health string) contender {
	return contender{
		name: name, hold: hold,
		said: fmt.Sprintf("heartbeat every %v, hold time %v; routers ping each node every 100 ms and drop it after 3 losses", (hold / 3).Round(time.Millisecond), hold),
		build: func(ctx context.Context, c contender, flows int) (*pairOfRouters, error) {
			self, err := os.Executable()
			if err != nil {
				return nil, err
			}
			top, err := topology.New(ctx, topology.Config{
				Nodes: 2, Daemon: self, Env: []string{envDaemon + "=1"}, HoldTime: c.hold, Health: health,
				NAT: "{pools: {egress: {addresses: " + publicAddress + "}}, rules: [{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}]}",
			})
			if err != nil {
				return nil, err
			}
			p := &pairOfRouters{Topology: top, active: top.Nodes[0], close: top.Close}
			p.known = func(ctx context.Context) error { return p.copied(ctx, flows) }
			ready, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			if err = top.WaitFormed(ready, 2); err == nil {
				err = top.WaitRouted(ready)
			}
			if err != nil {
				_ = top.Close()
				return nil, err
			}
			return p, nil
		},
	}
}

// copied waits until nothing would be lost with the node, as it says itself, of so
// many connections in the cluster.
func (p *pairOfRouters) copied(ctx context.Context, flows int) error {
	return until(ctx, func() (bool, error) {
		e, err := p.active.API().Exposure(ctx)
		owned := 0
		for i := range e.Nodes {
			if n := &e.Nodes[i]; n.AgeMS < 0 || n.IfDies.Lost > 0 {
				return false, err
			}
			owned += e.Nodes[i].Owned
		}
		return owned >= flows, err
	})
}

// until asks often and for at most 15 seconds.
func until(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}
