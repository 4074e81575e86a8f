package campaign

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"cohort/testenv/sniff"
	"cohort/testenv/topology"
	"cohort/testenv/track"
	"cohort/testenv/traffic"
)

// onePublicAddress is the translation of everybody to one address.
const onePublicAddress = "{pools: {egress: {addresses: 203.0.113.10}}, rules: [{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}]}"

// ports of the clients: few, so that two nodes that believed the same block to
// be theirs would keep the same port for both.
const ports = "20000 30000"

// Every single packet takes a random one of four nodes, which all lend ports of
// one public address, to two clients that use the same few ports. Everything completes; and what the server's interface saw
// proves that no two of the connections that lived at the same time had one
// tuple, and that none changed its own.
func TestNT4_FR14_SprayedPATConnectionsKeepTheirTuples(t *testing.T) {
	beside(t)
	l := newLab(t, topology.Config{
		Spray: true, Clients: 2, NAT: onePublicAddress,
		// Nothing dies here, and a machine under load must not say so.
		Track: track.Config{Interval: 100 * time.Millisecond, Losses: 20},
	}, time.Duration(size(90, 1200))*time.Second)
	datagrams, err := traffic.ServeUDPEcho(l.server.Namespace, l.at(9))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { datagrams.Close() })
	tuples := sniff.NewTuples()
	if tuples.Sequences, err = l.Sequences(); err != nil {
		t.Fatal(err)
	}
	tap, err := sniff.Open(l.server.Namespace, "eth0", tuples.See)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tap.Close() })

	for _, c := range l.Clients {
		if err := c.Namespace.Sysctl("net/ipv4/ip_local_port_range", ports); err != nil {
			t.Fatal(err)
		}
	}

	before := l.counters(t)
	var both [2]struct{ tcp, udp, pings *traffic.Report }
	var running sync.WaitGroup
	for i := range both {
		b, from := &both[i], l.Clients[i].Namespace
		running.Go(func() {
			b.tcp = traffic.TCP(l.ctx, from, l.echo.Addr, traffic.TCPLoad{Connections: size(500, 5000), AtOnce: 50, Seed: uint64(i) << 32})
			b.udp = traffic.UDP(l.ctx, from, datagrams.Addr, traffic.DatagramLoad{Exchanges: size(500, 5000), AtOnce: 25, Client: uint32(i)})
			b.pings = traffic.Pings(l.ctx, from, l.server.Addr, traffic.DatagramLoad{Exchanges: size(100, 500), AtOnce: 25, Client: uint32(i)})
		})
	}
	running.Wait()
	lost, err := tap.Close()
	if err != nil || lost != 0 {
		t.Fatalf("the tap lost %d frames: %v", lost, err)
	}
	d := growth(before, l.counters(t))

	r := NewResult("spray-pat", *command)
	wanted := 0
	for i, b := range both {
		for _, of := range []struct {
			what string
			r    *traffic.Report
		}{{"TCP connections", b.tcp}, {"UDP exchanges", b.udp}, {"pings", b.pings}} {
			what := fmt.Sprintf("client %d, %s", i+1, of.what)
			if err := of.r.Err(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			r.Add(what+" wanted / done", fmt.Sprintf("%d / %d", of.r.Wanted, of.r.Done), "equal")
			r.Add(what+": datagrams sent again", of.r.Retries, "")
			r.Add(what+": longest wait, min / median / p99 / max", Distribute(of.r.Stalls), "")
		}
		wanted += b.tcp.Wanted
	}
	r.Add("tuples with two connections at once", tuples.Duplicates, "0")
	r.Add("connections in a second tuple", tuples.Moved, "0")
	r.Add("TCP connections of which data arrived", tuples.Carried, fmt.Sprint(wanted))
	r.Add("TCP connections that began at the server", tuples.TCP, "")
	r.Add("TCP tuples used again later", tuples.Reused, "")
	r.Add("UDP flows and pings at the server (a client uses some ports twice)", tuples.Others, "")
	for _, name := range []string{
		"connections_created", "claims_sent", "queries_sent", "duplicate_owners", "nat_conflicts",
		"forward_owner", "forward_owner_ccl", "forward_ccl", "slow_sent",
	} {
		r.Add("counter "+name, d[name], "")
	}
	r.Add("counters of drops that grew", drops(d), "")
	finish(t, r)
	if tuples.Duplicates > 0 || tuples.Moved > 0 {
		t.Errorf("%d tuples had two connections, %d connections had two tuples: %q", tuples.Duplicates, tuples.Moved, tuples.Told)
	}
	if tuples.Carried != wanted || tuples.Others == 0 {
		t.Errorf("the server's interface saw data of %d TCP connections, want %d, and %d other flows", tuples.Carried, wanted, tuples.Others)
	}
}
