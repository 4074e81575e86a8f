/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every way a packet can leave an XDP program, once. The number is the index
 * into the counters map and, for PUNT, the reason that Go finds in struct punt.
 *
 * Numbers are never reused and never change: dashboards, logs and pinned maps
 * of older daemons know them. New ones go to the end of their range:
 *   1-15 PASS (to the host), 16-31 FORWARD, 32-79 PUNT (to Go), 80-127 DROP.
 * reasons.go is generated from this list; keep one X(...) a line.
 */
#ifndef COHORT_REASONS_H
#define COHORT_REASONS_H

#define OUTCOMES(X)                                                                                          \
	X(1, PASS, ARP, "ARP is the host's own business.")                                                   \
	X(2, PASS, LOCAL, "The destination is an address of this node.")                                     \
	X(3, PASS, MULTICAST, "The destination is multicast, broadcast or link-local, which is never routed.") \
	X(4, PASS, IPV6_LINK, "IPv6 to a link-local destination, unicast or multicast, such as neighbour discovery.") \
	X(5, PASS, OTHER, "Neither IPv4, IPv6 nor ARP; the host drops what it has no use for.")              \
	X(6, PASS, CCL_CONTROL, "A VXLAN frame of our VNI on the CCL that is not a forwarded data frame.")   \
	X(7, PASS, CCL_OTHER, "Anything on the CCL that is not VXLAN to our VTEP.")                          \
	X(8, PASS, IPV6_LOCAL, "The IPv6 destination is an address of this node.")                           \
	X(16, FORWARD, OWNER, "Sent on by its owner, straight from the interface it came in on.")            \
	X(17, FORWARD, OWNER_CCL, "Sent on by its owner after another node forwarded it over the CCL.")      \
	X(18, FORWARD, CCL, "Encapsulated and sent over the CCL to its owner.")                              \
	X(19, FORWARD, STEERED, "Encapsulated and sent over the CCL to the director of the NAT unit it is addressed to.") \
	X(20, FORWARD, RELAYED, "Sent on over the CCL to its owner by the director of the NAT unit it is addressed to.") \
	X(21, FORWARD, DELEGATED, "Sent on by a node that does not own the connection but has a delegation of its owner.") \
	X(32, PUNT, MISS, "No entry is known for the packet's tuple.")                                       \
	X(33, PUNT, SLOW_ONLY, "The fast path is switched off.")                                             \
	X(34, PUNT, FRAGMENT, "The packet is an IP fragment.")                                               \
	X(35, PUNT, TTL_EXCEEDED, "The time to live ends here.")                                             \
	X(36, PUNT, ICMP_ERROR, "An ICMP error belongs to the connection that it quotes.")                   \
	X(37, PUNT, BUSY, "Go was rewriting the entry while it was read.")                                   \
	X(38, PUNT, FLOW, "Go asked to see every packet of this connection.")                                \
	X(39, PUNT, TCP_FLAGS, "A SYN, or a combination of TCP flags that no established connection sends.") \
	X(40, PUNT, TCP_RST, "A reset whose sequence number is not the one last acknowledged (RFC 5961).")   \
	X(41, PUNT, NO_NEXTHOP, "The next hop is not resolved.")                                             \
	X(42, PUNT, TOO_BIG, "The packet is larger than the MTU towards the next hop.")                      \
	X(43, PUNT, STALE_FORWARD, "The forward entry names an owner that died or was restarted.")           \
	X(44, PUNT, IP_OPTIONS, "The IP header carries options.")                                            \
	X(45, PUNT, WRONG_IFACE, "The packet came in on another interface than its connection uses.")        \
	X(46, PUNT, NOT_OWNER, "Another node sent it here as to the owner, but the owner is a third node.")  \
	X(47, PUNT, LABELLED, "An IP fragment, which its fragment owner has sent here together with its ports.")                                \
	X(80, DROP, LEASE_EXPIRED, "The daemon did not renew its lease: the node fails closed.")             \
	X(81, DROP, FENCED, "The node is in no view of the cluster and must not forward.")                   \
	X(82, DROP, UNKNOWN_IFACE, "The program runs on an interface that is not configured.")               \
	X(83, DROP, OTHER_HOST, "The Ethernet destination is another machine.")                              \
	X(84, DROP, IPV6_TRANSIT, "IPv6 to somebody else: it is not forwarded.")                                          \
	X(85, DROP, BAD_IP, "The IP header is malformed or longer than the packet.")                         \
	X(86, DROP, BAD_L4, "The transport header is malformed or longer than the packet.")                  \
	X(87, DROP, NO_SLOW_PATH, "No socket of the daemon serves this receive queue.")                      \
	X(88, DROP, NO_METADATA, "The driver has no room for the metadata in front of a punted packet.")     \
	X(89, DROP, NO_HEADROOM, "The driver has no room for the CCL headers.")                              \
	X(90, DROP, WRONG_VNI, "A VXLAN frame on the CCL with another network's VNI.")                       \
	X(91, DROP, BAD_FRAME, "A frame on the CCL whose VXLAN or cluster header is malformed, or behind IPv6 extension headers.")             \
	X(92, DROP, BAD_VIEW, "A data frame on the CCL sent under another view of the cluster.")             \
	X(93, DROP, UNKNOWN_PEER, "A data frame on the CCL from an address that is not its sender's.")       \
	X(94, DROP, HOP_LIMIT, "A data frame on the CCL was passed on too often.")                           \
	X(95, DROP, STRAY_VXLAN, "VXLAN to this node on a data interface: it belongs on the CCL alone (CL1).")

#define OUTCOME_ENUM(number, kind, name, description) kind##_##name = number,

/* CONTINUE is what a stage returns to let the next one look. */
enum outcome {
	CONTINUE = 0,
	OUTCOMES(OUTCOME_ENUM)
	NR_OUTCOMES = 128,
};

#define FIRST_FORWARD 16
#define FIRST_PUNT 32
#define FIRST_DROP 80

#endif
