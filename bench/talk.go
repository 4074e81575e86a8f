package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"

	"cohort/bench/traffic"
	"cohort/testenv/netns"
	"cohort/testenv/topology"
)

// talk is one way for connections between clients and servers, with whatever
// stands between them.
type talk struct {
	name    string
	ns      *netns.Namespace // of the clients, whose thread sends
	opens   *traffic.Dialer  // first packets
	data    *traffic.Dialer  // data of any open connection
	clients *traffic.Clients
	servers *traffic.Servers
	spread  traffic.Talk // of the clients
	cluster *cluster     // what stands between, if it is one
	sent    int          // first packets
	held    int          // connections that stay open
	idle    float64      // CPU seconds that the daemons take in a second with nothing to do
}

// facing is the ports of one side, in one namespace, with the MACs behind them.
type facing struct {
	ns   *netns.Namespace
	outs []traffic.Out
}

// newTalk puts clients and servers on their ports.
func (l *lab) newTalk(name string, shape traffic.Talk, clients, servers facing) (*talk, error) {
	t := &talk{name: name, ns: clients.ns, spread: shape}
	t.spread.Outs = clients.outs
	back := shape
	back.Outs = servers.outs
	err := clients.ns.Do(func() (err error) {
		if t.opens, err = traffic.NewDialer(t.spread, traffic.First); err != nil {
			return err
		}
		l.onClose(t.opens.Close)
		if t.data, err = traffic.NewDialer(t.spread, traffic.AnyData); err != nil {
			return err
		}
		l.onClose(t.data.Close)
		if t.clients, err = traffic.NewClients(t.spread); err != nil {
			return err
		}
		l.onClose(t.clients.Close)
		return nil
	})
	if err == nil {
		err = servers.ns.Do(func() (err error) {
			if t.servers, err = traffic.NewServers(back); err != nil {
				return err
			}
			l.onClose(t.servers.Close)
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// directTalk is the generator alone: clients and servers on the two ends of n
// cables.
func (l *lab) directTalk(name string, n int, shape traffic.Talk) (*talk, error) {
	a, err := l.space(name + "-c")
	if err != nil {
		return nil, err
	}
	b, err := l.space(name + "-s")
	if err != nil {
		return nil, err
	}
	clients, servers := facing{ns: a}, facing{ns: b}
	for i := range n {
		near, far, err := cable(a, b, fmt.Sprintf("c%d", i), fmt.Sprintf("s%d", i))
		if err != nil {
			return nil, err
		}
		clients.outs = append(clients.outs, far.behind(near))
		servers.outs = append(servers.outs, near.behind(far))
	}
	return l.newTalk(name, shape, clients, servers)
}

// behind is the way to p by the port at the other end of its cable.
func (p port) behind(near port) traffic.Out { return traffic.Out{Ifindex: near.index, MAC: p.mac} }

// switchedTalk is the generator with the control link's switch between: what
// that costs a frame, twice.
func (l *lab) switchedTalk(name string, shape traffic.Talk) (*talk, *traffic.Fabric, error) {
	var ns [3]*netns.Namespace
	for i, role := range []string{"-c", "-x", "-s"} {
		var err error
		if ns[i], err = l.space(name + role); err != nil {
			return nil, nil, err
		}
	}
	c, x0, err := cable(ns[0], ns[1], "c", "x0")
	if err != nil {
		return nil, nil, err
	}
	s, x1, err := cable(ns[2], ns[1], "s", "x1")
	if err != nil {
		return nil, nil, err
	}
	for i, p := range []*port{&c, &s} { // a switch tells its ports apart by the last bits
		p.mac = [6]byte{2, 0, 0x5e, 0x40, 0, byte(i)}
		if err := p.setMAC(); err != nil {
			return nil, nil, err
		}
	}
	var f *traffic.Fabric
	if err := l.fabric(ns[1], []traffic.Out{c.behind(x0), s.behind(x1)}, nil, &f); err != nil {
		return nil, nil, err
	}
	t, err := l.newTalk(name, shape, facing{ns[0], []traffic.Out{s.behind(c)}}, facing{ns[2], []traffic.Out{c.behind(s)}})
	return t, f, err
}

func (p port) setMAC() error {
	link, err := p.ns.Netlink().LinkByIndex(p.index)
	if err != nil {
		return err
	}
	return p.ns.Netlink().LinkSetHardwareAddr(link, p.mac[:])
}

// fabric makes the ports of a namespace a switch.
func (l *lab) fabric(ns *netns.Namespace, ports []traffic.Out, tiers *traffic.Tiers, made **traffic.Fabric) error {
	return ns.Do(func() error {
		f, err := traffic.NewFabric(ports, tiers)
		if err != nil {
			return err
		}
		l.onClose(f.Close)
		if made != nil {
			*made = f
		}
		return nil
	})
}

// talk puts clients and servers around a cluster, whose packets go to all nodes
// or some.
func (c *cluster) talk(name string, shape traffic.Talk, nodes ...*topology.Node) (*talk, error) {
	if len(nodes) == 0 {
		nodes = c.Nodes
	}
	sides := map[string]*facing{"rin": {ns: c.Namespaces()["rin"]}, "rout": {ns: c.Namespaces()["rout"]}}
	for router, side := range sides {
		for _, n := range nodes {
			p, err := c.routerPort(router, n)
			if err != nil {
				return nil, err
			}
			side.outs = append(side.outs, traffic.Out{Ifindex: p.index, MAC: p.mac})
		}
	}
	t, err := c.lab.newTalk(name, shape, *sides["rin"], *sides["rout"])
	if err != nil {
		return nil, err
	}
	t.cluster = c
	return t, nil
}

// controlLink makes the switch of the control link fast, and counts what it
// carries. Data frames take from the nodes' tiers, if there are any.
func (c *cluster) controlLink(tiers *traffic.Tiers) (f *traffic.Fabric, err error) {
	var ports []traffic.Out
	for _, n := range c.Nodes {
		far, err := c.Switch.Netlink().LinkByName(n.Name + "-" + topology.CCLIface)
		if err != nil {
			return nil, fmt.Errorf("control link of %s: %w", n.Name, err)
		}
		near, err := n.Namespace().Netlink().LinkByName(topology.CCLIface)
		if err != nil {
			return nil, fmt.Errorf("control link of %s: %w", n.Name, err)
		}
		ports = append(ports, outTo(far, near))
	}
	return f, c.lab.fabric(c.Switch, ports, tiers, &f)
}

func outTo(near, far netlink.Link) traffic.Out {
	o := traffic.Out{Ifindex: near.Attrs().Index}
	copy(o.MAC[:], far.Attrs().HardwareAddr)
	return o
}

// burst sends packets and waits until a count of the clients has risen by as
// many, or until nothing more comes.
func (t *talk) burst(d *traffic.Dialer, n int, of func(traffic.Said) uint64) (heard int, err error) {
	n = traffic.Batches(n)
	before, err := t.clients.Said()
	if err != nil {
		return 0, err
	}
	if err := t.ns.Do(func() error { return d.Dial(n) }); err != nil {
		return 0, fmt.Errorf("%s: %w", t.name, err)
	}
	for last := time.Now(); ; {
		now, err := t.clients.Said()
		if err != nil {
			return 0, err
		}
		if got := int(of(now) - of(before)); got != heard {
			heard, last = got, time.Now()
		}
		if heard >= n || time.Since(last) > patience {
			return heard, nil
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// What a burst waits for.
func answered(s traffic.Said) uint64 { return s.Answered }
func closed(s traffic.Said) uint64   { return s.Closed }

// open has so many connections opened, in bursts, and closed again if the
// clients close. It returns how many got through.
func (t *talk) open(ctx context.Context, n, burst int, of func(traffic.Said) uint64) (heard int, err error) {
	for left := traffic.Batches(n); left > 0 && ctx.Err() == nil; {
		b := min(left, traffic.Batches(burst))
		got, err := t.burst(t.opens, b, of)
		if err != nil {
			return heard, err
		}
		left, heard, t.sent = left-b, heard+got, t.sent+b
	}
	return heard, ctx.Err()
}

// sound checks that all that was heard was right.
func (t *talk) sound() error {
	c, err := t.clients.Said()
	if err != nil {
		return err
	}
	s, err := t.servers.Said()
	if err != nil {
		return err
	}
	if n := c.Damaged + c.Strange + s.Damaged + s.Strange; n != 0 {
		odd, err := t.clients.Odd()
		if err == nil && c.Damaged+c.Strange == 0 {
			odd, err = t.servers.Odd()
		}
		return errors.Join(fmt.Errorf("%s: %d packets were not what a TCP allows, the last one %x; clients %+v, servers %+v", t.name, n, odd, c, s), err)
	}
	if n := c.Refused + s.Refused; n != 0 {
		return fmt.Errorf("%s: %d resets; clients %+v, servers %+v", t.name, n, c, s)
	}
	return nil
}

// masqueradeTalk is the peer: a router with connection tracking that hides the
// clients behind one address.
func (l *lab) masqueradeTalk(name string, shape traffic.Talk) (*talk, error) {
	f, err := l.newField(traffic.Shape{})
	if err != nil {
		return nil, err
	}
	p, err := f.masqueradeRouter()
	if err != nil {
		return nil, err
	}
	return l.newTalk(name, shape, facing{f.gen, []traffic.Out{p.in.behind(p.near)}}, facing{f.far, []traffic.Out{p.out.behind(p.far)}})
}
