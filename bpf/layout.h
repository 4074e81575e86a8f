/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Memory that XDP and Go share. The Go side of every struct is in
 * flowtable/layout.go (table) and dataplane/shared.go (the rest); a test
 * compares offsets and sizes through BTF.
 *
 * Who writes what:
 *   flow_slot bytes 0-63     Go, under the sequence word (odd = being written)
 *   flow_slot bytes 64-127   XDP, single words, last writer wins; counters atomic
 *   forward_slot 0-31        Go, under the sequence word
 *   forward_slot 32-47       XDP
 *   delegation 0-63, 94-95   Go, under the sequence word; id once, before anybody can find it
 *   delegation 64-93         XDP
 *   index entries            Go, one 64-bit store each
 *   nat_units                Go, one byte each
 * XDP never allocates, moves or frees anything.
 */
#ifndef COHORT_LAYOUT_H
#define COHORT_LAYOUT_H

#include <linux/types.h>

#define LAYOUT_VERSION 7

#define MAX_NODES 64
#define MAX_IFACES 32
#define MAX_NEXTHOPS 4096
#define MAX_NAT_ADDRS 1024
#define MAX_NAT_UNITS 32768
#define NAT_UNITS_LINE 64
#define BUCKET_ENTRIES 8

/* One direction of a connection; ports in host byte order, ICMP as FR9. */
struct flow_key {
	__be32 saddr;
	__be32 daddr;
	__u16 sport;
	__u16 dport;
	__u8 proto;
	__u8 zone;
	__u16 zero;
};

/*
 * Index: two-choice buckets of eight entries. An entry is tag << 32 | ref, 0 is
 * empty. ref = kind << 31 | slot << 1 | direction; slot 0 is never used. A forward
 * entry has no direction: that bit says that slot is one of delegations, which
 * leads on to the forward slot, for the packets that a delegate leaves alone.
 * bucket 1 = h1 & mask, bucket 2 = bucket 1 ^ ((tag * 0x9e3779b1 | 1) & mask).
 */
#define REF_FORWARD 0x80000000u
#define REF_DELEGATED 1u
#define TAG_MIX 0x9e3779b1u

struct index_bucket {
	__u64 entry[BUCKET_ENTRIES];
};

/* flow_slot.flags */
#define FLOW_LIVE 0x01        /* slot holds a flow */
#define FLOW_PUNT 0x02        /* every packet goes to Go */
#define FLOW_PROVISIONAL 0x04 /* the claim has not been answered */
#define FLOW_DELEGATED 0x08   /* owner: others may forward parts of it; forwarder: delegation says how */
#define FLOW_REPLY 0x10       /* delegation: of the responder's direction */

/* The owner's entry of one connection: one flow, two directions. */
struct flow_slot {
	struct flow_key key[2]; /* as received from the initiator; from the responder */
	__u32 seq;
	__u32 gen;          /* ownership generation, granted by the director */
	__u16 nh[2];        /* next hop of direction d, 0 = ask Go */
	__u8 iface[2];      /* logical interface where direction d enters */
	__u8 state;         /* TCP state, see flowtable/tcp.go */
	__u8 flags;
	__u16 rule;
	__u16 timeout;      /* idle timeout, seconds */
	__u32 created;      /* ticks */
	__u32 seq_delta;    /* TCP: added to the initiator's sequence numbers (sequence.h), 0 = none */
	__u8 backup;        /* who was sent the newest state, see flowtable/copied.go; not for XDP */
	__u8 replication;
	__u8 stub;          /* node that was given the second key, 0 = none */
	__u8 copied;        /* how much of the state that node has, see flowtable/copied.go */

	__u32 last_seen[2]; /* ticks: CLOCK_MONOTONIC ns >> 20 */
	__u64 packets[2];   /* of them the top byte: VIA_SHIFT */
	__u64 bytes[2];     /* IP total length */
	__u32 seq_end[2];   /* highest sequence number sent, + 1 past payload and flags; as the initiator knows it */
	__u32 ack[2];       /* last acknowledgement sent; as the initiator knows it */
	__u16 window[2];    /* last window sent, unscaled */
	__u8 seen[2];       /* TCP flags seen, ORed */
	__u8 wscale[2];     /* window shift, 0xff = unknown; Go writes it once */
} __attribute__((aligned(64)));

/*
 * The top byte of packets[] is a node: where a packet of this direction entered
 * that another node sent here, as a sample. Go takes it as a hint whom to offer a
 * delegation, and clears it. The count has 56 bits, which are 20,000 years of
 * 100 million packets a second.
 */
#define VIA_SHIFT 56
#define VIA_SAMPLE 15 /* one packet in 16 leaves its mark, */
#define VIA_FIRST 4   /* beginning with the fifth of a direction: it has more to say than a handshake */

/* What a forwarder caches: who owns this direction. */
struct forward_slot {
	struct flow_key key;
	__u32 seq;
	__u32 gen;
	__u8 owner;         /* node id */
	__u8 incarnation;   /* low byte of the owner's incarnation tag */
	__u8 iface;
	__u8 flags;
	__u32 delegation;   /* with FLOW_DELEGATED: index into delegations; not for XDP */
	__u32 last_seen;
	__u32 packets;      /* modulo 2^32; who counts is the owner */
	__u64 bytes;
};

/* A tuple without what translation leaves alone: protocol and zone. */
struct endpoints {
	__be32 saddr;
	__be32 daddr;
	__u16 sport;
	__u16 dport;
};

