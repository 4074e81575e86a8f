package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const preface = `# Benchmarks

Written by ` + "`make bench-full`" + `, or parts of it; the same figures with everything about them are in
[bench.json](bench.json). Absolute figures mean little on a shared machine; look
at the ratios, which come from peers that ran alternately in the same minutes.

- **XDP program**: prog-run of the programs that are attached to a node, by role.
  A program in front of them makes each packet one of another random connection,
  so that tables are met cold, and undoes what the last run did; its own time is
  measured alternately and subtracted. Sending the packet afterwards is not in it.
  All packets are TCP.
- **End to end**: live frames (64 bytes, TCP and UDP, random connections, one
  direction) enter a veth, go through one node and end in XDP_DROP behind the next
  veth, all on one CPU. Node: the real dataplane with the real flow table, filled
  directly, without a daemon, which no packet of these would meet. Peers: Linux
  forwarding, and the same with nftables (established accept, invalid drop, new by
  interface, policy drop) after a handshake of every connection, of which each
  packet must arrive. The generator is
  what the same frames cost with XDP_DROP directly behind the first veth. The unit is CPU
  time of the sending thread and of the CPU's softirq thread. A round is A B C C B A. A sample
  whose CPU somebody else had for more than 3 % of the time is repeated once, a round that keeps
  one is thrown away while enough are left, and one with lost packets always.
- **New connections**: SYNs that nobody answers, through real daemons. CPU time of
  the whole daemon, system calls and what the kernel does inside them included.
- **Memory**: bytes of a full table for each entry, and what is resident of the
  daemons after the two-node run: the owner, its backup, and that backup after it
  became the forwarder of the replies too.

- **Translated, end to end**: as end to end, with port translation to one address.
  128 servers and 16,384 ports let every connection keep its port on both sides.
  Peer: the same nftables firewall with masquerade, with a bucket of its hash for
  each connection. *reply at owner*: what servers send, met by the owner. *steered*:
  the same met by a node that has no entry for it, as far as the CCL (FR6).
  *steered+owner*: from one end to the other through both. *bare hop*: a cable and
  a redirect that looks at nothing, which any further hop costs on this machine.
  The aim for the hop is held against what it adds with that and without it.
- **New translated connections**: first packets in bursts that the rings hold, to
  real daemons with a pool of 16 addresses and to the masquerading router, 16,384
  by turns, so that both have as many entries when they are compared. Nobody has
  to search for a port. XDP: what is spent where the packets are sent, the
  generator subtracted; daemon: all of its time and its CPU's softirq thread, what
  it spends while it waits for the next burst included. The ratio is of
  masquerade's time to the sum of both; the backup's, which masquerade has not,
  stands beside.

- **Scaling**: n nodes, real daemons, share one CPU with the generator. The factor
  is (T1 - floor) / (Tn - floor) of CPU time: the share of the combined capacity
  that survives clustering. Port translation and replication are on, and clients
  and servers in XDP speak TCP. Routers on both sides spread *connections* (ECMP:
  each direction of a connection meets one node, at random) or *packets* (each
  meets a random node). The time of the link's switch, measured alone, is
  subtracted as often as frames crossed; beside it stands the factor with it.
  Throughput begins when connections are lent, and is of few connections, whose
  entries the caches hold for n nodes as for one, and of many.
  *connections* compares bytes of all entries in all nodes for one connection,
  with their share of the index, at full tables; *short connections* are whole
  lives, from SYN to the last entry's end. What idle daemons take in that time is
  subtracted from both sides (of n machines each pays its own); the factor *with idle
  and switch* has nothing subtracted but the generator. The caches are shared, queues are split
  and daemons displace each other, which n machines do not have: the factors are
  rather too low ([bench/doc.go](../../bench/doc.go) has all limits). *n apart* are
  as many nodes that share the CPU as well and know nothing of each other, each
  connection at one of them: against them only what clustering takes counts. The
  aims are for routers that spread connections, and held against the one node.
- **Tiers**: nodes of unequal capacity behind routers that spread connections evenly. Each
  node has a token bucket in front of all its cables, filled by the requests that are sent
  and not by time; at a load of 1 all together take just what is offered, a packet each for
  request and answer. All figures are counts, and shares of the sum of all capacities.
  *delivered whole*: the largest load of which 99 % is answered. *model*: where the slowest
  node is full by arithmetic. Requests are not repeated. *other losses* are those that no
  bucket refused, with the counters that have grown.
- **Replication**: short TCP connections (3 packets of handshake, 2 of data, 3 of
  close) and UDP connections (one packet each way) through the first of two nodes.
  Bytes are those of the frames that the link's switch sees, both ways, without
  what it carries anyway. CPU is that of both nodes and the kernel on one CPU,
  beyond what one node without a second takes. Peer: two Linux routers with the
  same nftables firewall and conntrackd in mode FTFW.
- **Failover**: two routers with two addresses each lose the active one: all its
  processes are killed while all its cables go dead. Peer: Debian's keepalived (VRRP 3) and
  conntrackd (mode FTFW, its own primary-backup.sh) with the same nftables firewall and source NAT;
  connections that are not known are not picked up in their middle. Not masquerade: that takes the
  router's own address, which dies with it. Cohort: two daemons with port translation to the same
  address, behind routers that spread over both; the control node dies. Timers stand below the
  table: both believe a router dead after the same silence. The same client program:
  UDP flows with a packet every 10 ms, whose longest silence is the blackout, and TCP connections
  with an exchange every 500 ms, whose stall holds the retransmission timers of TCP. A trial begins
  when the survivor has the state of every connection, by its own word. A flow is hit if it was silent
  for more than 200 ms; a UDP flow is lost if it stays silent, or if the server sees it from
  another port. Every trial has a new network; by turns, A B B A.
- **Capacity**: a real daemon is filled with half-open TCP connections through its own first
  packets, and then asked for all of them, while probes pass: every millisecond a UDP connection
  begins, whose first packet Go decides, and gets a second packet, of the fast path, 50 ms later.
  Their time is from before the cable in front of the node to the kernel's time stamp behind the one
  after it. A *turn* is of the daemon's loop, without what it waits: what a packet waits for at most
  before it is looked at. *Computing* is CPU time of the loop's thread, *wall* includes whoever else
  had the CPU. Stop the world is the Go runtime's own histogram, the upper bound of the highest class
  (a quarter of a power of two), of the clock: a stop counts the time that another program has the CPU
  meanwhile. With two nodes the second has a copy of each connection. What ages away in *churn* are
  connections of one packet, two seconds old.
- **Takeover**: three real daemons; the first owns so many UDP connections, the others have the
  copies, about half each. The third is powered off: the time is from the owner's new view until the
  second has copies of all. Then the owner is: from that moment a packet of each of 64 connections is
  sent to the second node every millisecond. The times are from its new view, by its own
  history, to the kernel's time stamp of the first packet of each behind it.

Intervals hold the median with 95 % confidence (order statistics). Of fewer than six rounds they are the
range, which holds it with 94 % (five rounds), 88 % (four), 75 % (three) or 50 % (two).

`

// writeMarkdown stores the report for people.
func (r *Report) writeMarkdown(file string) error {
	var b bytes.Buffer
	name := strings.TrimSuffix(filepath.Base(file), ".md")
	b.WriteString(strings.ReplaceAll(preface, "bench.json", name+".json"))
	if r.Note != "" {
		b.WriteString(r.Note + "\n\n")
	}
	if len(r.Scale) > 0 {
		fmt.Fprintf(&b, "![Factors by nodes](%s.svg)\n\n", name)
	}
	b.WriteString("```\n")
	if err := r.print(&b); err != nil {
		return err
	}
	b.WriteString("```\n")
	return os.WriteFile(file, b.Bytes(), 0o644)
}
