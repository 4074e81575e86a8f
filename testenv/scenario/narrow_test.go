package scenario

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"cohort/testenv/line"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// bigLost swallows what the cluster's own headers make larger than a data packet.
var bigLost = line.Fault{MTU: 1500}

// TestCL3_LinkThatBecomesNarrowCostsOneNode gives one node's control link a cable
// that swallows large packets while downloads run whose packets take random nodes:
// they stand still until the node is out, which takes about a hold time, and go on
// without it. Nobody else leaves, and it comes back when the cable is whole.
func TestCL3_LinkThatBecomesNarrowCostsOneNode(t *testing.T) {
	for _, tt := range []struct {
		name   string
		victim int // the first node is the control node
		ways   []line.Way
	}{
		{"data node, both ways", 2, []line.Way{topology.NodeSends, topology.NodeReceives}},
		{"data node, what it receives", 1, []line.Way{topology.NodeReceives}},
		{"control node, what it sends", 0, []line.Way{topology.NodeSends}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const hold = time.Second
			top := formed(t, topology.Config{HoldTime: hold, Spray: true, Health: "join_grace: 0s, rejoin: {control_link: {interval: 3s}}"})
			all := lines(t, top)
			settled(t, top, 3)
			ctx := within(t, 60*time.Second)
			loads := downloads(ctx, t, top, 6)
			victim, rest := top.Nodes[tt.victim], others(top, tt.victim)

			struck := time.Now()
			for _, w := range tt.ways {
				if err := all[tt.victim].Set(w, bigLost); err != nil {
					t.Fatal(err)
				}
			}
			waitMembers(ctx, t, rest, 2)
			out := time.Since(struck)
			for !told(ctx, t, victim, "rejoin", "full-sized packets") {
				time.Sleep(10 * time.Millisecond)
			}
			if out > 2*hold {
				t.Errorf("it was out after %v, want about the hold time", out)
			}
			time.Sleep(2 * time.Second) // of the downloads without it: not awaited, measured
			c := all[tt.victim].Counters(tt.ways[0])
			if c.TooBig == 0 {
				t.Error("the cable swallowed nothing: the test tests nothing")
			}
			for _, w := range tt.ways {
				if err := all[tt.victim].Set(w, line.Fault{}); err != nil {
					t.Fatal(err)
				}
			}
			waitMembers(ctx, t, top.Nodes, 3)
			longest := loads.end(t)
			t.Logf("out after %v, longest stall of a download %v, %d frames swallowed", out.Round(time.Millisecond), longest.Round(time.Millisecond), c.TooBig)
			// The last repetition before the node is out is followed by the next one
			// after as long again.
			if longest > 3*out+time.Second {
				t.Errorf("a download stood still for %v", longest)
			}
		})
	}
}

// TestCL3_NodeWhoseOwnMTUIsLoweredIsOut lowers the MTU of one node's own interface: the way
// beside the kernel's stack, which would still take large packets, keeps to it as well, so
// that the lasting probes say what those at the next join will say.
func TestCL3_NodeWhoseOwnMTUIsLoweredIsOut(t *testing.T) {
	t.Parallel()
	top := formed(t, topology.Config{HoldTime: time.Second, Health: "rejoin: {control_link: {interval: 3s}}"})
	settled(t, top, 3)
	ctx := within(t, 40*time.Second)
	victim, rest := top.Nodes[2], top.Nodes[:2]
	own := func(mtu int) {
		t.Helper()
		net := victim.Namespace().Netlink()
		link, err := net.LinkByName(topology.CCLIface)
		must(t, err)
		must(t, net.LinkSetMTU(link, mtu))
	}
	if n := counterOf(t, victim, "link_kernel_too_large"); n != 0 {
		t.Errorf("%d datagrams were too large for a link that is whole", n)
	}
	own(1000)
	waitMembers(ctx, t, rest, 2)
	for !told(ctx, t, victim, "rejoin", "full-sized packets") {
		time.Sleep(10 * time.Millisecond)
	}
	if counterOf(t, victim, "link_kernel_too_large") == 0 {
		t.Error("no probe of full size was found too large")
	}
	for !told(ctx, t, victim, "control link mtu", "827 do") { // the join probe's verdict
		time.Sleep(10 * time.Millisecond)
	}
	own(1654)
	waitMembers(ctx, t, top.Nodes, 3)
}

