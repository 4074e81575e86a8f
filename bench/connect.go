package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"cohort/bench/traffic"
	"cohort/testenv/topology"
)

// connectConfig bounds the measurement of new connections.
type connectConfig struct {
	connections int           // wanted
	hosts       int           // that open them; 0 = each connection its own
	rate        int           // packets a second
	time        time.Duration // at most, of each phase
	profile     string
}

// ConnectResult is what new connections cost the daemons. The time is that of
// all threads, system calls and what the kernel does inside them included.
type ConnectResult struct {
	Nodes        int     `json:"nodes"`
	Hosts        int     `json:"hosts"` // that open them; 0 = each connection its own
	Connections  uint64  `json:"connections"`
	PerCPUSecond float64 `json:"connections_per_cpu_second"` // of the owner's daemon
	OwnerMicros  float64 `json:"owner_us_per_connection"`
	BackupMicros float64 `json:"backup_us_per_connection,omitempty"` // at the other node
	Seconds      float64 `json:"seconds"`                            // of the clock
	Rate         int     `json:"offered_per_second"`

	offered int // packets sent
}

// RSSResult is the memory of a daemon that holds so many entries, in bytes. The
// flow table is mapped from the kernel and counts as resident where it was
// touched; heap is the rest.
type RSSResult struct {
	Role    string `json:"role"`
	Entries uint64 `json:"entries"`
	RSS     uint64 `json:"rss"`
	Heap    uint64 `json:"rss_anonymous"`
	Mapped  uint64 `json:"rss_mapped"`
	// Empty is RSS before the first entry.
	Empty uint64 `json:"rss_empty"`
}

