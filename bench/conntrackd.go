package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"cohort/testenv/topology"
)

// newTracked makes one router with connection tracking, or two that tell each
// other.
func newTracked(ctx context.Context, nodes int) (*cluster, error) {
	l, err := newLab()
	if err != nil {
		return nil, err
	}
	c := &cluster{lab: l, tracked: true}
	c.Topology, err = topology.New(ctx, topology.Config{Nodes: nodes, Mode: topology.Forwarders, Tag: l.tag})
	if err != nil {
		return nil, err
	}
	l.onClose(c.Topology.Close)
	for i, n := range c.Nodes {
		if err == nil {
			err = c.track(n)
		}
		if err == nil && nodes == 2 {
			err = c.replicate(n, c.Nodes[1-i])
		}
	}
	if err != nil {
		_ = l.close()
		return nil, err
	}
	return c, nil
}

// track makes a node a firewall whose entries end as soon as ours do.
func (c *cluster) track(n *topology.Node) error {
	if err := nft(n.Namespace(), ruleset); err != nil {
		return err
	}
	for _, name := range []string{topology.InsideIface, topology.OutsideIface, topology.CCLIface} {
		if err := ethtool(n.Namespace(), name, unix.ETHTOOL_SGRO, 1); err != nil { // takes redirected frames then
			return fmt.Errorf("%s: %s: %w", n.Name, name, err)
		}
	}
	for _, name := range []string{"tcp_timeout_time_wait", "tcp_timeout_last_ack", "tcp_timeout_close", "udp_timeout", "udp_timeout_stream"} {
		if err := n.Namespace().Sysctl("net/netfilter/nf_conntrack_"+name, "1"); err != nil {
			return err
		}
	}
	// What lost a packet ends too; its sample does not count.
	for _, name := range []string{"syn_sent", "syn_recv", "established", "fin_wait", "close_wait"} {
		if err := n.Namespace().Sysctl("net/netfilter/nf_conntrack_tcp_timeout_"+name, "5"); err != nil {
			return err
		}
	}
	return nil
}

// replicate starts conntrackd.
func (c *cluster) replicate(n, other *topology.Node) error {
	file := filepath.Join(n.Dir, "conntrackd.conf")
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, conntrackdConf, n.CCL, other.CCL, n.Dir), 0o600); err != nil {
		return err
	}
	out, err := os.Create(filepath.Join(n.Dir, "conntrackd.out"))
	if err != nil {
		return err
	}
	defer out.Close() // the process has its own
	cmd := exec.Command("conntrackd", "-C", file)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, n.Dir
	p, err := n.Namespace().Start(cmd)
	if err != nil {
		return fmt.Errorf("conntrackd: %w", err)
	}
	c.others = append(c.others, p)
	return nil
}

// forgotten waits until the first node's kernel tracks nothing; reading the
// table removes what has ended.
func (c *cluster) forgotten(ctx context.Context) error {
	for end := time.Now().Add(30 * time.Second); ; {
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		left := -1
		err := c.Nodes[0].Namespace().Do(func() (err error) {
			if _, err = os.ReadFile("/proc/thread-self/net/nf_conntrack"); err != nil {
				return err
			}
			left, err = readNumber("/proc/sys/net/netfilter/nf_conntrack_count")
			return err
		})
		if err != nil {
			return err
		}
		if left < 16 { // pings of the routers, and the like
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: %d connections are tracked that have ended", c.Nodes[0].Name, left)
		}
	}
}
