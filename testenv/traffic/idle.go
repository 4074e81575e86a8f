package traffic

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"cohort/testenv/netns"
)

// heartbeat is the size of one exchange of an idle connection.
const heartbeat = 32

// PoolConfig describes a Pool. Zero values take the defaults named here.
type PoolConfig struct {
	Connections int           // 2000
	Interval    time.Duration // between two exchanges of a connection; 5 s
	Timeout     time.Duration // an exchange that takes longer has failed; 60 s
	Seed        uint64
}

// Pool is a number of mostly idle connections to an echo server.
type Pool struct {
	cfg    PoolConfig
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu     sync.Mutex // guards report
	report Report
}

// OpenPool opens the connections and exchanges one heartbeat on each; then they
// rest, but for a heartbeat every interval. An error means that not all could
// be opened, and none stays open. The context bounds the life of the pool.
func OpenPool(ctx context.Context, from *netns.Namespace, to netip.AddrPort, cfg PoolConfig) (*Pool, error) {
	cfg.Connections = orElse(cfg.Connections, 2000)
	cfg.Interval = orElse(cfg.Interval, 5*time.Second)
	cfg.Timeout = orElse(cfg.Timeout, 60*time.Second)
	rest, cancel := context.WithCancel(ctx)
	p := &Pool{cfg: cfg, cancel: cancel, report: Report{Wanted: cfg.Connections}}
	opened := repeat(ctx, cfg.Connections, 100, func(i int) result {
		began := make(chan result, 1)
		p.all.Go(func() { p.live(ctx, rest, from, to, i, began) })
		return <-began
	})
	if err := opened.Err(); err != nil {
		p.Close()
		return nil, fmt.Errorf("idle connections: %w", err)
	}
	return p, nil
}

// live is one connection: heartbeats until rest ends, then a last one that
// tells whether it is alive still.
func (p *Pool) live(ctx, rest context.Context, from *netns.Namespace, to netip.AddrPort, i int, began chan<- result) {
	c, stall, err := dial(ctx, from, to, p.cfg.Timeout)
	if err != nil {
		began <- result{err: err}
		return
	}
	defer c.Close()
	defer watchContext(ctx, c)()
	e := newEcho(p.cfg.Seed+uint64(i), heartbeat)
	beat := func() error {
		took, err := e.round(c, p.cfg.Timeout)
		stall = max(stall, took)
		return err
	}
	err = beat()
	began <- result{stall: stall, err: err}
	stall = 0 // opening is not what the pool measures
	// Spread over the interval, or all connections would beat at once.
	timer := time.NewTimer(p.cfg.Interval * time.Duration(i+1) / time.Duration(p.cfg.Connections))
	defer timer.Stop()
	for resting := true; err == nil && resting; {
		select {
		case <-timer.C:
			timer.Reset(p.cfg.Interval)
		case <-rest.Done():
			resting = false
		}
		err = beat()
	}
	if err != nil {
		err = fmt.Errorf("%v: %w", c.LocalAddr(), err)
	}
	p.mu.Lock()
	p.report.add(result{stall: stall, err: err})
	p.mu.Unlock()
}

// Close exchanges a last heartbeat on every connection, closes it and reports:
// Done are the connections that lived to the end, Stalls the longest of each
// since it was opened. Idempotent.
func (p *Pool) Close() *Report {
	p.cancel()
	p.all.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.report
	r.Stalls = slices.Clone(r.Stalls)
	slices.Sort(r.Stalls)
	return &r
}
