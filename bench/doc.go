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
//
// Everything happens in network namespaces that the program makes and removes.
package main
