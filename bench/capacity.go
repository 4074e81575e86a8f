package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cohort/api"
	"cohort/bench/traffic"
	"cohort/testenv/topology"
)

// capacityConfig bounds the measurement of a full node.
type capacityConfig struct {
	sizes []int // connections
	nodes []int // for each size: without and with another node that holds the copies
	fill  int   // packets a second while it is being filled
	most  time.Duration
	watch time.Duration // of each phase at least
	churn int           // new connections a second that end soon
}

// CapacityResult is what a node does that holds so many connections.
type CapacityResult struct {
	Nodes       int     `json:"nodes"`
	Connections int     `json:"connections"`
	FillSeconds float64 `json:"fill_seconds"`
	// Memory of the owner and, with two nodes, of who keeps the copies.
	Memory []RSSResult     `json:"memory"`
	Phases []CapacityPhase `json:"phases"`
}

// CapacityPhase is one thing that the node did meanwhile.
type CapacityPhase struct {
	Name    string    `json:"name"`
	Seconds float64   `json:"seconds"`
	First   Latency   `json:"first_packets"` // of new connections, which Go decides
	Later   Latency   `json:"later_packets"` // of the same connections, in the fast path
	Owner   Pauses    `json:"owner"`
	Backup  *Pauses   `json:"backup,omitempty"`
	Work    *Streamed `json:"work,omitempty"`
}

// Streamed is how much the node told.
type Streamed struct {
	Bytes   int64   `json:"bytes"`
	Times   int     `json:"times"`
	Seconds float64 `json:"seconds_each"`
}

func measureCapacity(ctx context.Context, cfg capacityConfig) (all []CapacityResult, err error) {
	for _, size := range cfg.sizes {
		for _, nodes := range cfg.nodes {
			r, err := cfg.one(ctx, nodes, size)
			if err != nil {
				return all, fmt.Errorf("%d nodes, %d connections: %w", nodes, size, err)
			}
			all = append(all, *r)
		}
	}
	return all, nil
}

// one measures the first of so many nodes.
func (cfg *capacityConfig) one(ctx context.Context, nodes, size int) (r *CapacityResult, err error) {
	c, err := newCluster(ctx, clusterConfig{nodes: nodes, flows: size + spare(size), watched: true, udp: "2s"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.discard(probeNet); err != nil {
		return nil, err
	}
	p, err := c.probes(c.Nodes[0])
	if err != nil {
		return nil, err
	}
	f := &full{cfg: cfg, cluster: c, probes: p, result: &CapacityResult{Nodes: nodes, Connections: size}}
	empty, err := c.memory()
	if err != nil {
		return nil, err
	}
	if err := f.phase(ctx, "empty", nil); err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := c.hold(ctx, size, cfg.fill, cfg.most); err != nil {
		return nil, err
	}
	f.result.FillSeconds = time.Since(begin).Seconds()
	if f.result.Memory, err = c.memory(); err != nil {
		return nil, err
	}
	for i := range f.result.Memory {
		m := &f.result.Memory[i]
		m.Role, m.Entries, m.Empty = []string{"owner", "backup"}[i], uint64(size), empty[i].RSS
	}
	return f.result, f.phases(ctx)
}

// spare is the room beside so many connections, for probes and churn.
func spare(size int) int { return size/16 + 1<<17 }

// discard drops in the outer router what goes to a network, so that nobody answers.
func (c *cluster) discard(network netip.Prefix) error {
	r := &netlink.Route{Dst: &net.IPNet{IP: network.Addr().AsSlice(), Mask: net.CIDRMask(network.Bits(), 32)}, Type: unix.RTN_BLACKHOLE}
	if err := c.Namespaces()["rout"].Netlink().RouteAdd(r); err != nil {
		return fmt.Errorf("discard %v: %w", network, err)
	}
	return nil
}

// full is a node that is being measured.
type full struct {
	cfg *capacityConfig
	*cluster
	probes *probes
	result *CapacityResult
}

// phases lets the node age alone, and do what might stop it.
func (f *full) phases(ctx context.Context) error {
	owner := f.Nodes[0]
	ask := owner.API()
	for _, ph := range []struct {
		name string
		do   func(context.Context, *Streamed) error
	}{
		{"ageing alone", nil},
		{"show conn, all, as JSON", func(ctx context.Context, s *Streamed) error { return f.stream(ctx, owner, s) }},
		{"show conn summary", func(ctx context.Context, s *Streamed) error {
			_, err := ask.CountConns(ctx, api.ConnFilter{})
			return err
		}},
		{"status and counters, asked without a pause", func(ctx context.Context, s *Streamed) error {
			_, e1 := ask.Info(ctx)
			_, e2 := ask.Tables(ctx)
			_, e3 := ask.Counters(ctx)
			_, e4 := ask.Exposure(ctx)
			return errors.Join(e1, e2, e3, e4)
		}},
		{"churn", f.churn},
	} {
		if err := f.phase(ctx, ph.name, ph.do); err != nil {
			return fmt.Errorf("%s: %w", ph.name, err)
		}
	}
	return nil
}

// phase does one thing again and again.
func (f *full) phase(ctx context.Context, name string, do func(context.Context, *Streamed) error) error {
	owner, ph, work := f.Nodes[0], CapacityPhase{Name: name}, Streamed{}
	for _, n := range f.Nodes { // what was before does not count
		if _, err := pausesOf(ctx, n); err != nil {
			return err
		}
	}
	begin := time.Now()
	var err error
	ph.First, ph.Later, err = f.probes.during(ctx, f.cfg.watch, func(ctx context.Context) error {
		for end := begin.Add(f.cfg.watch); do != nil && (work.Times == 0 || time.Now().Before(end)); work.Times++ {
			if err := do(ctx, &work); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	ph.Seconds = time.Since(begin).Seconds()
	if do != nil {
		work.Seconds = ph.Seconds / float64(work.Times)
		ph.Work = &work
	}
	if ph.Owner, err = pausesOf(ctx, owner); err != nil {
		return err
	}
	if len(f.Nodes) > 1 {
		p, err := pausesOf(ctx, f.Nodes[1])
		if err != nil {
			return err
		}
		ph.Backup = &p
	}
	f.result.Phases = append(f.result.Phases, ph)
	return nil
}

// stream reads all connections of a node and throws them away: who reads them must
// not be what takes the time.
func (f *full) stream(ctx context.Context, n *topology.Node, s *Streamed) error {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", n.Socket)
	}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/v1/conns", nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.Copy(io.Discard, res.Body)
	s.Bytes += got
	if least := int64(f.result.Connections) * 100; err == nil && got < least {
		err = fmt.Errorf("%d bytes of %d connections: less than %d cannot be all", got, f.result.Connections, least)
	}
	return err
}

// churn opens connections of a packet each, which age away after a few seconds.
func (f *full) churn(ctx context.Context, _ *Streamed) error {
	shape := traffic.Shape{Flows: traffic.MaxFlows, AllUDP: true, Rate: f.cfg.churn, Sequential: true}
	_, err := f.flood(ctx, "rin", f.Nodes[0], shape, f.cfg.watch, func() (bool, error) { return false, nil })
	return err
}
