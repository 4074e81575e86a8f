/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The one context that travels through all stages. */
#ifndef COHORT_PACKET_H
#define COHORT_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "layout.h"
#include "maps.h"

#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))
/* The compiler keeps the order of loads; x86 does so too. */
#define barrier() asm volatile("" ::: "memory")

#define TICK_SHIFT 20 /* ns of CLOCK_MONOTONIC to ticks */

/*
 * A struct flow_key as two words, the way XDP hashes and compares it:
 *   addrs = saddr | daddr << 32              (network byte order, as loaded)
 *   rest  = sport | dport << 16 | proto << 32 | zone << 40
 */
struct tuple {
	__u64 addrs;
	__u64 rest;
};

struct packet {
	struct xdp_md *ctx;
	const struct control *control;
	/* Valid until a helper moves the packet; see reload(). */
	void *data;
	void *data_end;
	struct iphdr *ip; /* always 14 bytes into data */
	__u64 now;        /* CLOCK_MONOTONIC, ns, as of the last timer tick */
	struct tuple key;
	__u32 h1;
	__u32 tag;
	__u32 ref;        /* index entry that was found, 0 = none */
	__u32 gen;        /* from the CCL header */
	__u32 out;        /* where a FORWARD outcome sends it */
	__u16 ip_len;     /* IP total length */
	__u16 payload;    /* TCP payload */
	__u8 tcp_flags;
	__u8 iface;       /* logical interface where it entered the cluster */
	__u8 socket;      /* its AF_XDP sockets: XSK_CCL or the logical interface */
	__u8 from;        /* node that forwarded it, 0 = from the wire */
	__u8 hops;
	__u8 entry;       /* node where it entered the cluster */
	__u8 labelled;    /* a fragment that came with its ports */
};

/* Takes the packet's bounds again, after a helper moved them. */
static __always_inline void reload(struct packet *p)
{
	p->data = (void *)(long)p->ctx->data;
	p->data_end = (void *)(long)p->ctx->data_end;
}

static __always_inline __u32 ticks(const struct packet *p)
{
	return (__u32)(p->now >> TICK_SHIFT);
}

/* The same tuple seen from the other side. */
static __always_inline struct tuple reverse(struct tuple t)
{
	__u32 ports = (__u32)t.rest;

	return (struct tuple){
		.addrs = t.addrs << 32 | t.addrs >> 32,
		.rest = (t.rest & ~0xffffffffULL) | (__u32)(ports << 16 | ports >> 16),
	};
}

#endif
