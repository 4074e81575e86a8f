package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"cohort/api"
	"cohort/bench/traffic"
	"cohort/testenv/topology"
)

// fillWindow is how many connections a node is offered before it must own them all: some
// dozens of receive rings, because each call of the generator takes 25 ms beside its
// packets. Were all connections offered again and again at a fixed rate, a node that takes
// less would lose the same share of each round, of old and new ones alike, and the last
// ones would take as many rounds as luck wants.
const fillWindow = 1 << 14

const (
	fillLook  = 500 * time.Microsecond // from one look at what the node owns to the next
	fillAgain = 30 * time.Millisecond  // without a new connection until a window is offered again
	fillIdle  = 20 * time.Second       // until connections from before have aged away
	fillSteps = 7                      // rates, each three quarters of the one before
	fillFew   = 8                      // of so many a lost one says nothing against the rate
	fillClean = 8                      // windows without a loss until the next faster rate is tried
)

// filler makes a node the owner of so many connections, a window at a time, at the rate
// that it takes.
type filler struct {
	size  int
	send  func(from, n, step int) error // first packets of n connections from number from on
	owned func() (int, error)           // how many there are
	look  func() error                  // waits until it is worth while to look again
	now   func() time.Time
	most  time.Duration

	sent   int // first packets, those that were repeated included
	at, to int // the window at hand
	step   int // of the rate, 0 is the highest
	clean  int // windows since the last loss
}

var errNotFilled = errors.New("not filled")

// fill returns how many connections there are, and errNotFilled when they are not all.
func (f *filler) fill() (owned int, err error) {
	begin := f.now()
	for f.to < f.size {
		f.at, f.to = f.to, min(f.to+fillWindow, f.size)
		if owned, err = f.offer(); err != nil {
			return owned, err
		}
		for f.clean = f.clean + 1; owned < f.to; f.clean = 0 {
			if f.now().Sub(begin) > f.most {
				return owned, errNotFilled
			}
			if f.to-owned > (f.to-f.at)/fillFew {
				f.step = min(f.step+1, fillSteps-1)
			}
			if owned, err = f.offer(); err != nil {
				return owned, err
			}
		}
		if f.clean == fillClean {
			f.step, f.clean = max(f.step-1, 0), 0
		}
	}
	return owned, nil
}

// offer sends the window, and waits until the node owns all of it or takes no more.
func (f *filler) offer() (owned int, err error) {
	if err := f.send(f.at, f.to-f.at, f.step); err != nil {
		return 0, err
	}
	f.sent += f.to - f.at
	for last, grown := -1, f.now(); ; {
		if owned, err = f.owned(); err != nil || owned >= f.to {
			return owned, err
		}
		switch now := f.now(); {
		case owned != last:
			last, grown = owned, now
		case now.Sub(grown) > fillAgain:
			return owned, nil
		}
		if err := f.look(); err != nil {
			return owned, err
		}
	}
}

// rate is that of the step at hand, of the highest.
func (f *filler) rate(highest int) int {
	for range f.step {
		highest = highest * 3 / 4
	}
	return highest
}