/*
 * What the owner has told a forwarder to do with a direction by itself (DESIGN 5).
 * It is in force until lease, in the view with this tag, and dead without
 * FLOW_LIVE. As an owner's entry: the index leads here, and the second of two cache
 * lines can be asked for together with the first.
 */
struct delegation {
	struct flow_key key; /* as received */
	struct endpoints to; /* what it leaves with */
	__u32 seq_delta;    /* as in flow_slot */
	__u32 seq;
	__u16 next_hop;
	__u8 iface;         /* logical interface where the direction enters */
	__u8 flags;         /* FLOW_LIVE, FLOW_REPLY */
	__u32 lease;        /* ticks: in force before that */
	__u32 view;         /* view tag */
	__u32 forward;      /* the forward slot of this direction */
	__u32 pad[3];

	__u64 packets;
	__u64 bytes;
	__u32 last_seen;
	__u32 seq_end;      /* as in flow_slot */
	__u32 ack;
	__u16 window;
	__u16 id;           /* tells it from others of the same direction and node */
	__u64 zero[4];
} __attribute__((aligned(64)));

/* A resolved neighbour. Go writes; XDP only reads. */
#define NEXTHOP_VALID 0x1
struct nexthop {
	__u8 dmac[6];
	__u8 smac[6];
	__u32 ifindex;
	__u16 mtu;
	__u8 iface;         /* logical interface */
	__u8 flags;
	__u32 seq;
	__u32 pad[2];
};

/* One cluster node, index = node id. */
#define MEMBER_ALIVE 0x1
#define MEMBER_SELF 0x2
struct member {
	__be32 vtep[4];     /* IPv6, or IPv4 mapped into it: vtep[3] */
	__u8 mac[6];        /* outer destination MAC */
	__u8 flags;
	__u8 incarnation;   /* low byte of the incarnation tag */
	__u8 pad[8];
};

/* One data interface, index = logical interface id (1..MAX_IFACES-1). */
struct iface {
	__u32 ifindex;
	__u8 mac[6];
	__u16 mtu;
	__u32 pad;
};

/*
 * How the ports of one translated address are cut into units (NT2), which are
 * numbered through all addresses.
 */
struct nat_address {
	__u32 first_unit;
	__u16 first_port;
	__u16 last_port;
	__u16 block_size;   /* ports a unit; 0 = the address is one unit, whatever the port */
	__u16 pad;
};

/*
 * Who directs each unit: node ids, 0 = nobody, one cache line of them. Unit u is
 * byte u % NAT_UNITS_LINE of line u / NAT_UNITS_LINE, so that to Go the map is
 * one array of bytes, and here no index needs a bound that the verifier of 6.1
 * would lose when it is spilled.
 */
struct nat_units {
	__u8 director[NAT_UNITS_LINE];
};

/* Everything else, one element. */
#define CONTROL_SLOW_ONLY 0x1 /* fast path off: every packet to Go */
struct control {
	__u64 lease;        /* CLOCK_MONOTONIC ns; past it nothing is forwarded */
	__u64 hash_seed[10];
	__u32 layout;       /* LAYOUT_VERSION */
	__u32 index_mask;   /* buckets - 1 */
	__u32 flow_slots;
	__u32 forward_slots;
	__u32 view;         /* current view tag, see wire.View.Tag; 0 = fenced */
	__u32 prev_view;    /* still accepted on the CCL */
	__u32 ccl_ifindex;
	__be32 ccl_vtep[4]; /* as in struct member */
	__u8 ccl_mac[6];
	__u8 self;          /* node id, 0 = none */
	__u8 flags;
	__u32 vni;
};

/*
 * A forwarded data frame on the CCL:
 * Ethernet | IPv4 or IPv6 | UDP 4789 | VXLAN | inner Ethernet (CCL_ETHERTYPE) | ccl_header | IP packet
 */
#define CCL_ETHERTYPE 0x88b5 /* IEEE 802 local experimental */
#define CCL_HEADER_VERSION 1
#define CCL_DATA 1
#define CCL_FRAGMENT 2 /* a fragment, and its ports, as the fragment owner knows them */
#define CCL_MAX_HOPS 3
struct ccl_header {
	__u8 version;
	__u8 type;
	__u8 src;           /* node id that sent this hop */
	__u8 hops;
	__be32 view;        /* view tag of the sender */
	__u8 iface;         /* logical interface where the packet entered the cluster */
	__u8 entry;         /* node id where the packet entered the cluster */
	__be16 zero;
	__be32 gen;         /* CCL_FRAGMENT: the ports, source << 16 | destination */
};

/* In front of every packet handed to Go (XDP metadata; 32 bytes is all 6.1 allows). */
#define PUNT_MAGIC 0xc0
struct punt {
	__u8 magic;
	__u8 reason;        /* enum punt_reason */
	__u8 iface;         /* logical interface where the packet entered the cluster */
	__u8 from;          /* node that forwarded it, 0 = from the wire */
	__u16 l3_off;       /* IP header, from the start of the packet data */
	__u8 hops;
	__u8 entry;
	__u32 view;
	__u32 gen;          /* from the CCL header: with PUNT_LABELLED the ports */
	__u32 ref;          /* index ref that was found, 0 = none */
	__u32 h1;
	__u32 tag;
	__u32 pad;
};

#endif
