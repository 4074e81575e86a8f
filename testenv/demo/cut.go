package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// owners lists, for every connection that matches, the nodes that own it.
func (s *show) owners(ctx context.Context, f api.ConnFilter) (map[string][]*topology.Node, error) {
	f.Role = api.Owner
	all := map[string][]*topology.Node{}
	for _, n := range s.topo.Nodes {
		if !n.On() {
			continue
		}
		_, err := n.API().Conns(ctx, f, 0, func(c *api.Conn) error {
			key := fmt.Sprint(c.Protocol, c.Source, c.Destination)
			all[key] = append(all[key], n)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("node %s: connections: %w", n.Name, err)
		}
	}
	return all, nil
}

// oneOwnerEach checks FR1 on the live cluster and says how the work is spread.
func (s *show) oneOwnerEach(ctx context.Context) error {
	all, err := s.owners(ctx, api.ConnFilter{Protocol: "tcp", Port: echoPort})
	if err != nil {
		return err
	}
	share := map[string]int{}
	for key, nodes := range all {
		if len(nodes) != 1 {
			return fmt.Errorf("connection %s has %d owners", key, len(nodes))
		}
		share[nodes[0].Name]++
	}
	var parts []string
	for _, n := range s.topo.Nodes {
		parts = append(parts, fmt.Sprintf("%s %d", n.Name, share[n.Name]))
	}
	if len(all) < s.cfg.Idle {
		return fmt.Errorf("%d connections have an owner, want %d", len(all), s.cfg.Idle)
	}
	s.say("owners", "exactly one for each connection: %s", strings.Join(parts, ", "))

	w, err := s.ways(ctx)
	if err != nil {
		return err
	}
	if w.crossed == 0 {
		return errors.New("no packet met a node that does not own it: the paths are not asymmetric")
	}
	s.say("forwarded", "%d of %d packets met a node that does not own them (%.0f %%), and crossed the control link", w.crossed, w.all(), 100*float64(w.crossed)/float64(w.all()))
	return nil
}

// ways counts the packets that came in on data interfaces of all nodes and that XDP sent on;
// first packets are Go's.
type ways struct {
	owner     uint64 // at their owner
	delegated uint64 // elsewhere, and forwarded there by leave of their owner
	crossed   uint64 // elsewhere, and sent to their owner over the control link
}

func (w ways) all() uint64 { return w.owner + w.delegated + w.crossed }

func (s *show) ways(ctx context.Context) (w ways, err error) {
	for _, n := range s.topo.Nodes {
		list, err := n.API().Counters(ctx)
		if err != nil {
			return w, fmt.Errorf("node %s: counters: %w", n.Name, err)
		}
		for _, c := range list {
			switch c.Name {
			case "forward_ccl", "forward_steered":
				w.crossed += c.Value
			case "forward_delegated":
				w.delegated += c.Value
			case "forward_owner":
				w.owner += c.Value
			}
		}
	}
	return w, nil
}

// powerCut takes the owner of a download away in the middle of it.
func (s *show) powerCut(ctx context.Context) (*topology.Node, error) {
	before, err := s.ways(ctx)
	if err != nil {
		return nil, err
	}
	d := new(traffic.Download)
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, s.client, s.at(httpPort), s.cfg.Bytes, 30*time.Second) }()
	if err := waitUntil(ctx, 30*time.Second, func() bool { return d.Received() > s.cfg.Bytes/4 }); err != nil {
		return nil, fmt.Errorf("download: a quarter has not come: %w", errors.Join(err, poll(done)))
	}
	victim, was, err := s.download(ctx, "")
	if err != nil {
		return nil, err
	}
	w, err := s.ways(ctx)
	if err != nil {
		return nil, err
	}
	w = ways{w.owner - before.owner, w.delegated - before.delegated, w.crossed - before.crossed}
	s.say("delegated", "of %d packets of its first %d MB and of the idle connections, nodes that own neither forwarded %d by leave of the owner; %d crossed to it before they were lent",
		w.all(), d.Received()/1e6, w.delegated, w.crossed)
	peers, err := s.seen(ctx, httpPort)
	if err != nil {
		return nil, err
	}
	had := d.Received()
	outage, err := victim.PowerOff()
	if err != nil {
		return nil, err
	}
	s.say("power off", "%s, the owner of the download, after %d of %d MB: all links and processes gone within %v",
		victim.Name, had/1e6, s.cfg.Bytes/1e6, outage.End.Sub(outage.Begin).Round(time.Millisecond))
	if err := <-done; err != nil {
		return nil, err
	}
	heir, after, err := s.download(ctx, victim.Name)
	if err != nil {
		return nil, err
	}
	if err := sameMapping(peers, was, after); err != nil {
		return nil, err
	}
	s.say("download", "%d MB complete, sha256 equal; longest stall %v; now owned by %s",
		d.Received()/1e6, d.Stall().Round(time.Millisecond), heir.Name)
	s.say("nat", "its mapped address and port stayed %v", after.MappedSource)
	return victim, nil
}

