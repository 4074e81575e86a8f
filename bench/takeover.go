package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cohort/bench/stat"
	"cohort/bench/traffic"
	"cohort/packet"
	"cohort/testenv/campaign"
)

// aimTakeover is from the new view to the first packet of a connection that another
// node owned, in ms, however many there are.
const aimTakeover = 30

// aimProtected is how long it may take until a million connections have a copy again
// whose holder is gone, in ms (FR12).
const aimProtected = 2000

// takeoverConfig bounds the measurement of nodes that die.
type takeoverConfig struct {
	sizes  []int
	sample int           // connections whose packets are sent, at most 64
	every  time.Duration // a packet of each of them
	fill   int
	most   time.Duration
	watch  time.Duration // after each death
}

// TakeoverResult is what follows when the holder of all copies dies, and then the
// owner of all connections. All times are of the clock.
type TakeoverResult struct {
	Connections int `json:"connections"`

	// The holder of copies of about half of the connections dies: from the owner's new
	// view until the other node has copies of all.
	Protected float64 `json:"protected_ms"`
	Resync    Latency `json:"first_packets_of_new_connections"` // at the owner, meanwhile
	Owner     Pauses  `json:"owner"`
	Holder    Pauses  `json:"new_holder"`

	// The owner dies: from the survivor's new view until it has forwarded a packet of
	// each of the sampled connections.
	Sampled   int     `json:"sampled"`
	Back      int     `json:"back"`
	Detection float64 `json:"detection_ms"` // from the death to the new view
	First     float64 `json:"first_ms"`
	Median    float64 `json:"median_ms"`
	All       float64 `json:"all_ms"`
	Survivor  Pauses  `json:"survivor"`
}

func measureTakeover(ctx context.Context, cfg takeoverConfig) (all []TakeoverResult, err error) {
	for _, size := range cfg.sizes {
		r, err := cfg.one(ctx, size)
		if err != nil {
			return all, fmt.Errorf("%d connections: %w", size, err)
		}
		all = append(all, *r)
	}
	return all, nil
}

