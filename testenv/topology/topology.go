package topology

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"cohort/testenv/netns"
)

// Names of the bridges.
const (
	insideBridge  = "inside"
	outsideBridge = "outside"
	serverBridge  = "servers"
	cclBridge     = "ccl"
	mgmtBridge    = "mgmt"
)

// hostIface is the interface of a client or server.
const hostIface = "eth0"

// Host is a client or a server.
type Host struct {
	Name      string // c1, s1 ...
	Namespace *netns.Namespace
	Addr      netip.Addr
}

// Topology is a running network. Its fields are not changed after New.
type Topology struct {
	Dir      string // configuration, state and logs
	Clients  []*Host
	Servers  []*Host
	Nodes    []*Node // Nodes[i-1] has Index i
	Inside   *Router // rin, towards the clients
	Outside  *Router // rout, towards the servers
	Switch   *netns.Namespace
	cfg      Config
	tag      netns.Tag
	in, out  *netns.Namespace
	spaces   []*netns.Namespace // all but the nodes'
	ownDir   bool
	cancel   context.CancelFunc
	trackers sync.WaitGroup
	closing  sync.Once
}

// New sweeps what dead makers left, builds the network and starts the daemons,
// without waiting for them. The context bounds the life of the trackers; Close
// must be called in any case.
func New(ctx context.Context, cfg Config) (*Topology, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	if err := Sweep(); err != nil {
		return nil, err
	}
	t := &Topology{cfg: cfg, tag: cfg.Tag}
	if err := t.build(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Sweep removes what makers left that are dead: namespaces with their
// processes, pins, directories.
func Sweep() error {
	_, err := netns.Sweep()
	return errors.Join(err, sweepPins(), sweepDisks(), netns.SweepDirs(os.TempDir()))
}

func (t *Topology) build(ctx context.Context) error {
	for _, step := range []func() error{
		t.makeDir, t.makeSwitch, t.makeRouters, t.makeNodes, t.makeRouting, t.makeHosts, t.startDaemons,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	ctx, t.cancel = context.WithCancel(ctx)
	for _, r := range []*Router{t.Inside, t.Outside} {
		t.trackers.Go(func() { r.run(ctx) })
	}
	return nil
}

func (t *Topology) makeDir() (err error) {
	if t.tag == (netns.Tag{}) {
		if t.tag, err = netns.NewTag(); err != nil {
			return err
		}
	}
	if t.cfg.Daemon == "" {
		t.cfg.Daemon = DefaultDaemon()
	}
	t.Dir = t.cfg.Dir
	if t.Dir == "" {
		t.Dir, t.ownDir = filepath.Join(os.TempDir(), t.tag.String()), true
	}
	if err := os.MkdirAll(t.Dir, 0o755); err != nil {
		return fmt.Errorf("topology: %w", err)
	}
	return t.writeShared()
}

// space makes a namespace of the topology.
func (t *Topology) space(role string) (*netns.Namespace, error) {
	n, err := netns.New(t.tag.Name(role))
	if err != nil {
		return nil, err
	}
	t.spaces = append(t.spaces, n)
	return n, sysctls(n, quiet...)
}

func (t *Topology) makeSwitch() (err error) {
	if t.Switch, err = t.space("sw"); err != nil {
		return err
	}
	return errors.Join(
		bridge(t.Switch, cclBridge, t.cfg.cclMTU(), netip.Prefix{}),
		bridge(t.Switch, mgmtBridge, 1500, host(mgmtNet, routerHost)))
}

// makeRouters makes the routers' namespaces and segments; they route when the
// nodes are there.
func (t *Topology) makeRouters() (err error) {
	if t.in, err = t.space("rin"); err != nil {
		return err
	}
	if t.out, err = t.space("rout"); err != nil {
		return err
	}
	return errors.Join(
		bridge(t.in, insideBridge, t.cfg.MTU, host(insideNet, routerHost)),
		bridge(t.out, outsideBridge, t.cfg.MTU, host(outsideNet, routerHost)),
		bridge(t.out, serverBridge, t.cfg.MTU, host(serverNet, routerHost)))
}

func (t *Topology) makeNodes() error {
	for i := 1; i <= t.cfg.Nodes; i++ {
		n := newNode(t, i)
		t.Nodes = append(t.Nodes, n)
		if err := errors.Join(n.writeFiles(), n.build()); err != nil {
			return err
		}
	}
	return nil
}

func (t *Topology) makeRouting() (err error) {
	var inside, outside []netip.Addr
	for _, n := range t.Nodes {
		inside, outside = append(inside, n.Inside), append(outside, n.Outside)
	}
	t.Inside, err = newRouter(t.in, insideBridge, inside, []netip.Prefix{everywhere}, 1, &t.cfg)
	if err != nil {
		return err
	}
	t.Outside, err = newRouter(t.out, outsideBridge, outside, []netip.Prefix{clientNets, publicNet}, 2, &t.cfg)
	return err
}

func (t *Topology) makeHosts() error {
	for i := 1; i <= t.cfg.Clients; i++ {
		name := fmt.Sprintf("c%d", i)
		c, err := t.host(name, t.in, host(clientNet(i), clientHost), host(clientNet(i), routerHost).Addr(), mac(0x10, byte(i)))
		if err != nil {
			return err
		}
		t.Clients = append(t.Clients, c)
		if err := errors.Join(up(t.in, name, host(clientNet(i), routerHost)), t.Inside.facesHosts(name)); err != nil {
			return err
		}
	}
	for i := 1; i <= t.cfg.Servers; i++ {
		name := fmt.Sprintf("s%d", i)
		s, err := t.host(name, t.out, host(serverNet, i), host(serverNet, routerHost).Addr(), mac(0x20, byte(i)))
		if err != nil {
			return err
		}
		t.Servers = append(t.Servers, s)
		if err := port(t.out, name, serverBridge); err != nil {
			return err
		}
	}
	return t.Outside.facesHosts(serverBridge)
}

// host makes a client or server and its cable to a router; the far end has the
// host's name.
func (t *Topology) host(name string, router *netns.Namespace, address netip.Prefix, gateway netip.Addr, hw []byte) (*Host, error) {
	n, err := t.space(name)
	if err != nil {
		return nil, err
	}
	// Load generators need many ports to one destination.
	if err := n.Sysctl("net/ipv4/ip_local_port_range", "1024 65000"); err != nil {
		return nil, err
	}
	if err := cable(socket{n, hostIface, hw}, socket{router, name, nil}, t.cfg.MTU, 1); err != nil {
		return nil, err
	}
	if err := up(n, hostIface, address); err != nil {
		return nil, err
	}
	return &Host{Name: name, Namespace: n, Addr: address.Addr()}, route(n, everywhere, gateway)
}

func (t *Topology) startDaemons() error {
	if t.cfg.Mode != Daemons {
		return nil
	}
	var errs []error
	for _, n := range t.Nodes {
		errs = append(errs, n.StartDaemon())
	}
	return errors.Join(errs...)
}

// Namespaces returns every namespace by role: c1, s1, rin, rout, sw, fw-a ...
func (t *Topology) Namespaces() map[string]*netns.Namespace {
	all := make(map[string]*netns.Namespace)
	for _, n := range t.spaces {
		all[n.Name()[len(t.tag.Name("")):]] = n
	}
	for _, n := range t.Nodes {
		if ns := n.Namespace(); ns != nil {
			all[n.Name] = ns
		}
	}
	return all
}

// Tag returns what all names of the topology start with.
func (t *Topology) Tag() netns.Tag { return t.tag }

// Close kills everything inside and removes it, with the directory if New made
// it. Idempotent. The error may also tell of a router that could not change
// its routes while it ran.
func (t *Topology) Close() error {
	var errs []error
	t.closing.Do(func() {
		if t.cancel != nil {
			t.cancel()
		}
		t.trackers.Wait()
		for _, n := range t.Nodes {
			n.change.Lock()
			n.api.Close()
			errs = append(errs, n.demolish(), n.unpin())
			n.change.Unlock()
		}
		for _, r := range []*Router{t.Inside, t.Outside} {
			if r != nil {
				errs = append(errs, r.close())
			}
		}
		for _, n := range t.spaces {
			errs = append(errs, n.Close())
		}
		if t.ownDir {
			errs = append(errs, os.RemoveAll(t.Dir))
		}
	})
	return errors.Join(errs...)
}
