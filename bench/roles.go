package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"cohort/bench/stat"
	"cohort/bench/traffic"
	"cohort/dataplane"
	"cohort/flowtable"
	"cohort/packet"
)

// rolesConfig bounds the prog-run measurement.
type rolesConfig struct {
	sizes   []int         // connections
	packets int           // of one sample
	rounds  int           // of one role and size
	time    time.Duration // for the rounds of one role and size; three are made in any case
	cpu     int
}

// RoleResult is the time of the XDP program for one role and table size. The
// cost of redirecting the packet afterwards is not in it.
type RoleResult struct {
	Role      string       `json:"role"`
	Flows     int          `json:"flows"`
	Net       stat.Summary `json:"ns_per_packet"` // the source subtracted, round by round
	Source    stat.Summary `json:"ns_source"`
	Disturbed int          `json:"rounds_disturbed"` // counted, not removed: the minimum stands beside
}

// role is one way through the programs of a node.
type role struct {
	name    string
	ccl     bool
	outcome string
	fill    func(n *fastNode, k packet.FlowKey) error
}

func insertOwned(n *fastNode, k packet.FlowKey) error {
	_, err := n.table.InsertFlow(ownedFlow(k))
	return err
}

var roles = []role{
	{"owner", false, "forward_owner", insertOwned},
	{"forwarder", false, "forward_ccl", func(n *fastNode, k packet.FlowKey) error {
		_, err := n.table.InsertForward(forwardOf(k))
		return err
	}},
	{"delegate", false, "forward_delegated", func(n *fastNode, k packet.FlowKey) error {
		slot, err := n.table.InsertForward(forwardOf(k))
		if err != nil {
			return err
		}
		return n.table.Delegate(slot, flowtable.DelegationSlot{
			To: flowtable.EndpointsOf(k), NextHop: nextHop, Iface: inside, View: viewTag,
			Lease: flowtable.TickOf(dataplane.Now() + int64(time.Hour)),
		})
	}},
	{"owner_ccl", true, "forward_owner_ccl", insertOwned},
	{"miss", false, "punt_miss", func(n *fastNode, k packet.FlowKey) error {
		k.DstPort++ // as many connections, but not the packets'
		return insertOwned(n, k)
	}},
}

func measureRoles(ctx context.Context, cfg rolesConfig) ([]RoleResult, error) {
	var all []RoleResult
	for _, r := range roles {
		for _, size := range cfg.sizes {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			one, err := measureRole(cfg, r, size)
			if err != nil {
				return nil, fmt.Errorf("role %s with %d connections: %w", r.name, size, err)
			}
			all = append(all, *one)
		}
	}
	return all, nil
}

func measureRole(cfg rolesConfig, r role, size int) (*RoleResult, error) {
	l, err := newLab()
	if err != nil {
		return nil, err
	}
	defer l.close()
	c, err := l.newCourse(r, size, cfg.cpu)
	if err != nil {
		return nil, err
	}
	res, err := c.measure(cfg)
	if err != nil {
		return nil, err
	}
	res.Role, res.Flows = r.name, size
	return res, c.node.only(r.outcome)()
}

// course is a node with one of its programs and a source for it.
type course struct {
	node    *fastNode
	program *ebpf.Program
	ifindex int
	source  *traffic.Source
	meter   *meter
}

func (l *lab) newCourse(r role, size, cpu int) (*course, error) {
	ns, err := l.space("node")
	if err != nil {
		return nil, err
	}
	ports := make(map[string]port)
	for _, name := range []string{"in", "out", "ccl"} {
		if ports[name], _, err = cable(ns, ns, name+"0", name+"1"); err != nil {
			return nil, err
		}
	}
	flows, forwards := size, 0
	if r.outcome == "forward_ccl" || r.outcome == "forward_delegated" {
		flows, forwards = 0, size
	}
	c := &course{}
	if c.node, err = l.openFastNode(ns, 1, flows, forwards, peers(1, [2][6]byte{ports["ccl"].mac, {2}})); err != nil {
		return nil, err
	}
	c.node.sendsTo(ports["out"], port{})
	if err := l.openSockets(c.node); err != nil {
		return nil, err
	}
	shape := traffic.Shape{Flows: size, Flags: traffic.ACK, DMAC: ports["in"].mac}
	c.ifindex = ports["in"].index
	if r.ccl {
		c.ifindex = ports["ccl"].index
		shape.CCL = &traffic.CCLFrame{From: vtep(2), To: vtep(1), VNI: vni, Node: 2, View: viewTag, Iface: inside}
	}
	for i := range size {
		if err := r.fill(c.node, shape.Key(i)); err != nil {
			return nil, err
		}
	}
	if c.program, err = attachedTo(ns, c.ifindex); err != nil {
		return nil, err
	}
	l.onClose(c.program.Close)
	if c.source, err = traffic.NewSource(shape, 0); err != nil {
		return nil, err
	}
	l.onClose(c.source.Close)
	if c.meter, err = newMeter(cpu); err != nil {
		return nil, err
	}
	return c, ns.Do(func() error { return pinThread(cpu) })
}

// openSockets gives punted packets somewhere to go.
func (l *lab) openSockets(n *fastNode) error {
	var io *dataplane.IO
	err := n.ns.Do(func() (err error) {
		io, err = n.dp.OpenIO(dataplane.IOConfig{})
		return err
	})
	if err != nil {
		return err
	}
	l.onClose(io.Close)
	return nil
}

// sample is one run of the program, or of the source alone. The kernel tells
// the time of the loop without the system call around it, which waits for RCU
// for milliseconds.
func (c *course) sample(p *ebpf.Program, packets int) (ns float64, disturbed bool, err error) {
	var each time.Duration
	var s spent
	err = c.node.ns.Do(func() (err error) {
		s, err = c.meter.measure(func() (err error) {
			each, err = c.source.Repeat(p, c.ifindex, packets)
			return err
		})
		return err
	})
	loop := each * time.Duration(packets)
	return float64(each), float64(loop-s.ours) > maxDisturbed*float64(loop), err
}

// measure alternates: source, program, program, source.
func (c *course) measure(cfg rolesConfig) (*RoleResult, error) {
	var net, source []float64
	res := &RoleResult{}
	if _, _, err := c.sample(c.program, cfg.packets); err != nil { // warms up
		return nil, err
	}
	for end := time.Now().Add(cfg.time); len(net) < cfg.rounds && (len(net) < 3 || time.Now().Before(end)); {
		var ns [2]float64 // of the source, of both
		quiet := true
		for _, what := range [4]int{0, 1, 1, 0} {
			one, disturbed, err := c.sample([2]*ebpf.Program{nil, c.program}[what], cfg.packets)
			if err != nil {
				return nil, err
			}
			ns[what] += one / 2
			quiet = quiet && !disturbed
		}
		if !quiet {
			res.Disturbed++
		}
		source = append(source, ns[0])
		net = append(net, ns[1]-ns[0])
	}
	res.Net, res.Source = stat.Of(net), stat.Of(source)
	return res, nil
}
