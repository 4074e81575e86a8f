package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf/rlimit"

	"cohort/bench/traffic"
	"cohort/testenv/topology"
)

func main() {
	err := error(nil)
	if isDaemon() {
		err = runDaemon(os.Args[1:])
	} else {
		err = run(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	parts   []string
	out     string
	quick   bool
	profile string
	nodes   []int       // of scale; nil = the plan's
	spreads []string    // of scale; nil = the plan's
	tiers   [][]float64 // of tiers; nil = the plan's
	figures []string    // of scale; nil = all
	burst   int         // first packets of scale for each node; 0 = the plan's
	open    int         // connections of scale's throughput; 0 = the plan's
	forward string      // of scale; "" = all ways
	sizes   []int       // connections of capacity and takeover; nil = the plan's
	add     bool
	note    string
}

var parts = []string{"roles", "path", "connect", "memory", "nat-path", "nat-connect", "scale", "tiers", "link", "failover", "capacity", "takeover"}

func parse(args []string) (o options, err error) {
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := set.String("only", strings.Join(parts, ","), "comma-separated `parts` to measure")
	set.StringVar(&o.out, "out", "docs/results/bench", "`file` for the results, with .json and .md; empty = none")
	set.BoolVar(&o.quick, "quick", false, "small and short: shows that it works, and nothing else")
	set.StringVar(&o.profile, "profile", "", "`directory` for CPU profiles of the daemons (connect, nat-connect, scale: those of the cluster)")
	nodes := set.String("nodes", "", "comma-separated `numbers` of nodes for scale and capacity; empty = all")
	sizes := set.String("connections", "", "comma-separated `numbers` of connections for capacity and takeover; empty = all")
	spread := set.String("spread", "", "what the routers of scale spread, `connections or packets`; empty = one after the other")
	tiers := set.String("tiers", "", "capacities of the nodes of tiers, as `1:1:1:0.5,1:1:1:0.25`; empty = the plan's")
	figures := set.String("figures", "", "comma-separated `figures` of scale, of "+strings.Join(scaleFigures, ", ")+"; empty = all")
	set.IntVar(&o.burst, "burst", 0, "`number` of connections that scale opens at once, for each node; 0 = the plan's")
	set.IntVar(&o.open, "open", 0, "`number` of open connections for scale's connections and throughput; 0 = the plan's")
	set.StringVar(&o.forward, "forwarding", "", "`way` that clusters of scale forward, "+forwardOwner+" or "+forwardDelegate+"; empty = one after the other")
	set.BoolVar(&o.add, "add", false, "keep what the file of results has of other parts, numbers of nodes and figures")
	set.StringVar(&o.note, "note", "", "`sentences` for the results, on what else one must know")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if o.nodes, err = numbersOf(*nodes, maxNodes); err != nil {
		return o, err
	}
	if o.sizes, err = numbersOf(*sizes, traffic.MaxFlows); err != nil {
		return o, err
	}
	if o.tiers, err = tiersOf(*tiers); err != nil {
		return o, err
	}
	if *figures != "" {
		o.figures = strings.Split(*figures, ",")
	}
	for _, f := range o.figures {
		if !slices.Contains(scaleFigures, f) {
			return o, fmt.Errorf("no figure %q; scale has %s", f, strings.Join(scaleFigures, ", "))
		}
	}
	if o.open < 0 || o.open > traffic.MaxSpread {
		return o, fmt.Errorf("%d open connections; scale has 1 to %d", o.open, traffic.MaxSpread)
	}
	if o.burst < 0 || o.burst > maxBurst {
		return o, fmt.Errorf("%d connections at once; the rings hold 1 to %d", o.burst, maxBurst)
	}
	if *spread != "" {
		o.spreads = []string{*spread}
		if !slices.Contains(spreads, *spread) {
			return o, fmt.Errorf("routers that spread %q; they spread %s", *spread, strings.Join(spreads, " or "))
		}
	}
	if _, ok := forwardings()[o.forward]; !ok && o.forward != "" {
		return o, fmt.Errorf("forwarding %q; there are %s", o.forward, strings.Join(sorted(forwardings()), ", "))
	}
	o.parts = strings.Split(*only, ",")
	for _, p := range o.parts {
		if !slices.Contains(parts, p) {
			return o, fmt.Errorf("no part %q; there are %s", p, strings.Join(parts, ", "))
		}
	}
	if o.profile != "" {
		if o.profile, err = filepath.Abs(o.profile); err == nil {
			err = os.MkdirAll(o.profile, 0o755)
		}
	}
	return o, err
}

var errNotRoot = errors.New("needs root: makes network namespaces and loads BPF programs")

func run(args []string) error {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	_ = rlimit.RemoveMemlock() // kernels since 5.11 charge the cgroup instead
	if err := topology.Sweep(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := planFor(o.quick)
	if o.nodes != nil {
		p.scale.nodes, p.capacity.nodes = o.nodes, o.nodes
	}
	if o.sizes != nil {
		p.capacity.sizes, p.takeover.sizes = o.sizes, o.sizes
	}
	if o.spreads != nil {
		p.scale.spreads = o.spreads
	}
	p.scale.forward, p.scale.profile = o.forward, o.profile
	if o.figures != nil {
		p.scale.figures = o.figures
	}
	if o.burst != 0 {
		p.scale.burst = o.burst
	}
	if o.open != 0 {
		p.scale.flows = o.open
	}
	if o.tiers != nil {
		p.tiers.tiers = o.tiers
	}
	r, failed := measure(ctx, o, p)
	if r == nil {
		return failed
	}
	if err := r.store(o); err != nil {
		return err
	}
	return errors.Join(r.print(os.Stdout), failed)
}

// measure runs the wanted parts one after the other. A part that fails does not
// keep the others from their results: the error comes with what there is.
func measure(ctx context.Context, o options, p plan) (*Report, error) {
	start := time.Now()
	r := &Report{Environment: environment()}
	var failed []error
	p.connect.profile, p.natConn.profile = o.profile, o.profile
	for _, part := range o.parts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", part)
		if err := r.part(ctx, part, p); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", part, err))
			fmt.Fprintln(os.Stderr, "bench:", failed[len(failed)-1])
		}
	}
	r.Seconds = time.Since(start).Round(time.Second).Seconds()
	r.Environment.LoadAfter = load()
	return r, errors.Join(failed...)
}

func (r *Report) part(ctx context.Context, name string, p plan) (err error) {
	switch name {
	case "roles":
		r.Roles, err = measureRoles(ctx, p.roles)
	case "path":
		r.Path, err = measurePath(ctx, p.path)
	case "connect":
		err = r.connect(ctx, p)
	case "memory":
		r.Entries, err = entryBytes(p.entries)
	case "nat-path":
		err = r.natPath(ctx, p)
	case "nat-connect":
		err = r.natConnect(ctx, p)
	case "scale":
		r.Scale, err = measureScale(ctx, p.scale)
	case "tiers":
		r.Tiers, err = measureTiers(ctx, p.tiers)
	case "link":
		r.Link, err = measureLink(ctx, p.link)
	case "capacity":
		r.Capacity, err = measureCapacity(ctx, p.capacity)
	case "takeover":
		r.Takeover, err = measureTakeover(ctx, p.takeover)
	case "failover":
		r.Failover, err = measureFailover(ctx, p.failover)
	}
	return err
}

func (r *Report) natPath(ctx context.Context, p plan) error {
	for _, cfg := range p.natPath {
		res, err := measureNATPath(ctx, cfg)
		if err != nil {
			return fmt.Errorf("%d connections: %w", cfg.flows, err)
		}
		r.NATPath = append(r.NATPath, *res)
	}
	return nil
}

// natConnect measures one node, one node whose every client is new to it, and
// the first of two, which has the second keep copies of all it owns.
func (r *Report) natConnect(ctx context.Context, p plan) error {
	for _, c := range []struct{ nodes, hosts int }{{1, p.connect.hosts}, {1, 0}, {2, p.connect.hosts}} {
		cfg := p.natConn
		cfg.nodes, cfg.hosts = c.nodes, c.hosts
		res, err := measureNATConnect(ctx, cfg)
		if err != nil {
			return fmt.Errorf("%d nodes, %d hosts: %w", c.nodes, c.hosts, err)
		}
		r.NATConnect = append(r.NATConnect, *res)
	}
	return nil
}

// connect measures one node, one node whose every client is new to it, and two
// nodes, which go on to the memory of the roles. One node gets more than it
// takes: what its rings cannot hold costs it nothing. Two nodes get what they
// can take, so that few replies ask for a connection that was never opened.
func (r *Report) connect(ctx context.Context, p plan) error {
	all := p.connect.connections
	for _, c := range []struct{ nodes, hosts, connections, rate int }{
		{1, p.connect.hosts, all / 4, 400_000}, {1, 0, all / 8, 400_000}, {2, p.connect.hosts, all, 80_000},
	} {
		cfg := p.connect
		cfg.hosts, cfg.connections, cfg.rate = c.hosts, c.connections, c.rate
		if c.nodes == 1 {
			cfg.time /= 3
		}
		res, rss, err := measureConnect(ctx, c.nodes, cfg)
		if err != nil {
			return err
		}
		r.Connect = append(r.Connect, *res)
		r.RSS = append(r.RSS, rss...)
	}
	return nil
}
