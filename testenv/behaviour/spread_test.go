package behaviour

import (
	"bufio"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"cohort/api"
	"cohort/testenv/topology"
)

// TestNT3_AllNodesTogetherGiveOutEveryPort opens connections from one public
// address to one server port, spread over all nodes by the router, until none
// is left. One host's all go through one node, which so has to serve far more
// than each other: an even spread would use up the blocks of all at the same
// time and lease one or none. A node that has run out leases from the others;
// nothing is refused while any node has a block that nobody uses; in the end
// every single port has its connection, and everything beyond is refused,
// counted and logged.
func TestNT3_AllNodesTogetherGiveOutEveryPort(t *testing.T) {
	top := formed(t, topology.Config{NAT: patOnly, Timeouts: "{udp: 30m, udp_stream: 30m}"})
	onlyThrough(t, top.Inside, top.Nodes[1].Inside, source(0).Addr())
	s := newStrangers(t, top, 9000)
	o := offer{t: t, top: top, s: s}
	s.mapped = make([]netip.AddrPort, 2*allPorts)
	began := time.Now()
	for s.seen < allPorts && o.sent < len(s.mapped) {
		switch {
		case o.refused > 0:
			o.more(512)
		case s.seen < 60000:
			o.more(256)
		default:
			o.more(32) // so that the first refusal is seen as it is
		}
		if o.refused > 0 && o.first == 0 {
			o.first = s.seen
			for _, n := range top.Nodes {
				if free := idle(t, n); len(free) > 0 {
					t.Errorf("%d connections were refused while %s had %d free blocks: %v", o.refused, n.Name, len(free), free)
				}
			}
		}
	}
	if s.seen != allPorts {
		t.Errorf("%d connections of %d, %d refused on the way", s.seen, allPorts, o.refused)
	}
	ports := make(map[uint16]int)
	for i, at := range s.mapped {
		if !at.IsValid() {
			continue
		}
		if other, taken := ports[at.Port()]; taken || at.Addr() != egress || at.Port() < 1024 {
			t.Fatalf("connections %d and %d are both seen as %v", other, i, at)
		}
		ports[at.Port()] = i
	}
	leased := uint64(0)
	for _, n := range top.Nodes {
		pools, err := n.API().NATPools(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		leased += pools[0].Here.LeasesIn
		t.Logf("%s has %d blocks, %d of them leased", n.Name, pools[0].Here.Held, pools[0].Here.LeasesIn)
	}
	if leased == 0 {
		t.Error("no node has leased a block from another: nothing is tested")
	}
	t.Logf("the first of %d ports was refused with %d in use; all in use after %v and %d refusals on the way", allPorts, o.first, time.Since(began).Round(time.Millisecond), o.refused)

	// Not one more, and those that were first go on as they were.
	before := o.refused
	o.more(256)
	if got := o.refused - before; got != 256 {
		t.Errorf("%d of 256 beyond the last port refused", got)
	}
	checked := 0
	for i := 0; i < len(s.mapped); i += 997 {
		if s.mapped[i].IsValid() {
			s.again(t, i)
			checked++
		}
	}
	if checked < 50 {
		t.Errorf("only %d connections were looked at again", checked)
	}
	eventually(t, "every refusal is in a log", func() bool { return logged(t, top) == o.refused })
}

// offer sends first packets of new connections.
type offer struct {
	t       *testing.T
	top     *topology.Topology
	s       *strangers
	sent    int
	refused int
	first   int // connections in use at the first refusal
}

// more offers n connections and waits until each has reached the server or is
// counted as refused.
func (o *offer) more(n int) {
	o.t.Helper()
	for range n {
		o.s.send(o.t, o.sent)
		o.sent++
	}
	deadline := time.Now().Add(20 * time.Second)
	for o.s.seen+o.refused < o.sent {
		if o.s.receive(o.t, 50*time.Millisecond) >= 0 {
			continue
		}
		o.refused = int(counter(o.t, o.top, "slow_nat_ports"))
		if time.Now().After(deadline) {
			o.t.Fatalf("of %d connections the server has seen %d and %d were refused", o.sent, o.s.seen, o.refused)
		}
	}
}

// idle returns the blocks of a node that it does not use, by first port.
func idle(t *testing.T, n *topology.Node) (free []uint16) {
	t.Helper()
	list, err := n.API().NATBlocks(t.Context(), "egress")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range list {
		if b.Holder == n.Name && b.Uses == 0 && (b.State == api.BlockIdle || b.State == api.BlockLeased) {
			free = append(free, b.First)
		}
	}
	return free
}

// logged sums the refusals that the nodes' logs tell of, at most one line of a
// node and second.
func logged(t *testing.T, top *topology.Topology) (sum int) {
	t.Helper()
	for _, n := range top.Nodes {
		f, err := os.Open(n.LogFile)
		if err != nil {
			t.Fatal(err)
		}
		var first, last time.Time
		told := 0
		for lines := bufio.NewScanner(f); lines.Scan(); {
			at, rest, _ := strings.Cut(lines.Text(), "\t")
			_, fields, found := strings.Cut(rest, "NAT pool exhausted: no port is free on any node\t")
			if !found {
				continue
			}
			var said struct {
				Pool    string
				Refused int
			}
			when, err := time.Parse("2006-01-02T15:04:05.000Z", at)
			if err != nil || json.Unmarshal([]byte(fields), &said) != nil || said.Pool != "egress" || said.Refused == 0 {
				t.Fatalf("%v: %s", err, lines.Text())
			}
			if told++; told == 1 {
				first = when
			}
			last = when
			sum += said.Refused
		}
		// The first line may be late by itself, which brings the last no nearer to it
		// than that.
		const late = 500 * time.Millisecond
		if span := last.Sub(first); told > 1 && span+late < time.Duration(told-1)*time.Second {
			t.Errorf("%s: %d lines within %v", n.Name, told, span)
		}
		f.Close()
	}
	return sum
}
