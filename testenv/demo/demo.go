package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"cohort/testenv/netns"
	"cohort/testenv/topology"
	"cohort/testenv/track"
	"cohort/testenv/traffic"
)

// Config of a demo. Zero values take the defaults named here.
type Config struct {
	Nodes  int           // 4
	Hold   time.Duration // health.hold_time; 1 s
	Idle   int           // mostly idle TCP connections; 2000
	Bytes  int64         // of the download; 200 MB
	Daemon string        // path of cohortd; bin/cohortd of the module
	Out    io.Writer     // where the lines go
}

func (c *Config) defaults() {
	if c.Nodes == 0 {
		c.Nodes = 4
	}
	if c.Hold == 0 {
		c.Hold = time.Second
	}
	if c.Idle == 0 {
		c.Idle = 2000
	}
	if c.Bytes == 0 {
		c.Bytes = 200e6
	}
}

// downloadRate paces the download, bytes a second, so that the power cut falls
// into the middle of it.
const downloadRate = 25e6

// translation lets everything leave from one public address, whichever node it
// meets.
const translation = "{pools: {egress: {addresses: 203.0.113.10}}, rules: [{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}]}"

// Ports of the servers.
const (
	httpPort = 8080
	echoPort = 7
	sshPort  = 2222
)

// show is a demo that runs.
type show struct {
	cfg    Config
	begun  time.Time
	topo   *topology.Topology
	client *netns.Namespace
	server *netns.Namespace
	addr   netip.Addr
}

// Run plays the demo. It returns an error when any step does not hold.
func Run(ctx context.Context, cfg Config) (err error) {
	cfg.defaults()
	s := &show{cfg: cfg, begun: time.Now()}
	dir, err := os.MkdirTemp("", "cohort-demo-")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = os.RemoveAll(dir)
		} else {
			fmt.Fprintf(cfg.Out, "the daemons' logs are in %s\n", dir)
		}
	}()
	s.topo, err = topology.New(ctx, topology.Config{
		Nodes: cfg.Nodes, HoldTime: cfg.Hold, Daemon: cfg.Daemon, Dir: filepath.Join(dir, "lab"), NAT: translation,
		Track: track.Config{Interval: 100 * time.Millisecond, Losses: 3, Answers: 2},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.topo.Close()) }()
	s.client, s.server, s.addr = s.topo.Clients[0].Namespace, s.topo.Servers[0].Namespace, s.topo.Servers[0].Addr
	return s.play(ctx, dir)
}

// say prints one step's line.
func (s *show) say(step, format string, args ...any) {
	fmt.Fprintf(s.cfg.Out, "%6.1fs  %-10s %s\n", time.Since(s.begun).Seconds(), step, fmt.Sprintf(format, args...))
}

func (s *show) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(s.addr, port) }

func (s *show) play(ctx context.Context, dir string) error {
	if err := s.form(ctx); err != nil {
		return err
	}
	if err := s.shared(ctx); err != nil {
		return err
	}
	servers, err := s.serve()
	defer servers.close()
	if err != nil {
		return err
	}
	if err := s.reach(ctx); err != nil {
		return err
	}
	sshd, err := traffic.ServeSSH(ctx, s.server, s.at(sshPort), dir)
	if err != nil {
		return err
	}
	defer sshd.Close()
	session, err := sshd.Session(s.client)
	if err != nil {
		return err
	}
	defer session.Close(ctx)
	if err := session.Exchange(ctx); err != nil {
		return err
	}
	s.say("ssh", "an interactive session is open")
	typing := startTyping(ctx, session)
	defer typing.stop()

	began := time.Now()
	pool, err := traffic.OpenPool(ctx, s.client, s.at(echoPort), traffic.PoolConfig{Connections: s.cfg.Idle, Interval: 2 * time.Second})
	if err != nil {
		return err
	}
	defer pool.Close()
	s.say("tcp", "%d connections are open, %.0f a second, mostly idle", s.cfg.Idle, float64(s.cfg.Idle)/time.Since(began).Seconds())
	if err := s.oneOwnerEach(ctx); err != nil {
		return err
	}
	if err := s.onePublicAddress(ctx); err != nil {
		return err
	}
	victim, err := s.powerCut(ctx)
	if err != nil {
		return err
	}
	if err := s.survivors(typing, pool); err != nil {
		return err
	}
	return s.comeBack(ctx, victim)
}

// form waits for the cluster.
func (s *show) form(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := s.topo.WaitFormed(ctx, s.cfg.Nodes); err != nil {
		return err
	}
	control, err := s.topo.ControlNode(ctx)
	if err != nil {
		return err
	}
	s.say("cluster", "%d nodes are one firewall; control node %s, hold time %v", s.cfg.Nodes, control.Name, s.cfg.Hold)
	// The routers take a node in once it answers: nothing answers without a
	// lease (HL5).
	if err := s.topo.WaitRouted(ctx); err != nil {
		return err
	}
	s.say("routers", "both routers spread over %d next hops (ECMP, layer 4 hash)", s.cfg.Nodes)
	return nil
}

// closers end in the opposite order of their making.
type closers []io.Closer

func (c closers) close() {
	for i := len(c) - 1; i >= 0; i-- {
		c[i].Close()
	}
}

func (s *show) serve() (c closers, err error) {
	web, err := traffic.ServeHTTP(s.server, s.at(httpPort), downloadRate)
	if err != nil {
		return c, err
	}
	c = append(c, web)
	echo, err := traffic.ServeEcho(s.server, s.at(echoPort))
	if err != nil {
		return c, err
	}
	c = append(c, echo)
	udp, err := traffic.ServeUDPEcho(s.server, s.at(echoPort))
	if err != nil {
		return c, err
	}
	return append(c, udp), nil
}

// reach sends the simple things through: ping, UDP, curl.
func (s *show) reach(ctx context.Context) error {
	const pings = 20
	got, err := traffic.PingProgram(ctx, s.client, s.addr, pings, 50*time.Millisecond)
	if err != nil {
		return err
	}
	if got != pings {
		return fmt.Errorf("ping: %d of %d answered", got, pings)
	}
	s.say("ping", "%d of %d answered", got, pings)
	udp := traffic.UDP(ctx, s.client, s.at(echoPort), traffic.DatagramLoad{Exchanges: 500})
	if err := udp.Err(); err != nil {
		return fmt.Errorf("udp: %w", err)
	}
	s.say("udp", "%d exchanges, each a flow of its own; median %v, longest %v",
		udp.Done, udp.Quantile(0.5).Round(time.Microsecond), udp.Longest().Round(time.Microsecond))
	if err := traffic.Curl(ctx, s.client, s.at(httpPort), 1e6); err != nil {
		return err
	}
	s.say("curl", "1 MB fetched, content verified")
	return nil
}
