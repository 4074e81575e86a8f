package topology

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cohort/testenv/netns"
	"cohort/testenv/spray"
	"cohort/testenv/track"
)

// Routing tables of a router. Connected networks are in the main table and come
// first; then, with spraying, the table of the packet's mark; then ECMP.
const (
	ecmpTable     = 100
	sprayTable    = 1000  // + mark
	sprayPriority = 32800 // + mark; the main table is looked up at 32766
	ecmpPriority  = 33000
)

// Router is one of the two Linux routers around the cluster. It spreads what it
// sends towards the nodes, and knows of them only what its own pings say.
type Router struct {
	// Namespace holds the router. Its bridge to the nodes is Segment, with one
	// port per node that bears the node's name.
	Namespace *netns.Namespace
	Segment   string

	hops    []netip.Addr   // next hop i-1 is node i
	routes  []netip.Prefix // what lies behind the nodes
	rotate  int            // where the list of hops starts in a multipath route
	sprayer *spray.Sprayer // nil without spraying
	tracker *track.Tracker

	mu    sync.Mutex // guards live and the kernel routes that follow from it
	live  []bool
	fault error // the first failure to change routes
}

// newRouter turns a namespace with its bridges into a router.
func newRouter(n *netns.Namespace, segment string, hops []netip.Addr, routes []netip.Prefix, seed int, cfg *Config) (*Router, error) {
	r := &Router{Namespace: n, Segment: segment, hops: hops, routes: routes, rotate: seed}
	for range hops {
		r.live = append(r.live, true)
	}
	if err := r.prepare(seed); err != nil {
		return nil, err
	}
	if cfg.Spray {
		if err := r.prepareSpray(); err != nil {
			return nil, err
		}
	}
	tracker, err := track.New(n, cfg.Track, hops, r.hopChanged)
	if err != nil {
		return nil, err
	}
	r.tracker = tracker
	if err := r.apply(); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// prepare sets the hash of the multipath routes and the rule that finds them.
func (r *Router) prepare(seed int) error {
	err := sysctls(r.Namespace,
		[2]string{"net/ipv4/ip_forward", "1"},
		[2]string{"net/ipv4/conf/all/send_redirects", "0"},
		[2]string{"net/ipv4/conf/default/send_redirects", "0"},
		[2]string{"net/ipv4/fib_multipath_hash_policy", "3"},
		[2]string{"net/ipv4/fib_multipath_hash_fields", "0x37"})
	if err != nil {
		return err
	}
	// Before 6.11 there is no seed, and both directions hash alike; then the
	// rotated list of hops keeps them apart.
	err = r.Namespace.Sysctl("net/ipv4/fib_multipath_hash_seed", fmt.Sprint(0x9e3779b1*uint32(seed)))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return r.rule(ecmpPriority, 0, ecmpTable)
}

func (r *Router) rule(priority int, mark uint32, table int) error {
	rule := netlink.NewRule()
	rule.Family, rule.Priority, rule.Table, rule.Mark = unix.AF_INET, priority, table, mark
	if err := r.Namespace.Netlink().RuleAdd(rule); err != nil {
		return fmt.Errorf("router %s: rule for table %d: %w", r.Namespace.Name(), table, err)
	}
	return nil
}

// prepareSpray makes one table with a single next hop per node.
func (r *Router) prepareSpray() (err error) {
	if r.sprayer, err = spray.New(); err != nil {
		return err
	}
	for i, hop := range r.hops {
		mark := uint32(i + 1)
		if err := r.rule(sprayPriority+i, mark, sprayTable+int(mark)); err != nil {
			return err
		}
		for _, to := range r.routes {
			one := &netlink.Route{Dst: ipNet(to), Gw: hop.AsSlice(), Table: sprayTable + int(mark)}
			if err := r.Namespace.Netlink().RouteAdd(one); err != nil {
				return fmt.Errorf("router %s: route %v via %v: %w", r.Namespace.Name(), to, hop, err)
			}
		}
	}
	return nil
}

// facesHosts tells the router of an interface towards clients or servers,
// whose packets are the ones to spray.
func (r *Router) facesHosts(iface string) error {
	if r.sprayer == nil {
		return nil
	}
	l, err := r.Namespace.Netlink().LinkByName(iface)
	if err != nil {
		return fmt.Errorf("router %s: %s: %w", r.Namespace.Name(), iface, err)
	}
	return r.sprayer.Attach(r.Namespace.Netlink(), l.Attrs().Index)
}

// hopChanged is the tracker's OnChange.
func (r *Router) hopChanged(e track.Event) {
	r.mu.Lock()
	r.live[e.Hop] = e.Alive
	r.mu.Unlock()
	if err := r.apply(); err != nil {
		r.mu.Lock()
		if r.fault == nil {
			r.fault = err
		}
		r.mu.Unlock()
	}
}

// apply makes routes and spraying follow the live hops.
func (r *Router) apply() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	if r.sprayer != nil {
		var marks []uint32
		for i, alive := range r.live {
			if alive {
				marks = append(marks, uint32(i+1))
			}
		}
		errs = append(errs, r.sprayer.Set(marks))
	}
	for _, to := range r.routes {
		errs = append(errs, r.multipath(to))
	}
	return errors.Join(errs...)
}

