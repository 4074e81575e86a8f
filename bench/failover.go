package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"cohort/bench/stat"
	"cohort/testenv/campaign"
	"cohort/testenv/netns"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// failoverConfig bounds the comparison of what a power failure does to running
// translated connections.
type failoverConfig struct {
	tcp    int           // connections, each with an exchange every beat
	beat   time.Duration // of them
	udp    int           // flows, each with a packet every tick
	tick   time.Duration
	rounds int           // each A B B A, or A B C C B A
	half   bool          // a round is A B
	settle time.Duration // of traffic before the failure
	after  time.Duration // of traffic after everybody must have noticed
	most   time.Duration // for flows to come back
	all    []contender
}

// contender is one way to keep connections when a router dies. Another one, a
// profile of timers say, is another entry of failoverConfig.all.
type contender struct {
	name  string
	hold  time.Duration // after which a silent router counts as dead
	build func(ctx context.Context, c contender, flows int) (*pairOfRouters, error)
	said  string // its timers, in full
}

// pairOfRouters is what a trial kills one of.
type pairOfRouters struct {
	*topology.Topology
	active *topology.Node                  // who dies
	known  func(ctx context.Context) error // waits until the other has the connections
	close  func() error
}

// trial is one failure.
type trial struct {
	Blackout float64 `json:"blackout_ms"` // of the UDP flow that was silent longest
	Median   float64 `json:"median_ms"`   // of the flows that were hit
	Hit      int     `json:"flows_hit"`   // flows that were silent for more than hitAfter
	TCPStall float64 `json:"tcp_stall_ms"`
	TCPLost  int     `json:"tcp_lost"`
	UDPLost  int     `json:"udp_lost"` // silent to the end, or known by another address or port afterwards
}

// hitAfter tells what the failure did from what a busy machine does.
const hitAfter = 200 * time.Millisecond

// FailoverResult is what a contender did in all trials.
type FailoverResult struct {
	Name     string       `json:"name"`
	HoldMS   int64        `json:"hold_ms"`
	Timers   string       `json:"timers"`
	TCP      int          `json:"tcp_connections"` // of one trial
	UDP      int          `json:"udp_flows"`
	Blackout stat.Summary `json:"blackout_ms"`
	Median   stat.Summary `json:"median_flow_ms"`
	Hit      stat.Summary `json:"flows_hit"`
	TCPStall stat.Summary `json:"tcp_stall_ms"`
	TCPLost  int          `json:"tcp_lost"` // of all trials
	UDPLost  int          `json:"udp_lost"`
	Trials   []trial      `json:"trials"`
}

// measureFailover lets every contender lose its active router, by turns.
func measureFailover(ctx context.Context, cfg failoverConfig) ([]FailoverResult, error) {
	order := turns(len(cfg.all), cfg.half)
	trials := make([][]trial, len(cfg.all))
	for range cfg.rounds {
		for _, i := range order {
			t, err := cfg.lose(ctx, cfg.all[i])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", cfg.all[i].name, err)
			}
			fmt.Fprintf(os.Stderr, "bench: failover: %s: %+v\n", cfg.all[i].name, *t)
			trials[i] = append(trials[i], *t)
		}
	}
	var all []FailoverResult
	for i, c := range cfg.all {
		all = append(all, cfg.result(c, trials[i]))
	}
	return all, nil
}

// turns is the order of n contenders in a round: there and back, or half of that.
func turns(n int, half bool) (order []int) {
	for i := range n {
		order = append(order, i)
	}
	if !half {
		order = append(order, order...)
		slices.Reverse(order[n:])
	}
	return order
}

func (cfg *failoverConfig) result(c contender, trials []trial) FailoverResult {
	r := FailoverResult{Name: c.name, HoldMS: c.hold.Milliseconds(), Timers: c.said, TCP: cfg.tcp, UDP: cfg.udp, Trials: trials}
	of := func(f func(*trial) float64) stat.Summary {
		var values []float64
		for i := range trials {
			values = append(values, f(&trials[i]))
		}
		return stat.Of(values)
	}
	r.Blackout, r.Median = of(func(t *trial) float64 { return t.Blackout }), of(func(t *trial) float64 { return t.Median })
	r.Hit, r.TCPStall = of(func(t *trial) float64 { return float64(t.Hit) }), of(func(t *trial) float64 { return t.TCPStall })
	for i := range trials {
		r.TCPLost += trials[i].TCPLost
		r.UDPLost += trials[i].UDPLost
	}
	return r
}

// lose is one trial, in a network of its own.
func (cfg *failoverConfig) lose(ctx context.Context, c contender) (t *trial, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	p, err := c.build(ctx, c, cfg.tcp+cfg.udp)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	client, server := p.Clients[0].Namespace, p.Servers[0]
	streams, err := campaign.OpenStreams(client, server.Namespace, netip.AddrPortFrom(server.Addr, 9), cfg.udp, cfg.tick)
	if err != nil {
		return nil, err
	}
	defer streams.Close()
	pool, stop, err := openPool(ctx, client, server, cfg)
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := wait(ctx, cfg.settle); err != nil {
		return nil, err
	}
	if err := p.known(ctx); err != nil {
		return nil, err
	}
	if !streams.AllSince(time.Now().Add(-hitAfter)) {
		return nil, errors.New("not all flows ran before the failure: the machine is too busy")
	}
	before := streams.Tally()
	streams.Mark()
	dark, err := p.active.PowerOff()
	if err != nil {
		return nil, err
	}
	// Until then everybody has noticed; what has not come back by then is waited for.
	noticed := dark.End.Add(c.hold + cfg.after)
	if err := wait(ctx, time.Until(noticed)); err != nil {
		return nil, err
	}
	for end := noticed.Add(cfg.most); !streams.AllSince(noticed) && time.Now().Before(end); {
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
	t = &trial{UDPLost: streams.SilentSince(noticed) + int(streams.Tally().Moves-before.Moves)}
	t.gaps(streams.Gaps())
	report := pool.Close()
	t.TCPLost, t.TCPStall = report.Wanted-report.Done, ms(report.Longest())
	return t, nil
}

// gaps judges how long each flow was silent.
func (t *trial) gaps(gaps []campaign.Gap) {
	var hit []float64
	for _, g := range gaps {
		t.Blackout = max(t.Blackout, ms(g.Length()))
		if g.Length() > hitAfter {
			hit = append(hit, ms(g.Length()))
		}
	}
	if t.Hit = len(hit); t.Hit > 0 {
		t.Median = stat.Median(hit)
	}
}

func openPool(ctx context.Context, client *netns.Namespace, server *topology.Host, cfg *failoverConfig) (*traffic.Pool, func(), error) {
	to := netip.AddrPortFrom(server.Addr, 7)
	echo, err := traffic.ServeEcho(server.Namespace, to)
	if err != nil {
		return nil, nil, err
	}
	// An exchange that fails after the last repetition of its data has had its turn.
	pool, err := traffic.OpenPool(ctx, client, to, traffic.PoolConfig{Connections: cfg.tcp, Interval: cfg.beat, Timeout: cfg.most})
	if err != nil {
		echo.Close()
		return nil, nil, err
	}
	return pool, func() { pool.Close(); echo.Close() }, nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