// measureConnect opens connections through one node of a cluster. With two
// nodes it goes on to make the second one a forwarder of all replies, and tells
// what memory the roles take.
func measureConnect(ctx context.Context, nodes int, cfg connectConfig) (*ConnectResult, []RSSResult, error) {
	// The generator may offer more than the node takes.
	c, err := newCluster(ctx, clusterConfig{nodes: nodes, flows: cfg.connections + cfg.connections/8 + 65536, profile: cfg.profile})
	if err != nil {
		return nil, nil, err
	}
	defer c.close()
	if err := c.apart(); err != nil {
		return nil, nil, err
	}
	empty, err := c.memory()
	if err != nil {
		return nil, nil, err
	}
	res, err := c.open(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	var rss []RSSResult
	if nodes > 1 {
		if rss, err = c.fill(ctx, cfg, res, empty); err != nil {
			return nil, nil, err
		}
	}
	return res, rss, c.saveProfiles(ctx, cfg)
}

// saveProfiles ends the daemons in order when they are to write profiles.
func (c *cluster) saveProfiles(ctx context.Context, cfg connectConfig) error {
	if cfg.profile == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, n := range c.Nodes {
		if err := n.TermDaemon(ctx); err != nil {
			return err
		}
	}
	return nil
}

// apart puts the daemons on another CPU than the generator, which spins.
func (c *cluster) apart() error {
	for _, n := range c.Nodes {
		p, err := n.Daemon()
		if err != nil {
			return err
		}
		if err := pinProcess(p.PID(), lastCPU()); err != nil {
			return err
		}
	}
	return nil
}

// flood sends until done says so or the time is over, and returns how many
// packets it sent.
func (c *cluster) flood(ctx context.Context, router string, n *topology.Node, shape traffic.Shape, most time.Duration, done func() (bool, error)) (int, error) {
	burst := max(shape.Rate/10, 64)
	source, ns, err := c.source(router, n, shape)
	if err != nil {
		return 0, err
	}
	if err := ns.Do(func() error { return pinThread(0) }); err != nil {
		return 0, err
	}
	sent := 0
	for end := time.Now().Add(most); time.Now().Before(end) && ctx.Err() == nil; {
		if err := ns.Do(func() error { return source.Send(burst) }); err != nil {
			return sent, err
		}
		sent += traffic.Batches(burst)
		if ok, err := done(); ok || err != nil {
			return sent, err
		}
	}
	return sent, ctx.Err()
}

// times is the CPU time of each daemon.
func (c *cluster) times() (all []time.Duration, err error) {
	for _, n := range c.Nodes {
		p, err := n.Daemon()
		if err != nil {
			return nil, err
		}
		t, err := processTime(p.PID())
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// open makes the first node the owner of new connections that nobody answers.
func (c *cluster) open(ctx context.Context, cfg connectConfig) (*ConnectResult, error) {
	owner := c.Nodes[0]
	before, err := counter(ctx, owner, "connections_created")
	if err != nil {
		return nil, err
	}
	cpu, err := c.times()
	if err != nil {
		return nil, err
	}
	start, created := time.Now(), uint64(0)
	shape := traffic.Shape{Flows: traffic.MaxFlows, Hosts: cfg.hosts, Rate: cfg.rate, Sequential: true, Flags: traffic.SYN}
	res := &ConnectResult{Nodes: len(c.Nodes), Hosts: cfg.hosts, Rate: cfg.rate}
	res.offered, err = c.flood(ctx, "rin", owner, shape, cfg.time, func() (bool, error) {
		now, err := counter(ctx, owner, "connections_created")
		created = now - before
		return created >= uint64(cfg.connections), err
	})
	if err != nil {
		return nil, err
	}
	if created == 0 {
		return nil, fmt.Errorf("%s opened no connection", owner.Name)
	}
	after, err := c.times()
	if err != nil {
		return nil, err
	}
	spent := after[0] - cpu[0]
	res.Connections, res.Seconds = created, time.Since(start).Seconds()
	res.PerCPUSecond, res.OwnerMicros = float64(created)/spent.Seconds(), micros(spent, created)
	if len(c.Nodes) > 1 {
		res.BackupMicros = micros(after[1]-cpu[1], created)
	}
	return res, nil
}

func micros(d time.Duration, n uint64) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(n) }

// fill reads the memory of owner and backup, and then sends replies to the
// second node, which has to ask for each who owns it.
func (c *cluster) fill(ctx context.Context, cfg connectConfig, res *ConnectResult, empty []RSSResult) ([]RSSResult, error) {
	full, err := c.memory()
	if err != nil {
		return nil, err
	}
	owner, backup := full[0], full[1]
	owner.Role, owner.Entries, owner.Empty = "owner", res.Connections, empty[0].RSS
	tables, err := c.Nodes[1].API().Tables(ctx)
	if err != nil {
		return nil, err
	}
	backup.Role, backup.Entries, backup.Empty = "backup", uint64(tables.Copies), empty[1].RSS

	shape := traffic.Shape{Flows: min(res.offered, traffic.MaxFlows), Hosts: cfg.hosts, Rate: cfg.rate, Sequential: true, Reply: true, Flags: traffic.ACK}
	_, err = c.flood(ctx, "rout", c.Nodes[1], shape, cfg.time, func() (bool, error) {
		var err error
		tables, err = c.Nodes[1].API().Tables(ctx)
		return tables.Forwards >= int(res.Connections)*9/10, err
	})
	if err != nil {
		return nil, err
	}
	if full, err = c.memory(); err != nil {
		return nil, err
	}
	forwarder := full[1]
	forwarder.Role, forwarder.Entries, forwarder.Empty = "forwarder", uint64(tables.Forwards), backup.RSS
	return []RSSResult{owner, backup, forwarder}, nil
}

// memory reads what is resident of each daemon.
func (c *cluster) memory() (all []RSSResult, err error) {
	for _, n := range c.Nodes {
		p, err := n.Daemon()
		if err != nil {
			return nil, err
		}
		r, err := residentOf(p.PID())
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// residentOf reads /proc/PID/status.
func residentOf(pid int) (r RSSResult, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return r, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kb, _ := strconv.ParseUint(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			r.RSS = kb << 10
		case "RssAnon:":
			r.Heap = kb << 10
		case "RssFile:", "RssShmem:":
			r.Mapped += kb << 10
		}
	}
	return r, nil
}