// multipath replaces the ECMP route to one network; mu is held.
func (r *Router) multipath(to netip.Prefix) error {
	var hops []*netlink.NexthopInfo
	for k := range r.hops {
		i := (k + r.rotate) % len(r.hops)
		if r.live[i] {
			hops = append(hops, &netlink.NexthopInfo{Gw: r.hops[i].AsSlice()})
		}
	}
	many := &netlink.Route{Dst: ipNet(to), Table: ecmpTable, MultiPath: hops}
	if len(hops) == 0 {
		many.Type = unix.RTN_UNREACHABLE
	}
	if err := r.Namespace.Netlink().RouteReplace(many); err != nil {
		return fmt.Errorf("router %s: route %v: %w", r.Namespace.Name(), to, err)
	}
	return nil
}

// run tracks the next hops until the context ends.
func (r *Router) run(ctx context.Context) error { return r.tracker.Run(ctx) }

// Tracker returns what the router found out about its next hops; hop i-1 is
// node i.
func (r *Router) Tracker() *track.Tracker { return r.tracker }

// Live returns the nodes (1 to n) the router uses at this moment.
func (r *Router) Live() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var nodes []int
	for i, alive := range r.live {
		if alive {
			nodes = append(nodes, i+1)
		}
	}
	return nodes
}

// Sent returns how many packets the router's port to each node has sent so
// far, index i-1 for node i: data, and a few pings and ARP. A port that was
// made anew by PowerOn starts at zero.
func (r *Router) Sent() ([]uint64, error) {
	links, err := r.Namespace.Netlink().LinkList()
	if err != nil {
		return nil, fmt.Errorf("router %s: %w", r.Namespace.Name(), err)
	}
	sent := make([]uint64, len(r.hops))
	for _, l := range links {
		for i := range sent {
			if l.Attrs().Name == nodeName(i+1) && l.Attrs().Statistics != nil {
				sent[i] = l.Attrs().Statistics.TxPackets
			}
		}
	}
	return sent, nil
}

// Sprayed returns how many packets were sprayed to each node, index i-1 for
// node i; zeros without spraying.
func (r *Router) Sprayed() ([]uint64, error) {
	sent := make([]uint64, len(r.hops))
	for i := range sent {
		if r.sprayer == nil {
			break
		}
		n, err := r.sprayer.Sent(uint32(i + 1))
		if err != nil {
			return nil, err
		}
		sent[i] = n
	}
	return sent, nil
}

// close releases what the namespace does not; it returns the first failure to
// change routes, which no test may overlook.
func (r *Router) close() error {
	errs := []error{r.tracker.Close()}
	if r.sprayer != nil {
		errs = append(errs, r.sprayer.Close())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(append(errs, r.fault)...)
}