// hold makes the first node the owner of so many connections, through its own first
// packets, and waits until all have a copy if there is who keeps it.
func (c *cluster) hold(ctx context.Context, size, rate int, most time.Duration) error {
	for _, n := range c.Nodes { // the generator goes before everybody too, and would starve them
		d, err := n.Daemon()
		if err != nil {
			return err
		}
		if err := preferProcess(d.PID()); err != nil {
			return err
		}
	}
	owner := c.Nodes[0]
	if err := waitOwned(ctx, owner, 0, fillIdle); err != nil {
		return err
	}
	shape := traffic.Shape{Flows: size, Hosts: 4096, AllUDP: c.udpOnly, Rate: rate, Sequential: true, Flags: traffic.SYN}
	var sources [fillSteps]*traffic.Source
	for i := range sources {
		s, ns, err := c.source("rin", owner, shape)
		if err != nil {
			return err
		}
		if err := ns.Do(func() error { return pinThread(0) }); err != nil {
			return err
		}
		sources[i], shape.Rate = s, shape.Rate*3/4
	}
	before, err := c.accounts(ctx)
	if err != nil {
		return err
	}
	f := filler{
		size: size, most: most, now: time.Now,
		look: func() error { return wait(ctx, fillLook) },
		send: func(from, n, step int) error {
			if err := sources[step].Turn(from); err != nil {
				return err
			}
			return c.Namespaces()["rin"].Do(func() error { return sources[step].Send(n) })
		},
		owned: func() (int, error) {
			t, err := owner.API().Tables(ctx)
			return t.Owned, err
		},
	}
	owned, err := f.fill()
	if errors.Is(err, errNotFilled) {
		return fmt.Errorf("%s owns %d of %d connections after %v and %d first packets, the last at %d a second; %s; %s",
			owner.Name, owned, size, most, f.sent, f.rate(rate), c.missing(ctx, &shape, f.at, f.to), c.grown(ctx, before))
	}
	if err != nil || len(c.Nodes) == 1 {
		return err
	}
	return c.protected(ctx, size, most)
}

// waitOwned waits until a node owns so few connections.
func waitOwned(ctx context.Context, n *topology.Node, few int, most time.Duration) error {
	for end := time.Now().Add(most); ; {
		t, err := n.API().Tables(ctx)
		if err != nil || t.Owned <= few {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s still owns %d connections after %v without traffic", n.Name, t.Owned, most)
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// grown tells which counters of nodes and interfaces moved since.
func (c *cluster) grown(ctx context.Context, before accounts) string {
	now, err := c.accounts(ctx)
	if err != nil {
		return err.Error()
	}
	return now.since(before)
}

// missing tells which of the connections of a window the first node does not own, some
// of them, and what the others have of these.
func (c *cluster) missing(ctx context.Context, shape *traffic.Shape, from, to int) string {
	const most = 5
	known := make([]map[netip.AddrPort]string, len(c.Nodes))
	for i, n := range c.Nodes {
		known[i] = map[netip.AddrPort]string{}
		// A window lies within few ports of all hosts.
		for port := shape.Key(from).SrcPort; port <= shape.Key(to-1).SrcPort; port++ {
			_, err := n.API().Conns(ctx, api.ConnFilter{Port: port}, 0, func(c *api.Conn) error {
				known[i][c.Source] = fmt.Sprintf("%v, owner %s", c.Roles, c.Owner)
				return nil
			})
			if err != nil {
				return fmt.Sprintf("%s: %v", n.Name, err)
			}
		}
	}
	var b strings.Builder
	n := 0
	for i := from; i < to; i++ {
		k := shape.Key(i)
		source := netip.AddrPortFrom(netip.AddrFrom4(k.Src), k.SrcPort)
		if _, ok := known[0][source]; ok {
			continue
		}
		if n++; n > most {
			continue
		}
		fmt.Fprintf(&b, ", %v", source)
		for j := 1; j < len(known); j++ {
			if has, ok := known[j][source]; ok {
				fmt.Fprintf(&b, " (%s: %s)", c.Nodes[j].Name, has)
			}
		}
	}
	return fmt.Sprintf("missing of those from number %d on: %d, the first%s", from, n, b.String())
}

// protected waits until the first node says that all it owns is held by others.
func (c *cluster) protected(ctx context.Context, size int, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		e, err := c.Nodes[0].API().Exposure(ctx)
		if err != nil {
			return err
		}
		for i := range e.Nodes {
			if n := &e.Nodes[i]; n.Node == c.Nodes[0].Name && n.AgeMS >= 0 && n.Owned >= size && n.IfDies.Lost == 0 {
				return nil
			}
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("not all of %d connections have a copy: %+v", size, e.Nodes)
		}
	}
}