// download finds the connection to the web server that has carried most, and
// the node other than the named one that owns it.
func (s *show) download(ctx context.Context, not string) (owner *topology.Node, conn *api.Conn, err error) {
	var bytes uint64
	f := api.ConnFilter{Protocol: "tcp", Port: httpPort, Role: api.Owner, Address: netip.PrefixFrom(s.addr, 32)}
	for _, n := range s.topo.Nodes {
		if !n.On() || n.Name == not {
			continue
		}
		_, err := n.API().Conns(ctx, f, 0, func(c *api.Conn) error {
			if sum := c.Bytes[0] + c.Bytes[1]; sum > bytes {
				one := *c
				owner, conn, bytes = n, &one, sum
			}
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("node %s: connections: %w", n.Name, err)
		}
	}
	if owner == nil {
		return nil, nil, errors.New("nobody owns the download")
	}
	return owner, conn, nil
}

// survivors looks at everything that was open when the power went.
func (s *show) survivors(typing *typing, pool *traffic.Pool) error {
	lines, err := typing.stop()
	if err != nil {
		return err
	}
	s.say("ssh", "the session lives, %d lines echoed; longest stall %v", lines, typing.session.Stall().Round(time.Millisecond))
	r := pool.Close()
	if err := r.Err(); err != nil {
		return fmt.Errorf("idle connections: %w", err)
	}
	s.say("tcp", "%d of %d connections live; longest stall %v, median %v",
		r.Done, r.Wanted, r.Longest().Round(time.Millisecond), r.Quantile(0.5).Round(time.Microsecond))
	return nil
}

// comeBack powers the node on and shows the cluster.
func (s *show) comeBack(ctx context.Context, victim *topology.Node) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	began := time.Now()
	if err := victim.PowerOn(); err != nil {
		return err
	}
	if err := s.topo.WaitFormed(ctx, s.cfg.Nodes); err != nil {
		return err
	}
	s.say("power on", "%s is a member again after %v", victim.Name, time.Since(began).Round(time.Millisecond))
	udp := traffic.UDP(ctx, s.client, s.at(echoPort), traffic.DatagramLoad{Exchanges: 500})
	if err := udp.Err(); err != nil {
		return fmt.Errorf("udp: %w", err)
	}
	s.say("udp", "%d exchanges; longest %v", udp.Done, udp.Longest().Round(time.Microsecond))
	if err := s.command(ctx, "show", "cluster", "info"); err != nil {
		return err
	}
	return s.command(ctx, "show", "nat", "pool")
}

// command runs a command of the first node and shows what it says.
func (s *show) command(ctx context.Context, args ...string) error {
	fmt.Fprintln(s.cfg.Out, "\n$ cohort", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(s.cfg.Daemon), "cohort"), append([]string{"--socket", s.topo.Nodes[0].Socket}, args...)...)
	cmd.Stdout, cmd.Stderr = s.cfg.Out, s.cfg.Out
	return cmd.Run()
}

// waitUntil looks at a condition until it holds or time is up.
func waitUntil(ctx context.Context, d time.Duration, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// poll returns what has been sent, if anything has.
func poll(c <-chan error) error {
	select {
	case err := <-c:
		return err
	default:
		return nil
	}
}
