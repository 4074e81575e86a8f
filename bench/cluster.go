package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"cohort/bench/traffic"
	"cohort/testenv/netns"
	"cohort/testenv/topology"
)

// clusterConfig says which daemons to start.
type clusterConfig struct {
	nodes   int
	flows   int    // room in every table
	profile string // directory for CPU profiles, or ""
	more    string // lines of the cluster's configuration, or ""
	talks   bool   // clients and servers will stand where else the sinks are; connections end soon after they closed
	watched bool   // the daemons tell of their pauses; half-open TCP connections live for an hour
	udp     string // how long UDP connections live; with watched
	udpOnly bool   // hold makes UDP connections
	apart   bool   // every node becomes a cluster of its own, with its control link cut; waitApart
}

// yaml is the cluster's configuration.
func (c *clusterConfig) yaml() string {
	return fmt.Sprintf(clusterYAML, c.flows, c.timeouts()) + c.more
}

// env is what makes this program the daemon that is wanted.
func (c *clusterConfig) env() []string {
	env := []string{envDaemon + "=1", envProfile + "=" + c.profile}
	if c.watched {
		env = append(env, envWatch+"=1")
	}
	return env
}

// timeouts are those of the configuration.
func (c *clusterConfig) timeouts() string {
	switch {
	case c.watched:
		return fmt.Sprintf("{tcp_syn: 1h, udp: %[1]s, udp_stream: %[1]s}", c.udp)
	case c.talks:
		return "{tcp_time_wait: 1s, udp: 1s, udp_stream: 1s}"
	}
	return "{tcp_syn: 10m}"
}

// cluster is real daemons in the test network. Everything that the first node
// forwards ends in a sink at the far end of its cables, so that nobody answers
// and nothing but the nodes costs time.
type cluster struct {
	*lab
	*topology.Topology
	inside, outside *traffic.Sink
	others          []*netns.Process // that work for the nodes beside the kernel, without a daemon of ours
	udpOnly         bool             // hold makes UDP connections
	tracked         bool             // the nodes are Linux routers with connection tracking
}

// clusterYAML has long timeouts: a half-open connection must not age away while
// the table is being filled.
const clusterYAML = `interfaces:
  inside:  {device: in0, trust: 100, cluster_address: 10.1.0.254/24, pool: 10.1.0.1-10.1.0.16, pin: {fw-a: 10.1.0.1, fw-b: 10.1.0.2}}
  outside: {device: out0, trust: 0, cluster_address: 198.51.100.254/24, pool: 198.51.100.1-198.51.100.16, pin: {fw-a: 198.51.100.1, fw-b: 198.51.100.2}}
timeouts: %[2]s
health: {hold_time: 3s, election_timeout: 4s}
limits: {connections: %[1]d, forwards: %[1]d}
`

func newCluster(ctx context.Context, cfg clusterConfig) (*cluster, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l, err := newLab()
	if err != nil {
		return nil, err
	}
	c := &cluster{lab: l, udpOnly: cfg.udpOnly}
	mode := topology.Daemons
	if cfg.apart {
		mode = topology.Bare
	}
	c.Topology, err = topology.New(ctx, topology.Config{
		Mode: mode, Nodes: cfg.nodes, Daemon: self, ClusterYAML: cfg.yaml(), Tag: l.tag,
		Env: cfg.env(),
	})
	if err != nil {
		return nil, err
	}
	l.onClose(c.Topology.Close)
	if cfg.apart {
		err = c.startApart()
	} else {
		err = c.form(ctx, !cfg.talks)
	}
	if err != nil {
		_ = l.close()
		return nil, err
	}
	return c, nil
}

func (c *cluster) form(ctx context.Context, sinks bool) (err error) {
	ctx, cancel := context.WithTimeout(ctx, c.startTime())
	defer cancel()
	if err := c.WaitFormed(ctx, len(c.Nodes)); err != nil {
		return fmt.Errorf("%w; log of %s:\n%s", err, c.Nodes[0].Name, c.Nodes[0].LogTail(10))
	}
	if !sinks {
		return nil
	}
	if c.inside, err = c.sinkBehind("rin"); err != nil {
		return err
	}
	c.outside, err = c.sinkBehind("rout")
	return err
}

// startTime is how long the daemons may take to form, many of them on few CPUs.
func (c *cluster) startTime() time.Duration {
	return 30*time.Second + time.Duration(len(c.Nodes))*5*time.Second
}

// startApart starts the daemons when none can hear another.
func (c *cluster) startApart() error {
	for _, n := range c.Nodes {
		for _, d := range []topology.Direction{topology.FromNode, topology.ToNode} {
			if err := n.CutCCL(d); err != nil {
				return err
			}
		}
		if err := n.StartDaemon(); err != nil {
			return err
		}
	}
	return nil
}

// waitApart waits until every node is a cluster of its own.
func (c *cluster) waitApart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.startTime())
	defer cancel()
	for _, n := range c.Nodes {
		for {
			if err := n.WaitReady(ctx); err != nil {
				return err
			}
			i, err := n.API().Info(ctx)
			if err == nil && i.Control == n.Name && len(i.Members) > 0 && i.Members[0].State == i.State && i.State == "in sync" {
				break
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("%s is no cluster of its own: %+v, %v; log:\n%s", n.Name, i, err, n.LogTail(10))
			}
		}
	}
	return nil
}

// sinkBehind puts a sink on a router's cable to the first node.
func (c *cluster) sinkBehind(router string) (*traffic.Sink, error) {
	p, err := c.routerPort(router, c.Nodes[0])
	if err != nil {
		return nil, err
	}
	var s *traffic.Sink
	err = p.ns.Do(func() (err error) {
		s, err = traffic.NewSink(p.index, false, netip.Addr{})
		return err
	})
	if err != nil {
		return nil, err
	}
	c.onClose(s.Close)
	return s, nil
}

// routerPort is the router's end of its cable to a node; mac is the node's.
func (c *cluster) routerPort(router string, n *topology.Node) (port, error) {
	ns, iface := c.Namespaces()[router], topology.InsideIface
	if router == "rout" {
		iface = topology.OutsideIface
	}
	near, err := ns.Netlink().LinkByName(n.Name)
	if err != nil {
		return port{}, fmt.Errorf("%s: cable to %s: %w", router, n.Name, err)
	}
	far, err := n.Namespace().Netlink().LinkByName(iface)
	if err != nil {
		return port{}, fmt.Errorf("%s: %s: %w", n.Name, iface, err)
	}
	p := port{ns: ns, name: n.Name, index: near.Attrs().Index}
	copy(p.mac[:], far.Attrs().HardwareAddr)
	return p, nil
}

// source makes packets of a router's side for a node.
func (c *cluster) source(router string, n *topology.Node, shape traffic.Shape) (*traffic.Source, *netns.Namespace, error) {
	p, err := c.routerPort(router, n)
	if err != nil {
		return nil, nil, err
	}
	shape.DMAC = p.mac
	s, err := traffic.NewSource(shape, p.index)
	if err != nil {
		return nil, nil, err
	}
	c.onClose(s.Close)
	return s, p.ns, nil
}

// counter asks a daemon for one of its counters.
func counter(ctx context.Context, n *topology.Node, name string) (uint64, error) {
	all, err := n.API().Counters(ctx)
	if err != nil {
		return 0, err
	}
	for _, c := range all {
		if c.Name == name {
			return c.Value, nil
		}
	}
	return 0, fmt.Errorf("%s has no counter %s", n.Name, name)
}
