// Command bench measures Cohort against what Linux does by itself, on one
// machine and in the same minutes, and writes the figures as JSON with all that
// is needed to judge them.
//
// Absolute figures mean little on a shared machine. What is compared is
// measured alternately (A B B A), its ratio is formed round by round, and the
// median of the rounds is reported with an interval. Rounds in which somebody
// else had the CPU are thrown away and repeated.
//
//	roles      ns of the XDP programs by role, by prog-run, at 1k, 64k, 1M flows
//	path       ns per packet through a whole node, against Linux forwarding and
//	           nftables conntrack forwarding
//	connect    new connections per second of CPU through the daemon
//	nat-path   the same for translated connections, against nftables masquerade,
//	           and the way of a reply that meets another node than its owner
//	nat-connect  CPU time of a new translated connection, against masquerade
//	memory     bytes per entry, and resident memory at a million flows
//	scale      what survives of the combined capacity of n nodes, three factors
//	tiers      what a cluster delivers whose nodes can take unequal loads
//	link       what replication costs the link and the CPU, against conntrackd
//	failover   what flows notice of the death of one of two routers, against
//	           keepalived with conntrackd
//	capacity   pauses and memory of a node with millions of connections, while
//	           they age, are shown and counted, and others come and go
//	takeover   from the new view to the first packets at the survivor, and until
//	           all has a copy again, by the number of connections
//
// # How scale measures n nodes on one machine
//
// All nodes are real daemons in namespaces, and all of them, the generator and
// the kernel for both share one CPU. T is CPU time per packet or per connection,
// summed over all nodes; floor is what the generator takes alone, with as many
// cables. One node that has the CPU alone handles 1/(T1 - floor) a second; n
// nodes with a CPU each would handle n/(Tn - floor). So
//
//	factor = (T1 - floor) / (Tn - floor)
//
// is the share of the combined capacity that survives clustering. Neither needs
// n CPUs, and both are measured by turns, A B C C B A, in the same minutes.
//
// Clients and servers are stateless XDP programs (traffic.Talk) that speak TCP:
// handshake, data both ways, close. They send to a random node, either each
// packet or each connection's packets of one direction, as routers with ECMP do
// on both sides. The cluster has port translation and replication on.
//
//	throughput   data of open connections and its answers, through the tables
//	             that the daemons filled. Of 1,024 connections, which the caches of
//	             the one CPU hold for n nodes as they do for one, and of 16,384. A
//	             sample begins when hardly a packet crosses the link any more
//	connections  bytes of all entries of all nodes for a connection, index
//	             included, against the one entry at a single node. Nothing is
//	             forwarded or lent at that moment
//	rate         whole short connections, until no node has an entry of them:
//	             registration, copies, the second key, closing
//
// A second figure compares with n nodes that share the CPU as well and know
// nothing of each other, each connection at one of them. That holds what sharing
// a CPU does to n nodes (caches, switches of processes, smaller batches) against itself,
// and leaves what clustering does.
//
// What the method cannot see, and which way it errs:
//
//   - One CPU means one set of caches. n nodes' tables, daemons and BPF maps
//     displace each other there; on n machines they would not. The factor comes
//     out too low, the more so the more nodes and connections.
//   - Daemons of n nodes wake up one after the other on the CPU. Each switch of
//     processes is paid here and would not be there: too low again, for the rate.
//     Every node gets as many first packets at once as a single one.
//   - Throughput is of connections that are lent already and stay: no first packets, no
//     entries that come and go. Connections is of those whose packets do not cross: where
//     they do, a forward entry comes on top, and a delegation where it is lent. Both too
//     high for a cluster that does all of it at once.
//   - There is no NIC and no driver: a frame costs a veth's queue and redirect.
//     What a real NIC costs alike for one node and n is in neither, and would
//     move the factor towards that of the frames.
//   - The link's switch is a machine of its own elsewhere. Here it takes the same
//     CPU; what it takes is measured by itself, times the crossings counted, and
//     subtracted. Both figures are reported.
//   - A batch of the generator, 64 packets of data, is split over n nodes' queues, so
//     that each node sees smaller batches than a single one does: too low. First packets
//     are not: n times as many are sent before any daemon looks at one.
//   - The daemons' own times (what waits 0.5 ms for others on the link, acknowledgements
//     after 1 ms) are of the clock, which n nodes on one CPU spend n times as much of for
//     the same work. Fewer messages meet in a datagram: too low for the rate, the more so
//     the more nodes.
//   - What daemons take with nothing to do (heartbeats, timers, ageing of tables)
//     is per node and second, not per packet: on n machines each pays its own, and
//     one that is busy pays less of it. It is measured without traffic, after the
//     tables were used and again before each part, and subtracted: of n nodes from
//     Tn, of one from T1. The report of the rate shows how much that was, and
//     beside the factor the raw one, from which neither that nor the switch is subtracted;
//     that of throughput does not. A sample on a busy machine lasts longer and holds more
//     of it.
//   - What daemons do beyond that while data flows (leases and counters of what is lent,
//     and acknowledgements) is per second, connection and pair of nodes, not per packet.
//     It stays in the factor, and n nodes on one CPU have n times the pairs of a node
//     on n: too low with many nodes. The report shows its time, and beside the factor
//     that without any of it, which is an upper bound of what the packets alone cost:
//     packets that interrupted a daemon are missing, and leases would remain.
//   - The questions that tell whether the last entry has gone are work of the
//     daemons, too, and stay in: one in 200 ms until it has.
//   - The CPU time of interrupts that hit other processes is nobody's. What
//     others had of the CPU is seen in steps of 10 ms, and decides which rounds
//     count. The nodes of the other talks, which idle on it all the time, are not
//     among these others.
//   - Imbalance is not in it: the capacity of a cluster ends when its busiest
//     node is full, whereas here all work is summed. Tiers show that.
//
// # How tiers shows nodes that are full
//
// The nodes are real daemons with port translation and copies. Each has a token bucket
// (traffic.Tiers) in front of all cables that lead to it: from the routers on both sides,
// and data frames of the control link. The buckets are the generator's and the switch's,
// not the product's, and are filled by the requests that are sent and not by time. A
// request and its answer are two packets, and at a load of 1 all buckets together take
// just these, each its share (-tiers 1:1:1:0.5). So how busy the machine is changes
// nothing, and neither does what a node costs: all figures are counts.
//
// Routers spread connections evenly over the nodes, slow or fast. One cluster for each way
// of forwarding, with all its connections open, is put behind each set of tiers and
// offered one load after the other. With delegation a load begins when hardly a packet
// crosses any more. Reported are, as shares of the sum of all capacities,
//
//	throughput   what is answered at each load
//	whole        the largest load of which 99 % is answered, and of all smaller ones
//	model        the same by arithmetic: each of n nodes gets (2 + crossings) / n packets
//	             of a request, so the slowest is full at n min/sum 2 / (2 + crossings);
//	             owner-only (n-1)/n answers cross, with delegation none
//	most         the largest throughput, whatever is lost meanwhile
//
// What is lost has a name: a bucket's refusal by node, else the counters of nodes and
// interfaces that have grown. A load of which only interfaces lost something is offered
// again, as samples of scale are.
//
// What the method cannot see, and which way it errs:
//
//   - A packet is a packet: one that crosses, is delegated or is translated takes as much
//     of a node as any other. In time a crossing one costs its owner less than a first
//     look does, and a small packet as much as a large one: factors of scale tell that.
//   - A request that is refused has no answer, and nobody sends it again or slows down, as
//     TCP would. The nodes behind get less than they would: above the load that is
//     delivered whole, throughput is rather too high.
//   - A bucket saves up some batches of the generator, no more; a real node has queues.
//   - Control frames are free, and so are first packets: all connections are open before
//     the first load, and what a new one costs (scale) is not in it.
//   - Buckets are not the product's performance tiers (EL8), which refuse nothing but
//     joiners that are too unlike.
//
// # How capacity fills a node
//
// With first packets, some thousands of connections at a time: the next ones are offered
// when the node owns these. A SYN is never for the fast path, so that what is repeated
// meets Go as what is new does, and a ring that is full drops either. So what is repeated
// is a window and not all of it, and the rate goes down to what the node takes.
// FillSeconds is the time until all were there: of a generator that looks and repeats,
// and nobody's rate of new connections (connect has that).
//
// Pauses are upper bounds of the runtime's classes of time by the clock. They end when the
// thread that started the others again looks at the clock. On two CPUs with a generator, one
// that it woke often has its CPU by then: traces show the loop back at work 0.26 ms after
// a pause began that counts as one of 1.03 ms. What packets notice is in the first packets
// and in the loop's turns by the clock; what somebody adds who stops late, in the stopping.
//
// Everything happens in network namespaces that the program makes and removes.
package main
