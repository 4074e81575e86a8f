// Package topology builds a whole network in namespaces on one machine: clients
// and servers, two Linux routers with ECMP, and between them the nodes of a
// cluster, as real daemons or as plain Linux forwarders.
//
//	 c1, c2 ...                10.0.x.10/24, router 10.0.x.250
//	     |
//	    rin                    downstream router, ECMP or spraying over 10.1.0.1..n
//	     | bridge inside       10.1.0.0/24, router 10.1.0.250, cluster 10.1.0.254
//	  +--+--+--+
//	fw-a ... fw-d              in0, out0, ccl0, mgmt0 on each
//	  +--+--+--+
//	     | bridge outside      198.51.100.0/24, router .250, cluster .254
//	    rout                   upstream router, ECMP or spraying over 198.51.100.1..n
//	     | bridge servers      192.0.2.0/24, router 192.0.2.250
//	 s1, s2 ...                192.0.2.1..
//
//	sw: bridge ccl             10.99.0.0/24, MTU of data + 154, nobody else on it
//	    bridge mgmt            192.168.100.0/24, the switch itself is .250
//
// Routers are .250 everywhere, because .254 is the cluster address. Behind rout
// 203.0.113.0/24 leads to the nodes too, for translated addresses.
//
// The routers hash addresses, protocol and ports (policy 3, fields 0x37) with
// different seeds, so the two directions of a connection usually meet different
// nodes. In spray mode every single packet takes a random node instead. Each
// router pings its next hops and withdraws the silent ones by itself (package
// track); nothing tells it about the cluster.
//
// Every Topology has names of its own and may exist beside others. Close
// removes all of it; what a killed process left is removed by the next New.
// IPv6 is off inside, so that no background packet disturbs a count.
package topology