func (cfg *takeoverConfig) one(ctx context.Context, size int) (r *TakeoverResult, err error) {
	c, err := newCluster(ctx, clusterConfig{nodes: 3, flows: size + size/16 + 1<<16, watched: true, udp: "1h", udpOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	for _, n := range []netip.Prefix{probeNet, netip.PrefixFrom(traffic.Server, 32)} {
		if err := c.discard(n); err != nil {
			return nil, err
		}
	}
	if err := c.hold(ctx, size, cfg.fill, cfg.most); err != nil {
		return nil, err
	}
	r = &TakeoverResult{Connections: size, Sampled: cfg.sample}
	if err := c.loseHolder(ctx, cfg, r); err != nil {
		return nil, fmt.Errorf("the holder dies: %w", err)
	}
	if err := c.loseOwner(ctx, cfg, r); err != nil {
		return nil, fmt.Errorf("the owner dies: %w", err)
	}
	return r, nil
}

// watchAnew begins to watch nodes anew.
func (c *cluster) watchAnew(ctx context.Context) error {
	for _, n := range c.Nodes {
		if !n.On() {
			continue
		}
		if _, err := pausesOf(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// loseHolder takes the third node away, which has copies of about half of what the
// first owns, and waits until the second has all.
func (c *cluster) loseHolder(ctx context.Context, cfg *takeoverConfig, r *TakeoverResult) error {
	owner, heir, victim := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	p, err := c.probes(owner)
	if err != nil {
		return err
	}
	if err := c.watchAnew(ctx); err != nil {
		return err
	}
	dark, err := victim.PowerOff()
	if err != nil {
		return err
	}
	var whole time.Time
	r.Resync, _, err = p.during(ctx, 0, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, cfg.most)
		defer cancel()
		for {
			t, err := heir.API().Tables(ctx)
			if err != nil {
				return err
			}
			if t.Copies >= r.Connections {
				whole = time.Now()
				return wait(ctx, cfg.watch)
			}
			if err := wait(ctx, 5*time.Millisecond); err != nil {
				return fmt.Errorf("%s has %d copies of %d", heir.Name, t.Copies, r.Connections)
			}
		}
	})
	if err != nil {
		return err
	}
	d, err := campaign.Detect(ctx, c.Topology, victim, dark.Begin)
	if err != nil {
		return err
	}
	r.Protected = exactMS(whole.Sub(d.First))
	if r.Owner, err = pausesOf(ctx, owner); err != nil {
		return err
	}
	if r.Holder, err = pausesOf(ctx, heir); err != nil {
		return err
	}
	return c.protected(ctx, r.Connections, cfg.most)
}

// loseOwner takes the first node away. From that moment on the routers send what it
// got to the second.
func (c *cluster) loseOwner(ctx context.Context, cfg *takeoverConfig, r *TakeoverResult) error {
	owner, survivor := c.Nodes[0], c.Nodes[1]
	far, err := c.routerPort("rout", survivor)
	if err != nil {
		return err
	}
	shape := traffic.Shape{Flows: cfg.sample, Hosts: 4096, AllUDP: true, Sequential: true}
	source, near, err := c.source("rin", survivor, shape)
	if err != nil {
		return err
	}
	a, err := watchArrivals(far, shape)
	if err != nil {
		return err
	}
	defer a.close()
	if err := c.watchAnew(ctx); err != nil {
		return err
	}
	dark, err := owner.PowerOff()
	if err != nil {
		return err
	}
	a.forget() // what the owner has forwarded for the survivor until now
	end := dark.End.Add(cfg.most)
	var all time.Time // when every connection was back
	for due := time.Now(); time.Now().Before(end) && (all.IsZero() || time.Since(all) < cfg.watch); {
		if err := near.Do(func() error { return source.Send(cfg.sample) }); err != nil {
			return err
		}
		if all.IsZero() && len(a.firsts()) == cfg.sample {
			all = time.Now()
		}
		if due = due.Add(cfg.every); time.Since(due) > 10*cfg.every {
			due = time.Now()
		}
		if err := wait(ctx, time.Until(due)); err != nil {
			return err
		}
	}
	d, err := campaign.Detect(ctx, c.Topology, owner, dark.Begin)
	if err != nil {
		return err
	}
	r.Detection = exactMS(d.First.Sub(dark.Begin))
	var back []float64
	for _, at := range a.firsts() {
		back = append(back, exactMS(at.Sub(d.First)))
	}
	if r.Back = len(back); r.Back > 0 {
		r.First, r.Median, r.All = slices.Min(back), stat.Median(back), slices.Max(back)
	}
	r.Survivor, err = pausesOf(ctx, survivor)
	return err
}

// arrivals notes when the first packet of each connection of a Shape left the cluster.
type arrivals struct {
	fd      int
	shape   traffic.Shape
	reading sync.WaitGroup
	done    chan struct{}
	mu      sync.Mutex // guards first
	first   map[packet.FlowKey]time.Time
}

func watchArrivals(at port, shape traffic.Shape) (*arrivals, error) {
	a := &arrivals{fd: -1, shape: shape, done: make(chan struct{}), first: map[packet.FlowKey]time.Time{}}
	err := at.ns.Do(func() (err error) {
		a.fd, err = stampedSocket(at.index)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.reading.Go(a.read)
	return a, nil
}

func (a *arrivals) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.first)
}

func (a *arrivals) firsts() (all []time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.shape.Flows {
		if at, ok := a.first[a.shape.Key(i)]; ok {
			all = append(all, at)
		}
	}
	return all
}

func (a *arrivals) read() {
	var p packet.Packet
	readStamped(a.fd, a.done, func(frame []byte, at int64) {
		if p.Parse(frame) != packet.OK {
			return
		}
		k := p.ConnKey()
		a.mu.Lock()
		if _, known := a.first[k]; !known {
			a.first[k] = time.Unix(0, at)
		}
		a.mu.Unlock()
	})
}

func (a *arrivals) close() {
	close(a.done)
	a.reading.Wait()
	_ = unix.Close(a.fd)
}
