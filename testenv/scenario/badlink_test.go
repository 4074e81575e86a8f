package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cohort/testenv/line"
	"cohort/testenv/netns"
	"cohort/testenv/sniff"
	"cohort/testenv/topology"
	"cohort/testenv/traffic"
)

// onePAT translates everything behind one address.
const onePAT = "{pools: {egress: {addresses: 203.0.113.10}}, rules: [{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}]}"

// stuck is a time without an answer that lost packets do not explain.
const stuck = 12 * time.Second

// lines puts a bad cable to every node; seeds are fixed.
func lines(t *testing.T, top *topology.Topology) (all []*line.Line) {
	t.Helper()
	for i, n := range top.Nodes {
		l, err := n.LineCCL(uint64(10 * (i + 1)))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// set gives one way of every line the same fault.
func set(t *testing.T, all []*line.Line, way line.Way, f line.Fault) {
	t.Helper()
	for _, l := range all {
		if err := l.Set(way, f); err != nil {
			t.Fatal(err)
		}
	}
}

// views says what every node thinks the cluster is: one line each, and whether
// all say the same of n members in sync.
func views(t *testing.T, top *topology.Topology, n int) (said string, one bool) {
	t.Helper()
	one = true
	first := ""
	for _, node := range top.Nodes {
		i, err := node.API().Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		members := 0
		for _, m := range i.Members {
			if m.State == "in sync" {
				members++
			}
		}
		view := fmt.Sprintf("view %s, control %s", i.View, i.Control)
		if first == "" {
			first = view
		}
		one = one && view == first && members == n && i.State == "in sync"
		said += fmt.Sprintf("%s: %s, %d in sync; ", node.Name, view, members)
	}
	return said, one
}

// settled is views once they are one, for a cluster that has just formed.
func settled(t *testing.T, top *topology.Topology, n int) string {
	t.Helper()
	ctx := within(t, 20*time.Second)
	for {
		said, one := views(t, top, n)
		if one {
			return said
		}
		if ctx.Err() != nil {
			t.Fatalf("no common view: %s", said)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestCL6_BadLinkLosesNothing: every packet takes a random node, so nearly all of
// them and every message cross a control link that loses 1 %, repeats 1 % and
// delays each frame by up to 5 ms. Connections that are open live, new ones
// complete, no mapped port has two of them, and nobody leaves the view.
func TestCL6_BadLinkLosesNothing(t *testing.T) {
	top := formed(t, topology.Config{HoldTime: time.Second, Spray: true, Clients: 2, NAT: onePAT})
	server := top.Servers[0]
	all := lines(t, top)
	was := settled(t, top, 3)
	ctx := within(t, 60*time.Second)

	tuples := sniff.NewTuples()
	tap, err := sniff.Open(server.Namespace, "eth0", tuples.See)
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	tcp, udp := netip.AddrPortFrom(server.Addr, 8080), netip.AddrPortFrom(server.Addr, 9)
	echo, err := traffic.ServeEcho(server.Namespace, tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	datagrams, err := traffic.ServeUDPEcho(server.Namespace, udp)
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()

	open, err := traffic.OpenPool(ctx, top.Clients[0].Namespace, tcp, traffic.PoolConfig{Connections: 100, Interval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	set(t, all, topology.NodeSends, line.Fault{Loss: 10, Duplicate: 10, Jitter: 5 * time.Millisecond})
	reports := map[string]*traffic.Report{}
	for i, c := range top.Clients {
		reports[c.Name+" tcp"] = traffic.TCP(ctx, c.Namespace, tcp, traffic.TCPLoad{Connections: 300, Rounds: 3, Seed: uint64(i)})
		reports[c.Name+" udp"] = traffic.UDP(ctx, c.Namespace, udp,
			traffic.DatagramLoad{Exchanges: 300, Attempts: 10, Timeout: 500 * time.Millisecond, Client: uint32(i + 1)})
	}
	reports["open before"] = open.Close()
	for what, r := range reports {
		t.Logf("%s: %v", what, r)
		if err := r.Err(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		// Endpoints repeat what is lost, after 3 s where it was a SYN and then data.
		if r.Longest() > stuck {
			t.Errorf("%s: one was stuck for %v", what, r.Longest())
		}
	}
	if said, one := views(t, top, 3); !one || said != was {
		t.Errorf("the view changed from %s\nto %s", was, said)
	}
	if lost, err := tap.Close(); err != nil || lost > 0 {
		t.Errorf("the tap missed %d frames: %v", lost, err)
	}
	if tuples.Duplicates > 0 || tuples.Moved > 0 {
		t.Errorf("%d tuples with two connections, %d moved:\n%s", tuples.Duplicates, tuples.Moved, strings.Join(tuples.Told, "\n"))
	}
	if tuples.TCP < 600 {
		t.Errorf("the tap saw %d TCP connections of more than 600", tuples.TCP)
	}
	for i, l := range all {
		c := l.Counters(topology.NodeSends)
		t.Logf("%s sent %+v", top.Nodes[i].Name, c)
		if c.Lost == 0 || c.Duplicated == 0 || c.Overtaken == 0 {
			t.Error("the link was not bad: the test tests nothing")
		}
	}
}

// TestCL5_FullLinkEjectsNobody fills every node's port of the control link's
// switch with several times what it carries, for more than four hold times. The
// switch trusts DSCP, as docs/ccl.md asks for, but knows nothing of ARP: that
// waits and is lost with the data.
func TestCL5_FullLinkEjectsNobody(t *testing.T) {
	top := formed(t, topology.Config{HoldTime: time.Second, Spray: true})
	for _, n := range top.Nodes {
		// Addresses on the link are doubted within the test, and not in half a minute.
		for _, v := range [][2]string{{"base_reachable_time_ms", "500"}, {"delay_first_probe_time", "1"}} {
			if err := n.Namespace().Sysctl("net/ipv4/neigh/"+topology.CCLIface+"/"+v[0], v[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := lines(t, top)
	was := settled(t, top, 3)
	const rate = 400_000
	set(t, all, topology.NodeReceives, line.Fault{Rate: rate, Classes: true})
	// Of so many flows no node has so few (of 24 it happened) that its link is not full.
	stop := flood(t, top.Clients[0].Namespace, top.Servers[0], 96, 20*rate)
	defer stop()
	before := received(all)
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if said, one := views(t, top, 3); !one || said != was {
			t.Fatalf("the view changed from %s\nto %s", was, said)
		}
	}
	stop()
	for i, c := range received(all) {
		full, crossed := c.Full-before[i].Full, c.Delivered-before[i].Delivered
		t.Logf("%s: %d frames crossed, %d had no room", top.Nodes[i].Name, crossed, full)
		if full < crossed/4 { // a queue that is offered a quarter more than it passes on is never empty
			t.Errorf("the link to %s was not full: the test tests nothing", top.Nodes[i].Name)
		}
	}
}

func received(all []*line.Line) (c []line.Counters) {
	for _, l := range all {
		c = append(c, l.Counters(topology.NodeReceives))
	}
	return c
}

// flood sends datagrams of several flows to a server that only swallows them,
// so many bytes a second, until stop, which waits. Idempotent.
func flood(t *testing.T, from *netns.Namespace, to *topology.Host, flows, rate int) (stop func()) {
	t.Helper()
	at := netip.AddrPortFrom(to.Addr, 7)
	sink, err := to.Namespace.ListenPacket("udp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]interface {
		Write([]byte) (int, error)
		Close() error
	}, flows)
	for i := range conns {
		if conns[i], err = from.DialUDP(at); err != nil {
			t.Fatal(err)
		}
	}
	const size = 1400
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		buf := make([]byte, size)
		began, sent := time.Now(), 0
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			for due := int(time.Since(began).Seconds() * float64(rate) / size); sent < due; sent++ {
				_, _ = conns[sent%flows].Write(buf) // lost here or there
			}
		}
	}()
	stopped := false
	return func() {
		if stopped {
			return
		}
		stopped = true
		close(quit)
		<-ended
		for _, c := range conns {
			c.Close()
		}
		sink.Close()
	}
}