// TestCL3_EL9_SwitchThatBecomesNarrowCostsNobody lowers what the control link's
// whole switch carries: nobody is better off, all stay, and health says so.
func TestCL3_EL9_SwitchThatBecomesNarrowCostsNobody(t *testing.T) {
	t.Parallel()
	const hold = time.Second
	top := formed(t, topology.Config{HoldTime: hold})
	all := lines(t, top)
	was := settled(t, top, 3)
	ctx := within(t, 40*time.Second)
	set(t, all, topology.NodeReceives, bigLost)
	for _, n := range top.Nodes {
		for !told(ctx, t, n, "control link mtu", "see the mtu of the switch") {
			time.Sleep(10 * time.Millisecond)
		}
	}
	for end := time.Now().Add(4 * hold); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if said, one := views(t, top, 3); !one || said != was {
			t.Fatalf("the view changed from %s\nto %s", was, said)
		}
	}
	set(t, all, topology.NodeReceives, line.Fault{})
	for _, n := range top.Nodes {
		for told(ctx, t, n, "control link mtu", "") {
			time.Sleep(10 * time.Millisecond)
		}
	}
	if said, one := views(t, top, 3); !one || said != was {
		t.Errorf("the view changed from %s\nto %s", was, said)
	}
}

func others(top *topology.Topology, not int) (list []*topology.Node) {
	for i, n := range top.Nodes {
		if i != not {
			list = append(list, n)
		}
	}
	return list
}

// waitMembers waits until all of nodes are in sync in a view of n members.
func waitMembers(ctx context.Context, t *testing.T, nodes []*topology.Node, n int) {
	t.Helper()
	for {
		said, good := "", true
		for _, node := range nodes {
			i, err := node.API().Info(ctx)
			if err != nil {
				t.Fatalf("%s: %v; before: %s", node.Name, err, said)
			}
			said += node.Name + ": " + i.State + "; "
			good = good && i.State == "in sync" && len(i.Members) == n
		}
		if good {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("no view of %d: %s", n, said)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// told reports whether a node's health has a failed check of this name and words.
func told(ctx context.Context, t *testing.T, n *topology.Node, check, words string) bool {
	t.Helper()
	h, err := n.API().Health(ctx)
	if err != nil {
		t.Fatalf("%s: %v", n.Name, err)
	}
	for _, c := range h.Checks {
		if !c.OK && c.Name == check && strings.Contains(c.Cause, words) {
			return true
		}
	}
	return false
}

// loads are downloads that run until they are ended.
type loads struct {
	cancel context.CancelFunc
	list   []*traffic.Download
	all    sync.WaitGroup
	server *traffic.Server
	errs   chan error
}

// downloads begins n of them, each of full-sized packets at a modest rate, and
// waits until all are under way.
func downloads(ctx context.Context, t *testing.T, top *topology.Topology, n int) *loads {
	t.Helper()
	at := netip.AddrPortFrom(top.Servers[0].Addr, 8081)
	server, err := traffic.ServeHTTP(top.Servers[0].Namespace, at, 200_000)
	if err != nil {
		t.Fatal(err)
	}
	l := &loads{server: server, errs: make(chan error, n)}
	ctx, l.cancel = context.WithCancel(ctx)
	t.Cleanup(func() { l.cancel(); l.all.Wait(); server.Close() })
	for range n {
		d := &traffic.Download{}
		l.list = append(l.list, d)
		l.all.Go(func() {
			if err := d.Run(ctx, top.Clients[0].Namespace, at, 1<<40, 30*time.Second); ctx.Err() == nil {
				l.errs <- err
			}
		})
	}
	for _, d := range l.list {
		for d.Received() < 100_000 {
			if ctx.Err() != nil {
				t.Fatal("the downloads do not begin")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return l
}

// end waits until every download has got on, stops them, and returns the longest
// stall of all.
func (l *loads) end(t *testing.T) (longest time.Duration) {
	t.Helper()
	for _, d := range l.list {
		for was, end := d.Received(), time.Now().Add(20*time.Second); d.Received() < was+100_000; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("a download stands still")
			}
		}
		longest = max(longest, d.Stall())
	}
	l.cancel()
	l.all.Wait()
	select {
	case err := <-l.errs:
		t.Errorf("a download broke: %v", err)
	default:
	}
	return longest
}
