/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Handing a packet to Go, with all that XDP found out about it in front. */
#ifndef COHORT_PUNT_H
#define COHORT_PUNT_H

#include "packet.h"

_Static_assert(sizeof(struct punt) == 32, "Linux 6.1 allows 32 bytes of metadata");

/* Not inlined: the path is cold, and its arguments put struct punt into BTF. */
static __noinline void write_punt(const struct packet *p, struct punt *m, enum outcome reason)
{
	m->magic = PUNT_MAGIC;
	m->reason = reason;
	m->iface = p->iface;
	m->from = p->from;
	m->l3_off = ETH_HLEN;
	m->hops = p->hops;
	m->entry = p->entry;
	m->view = p->control->view;
	m->gen = p->gen;
	m->ref = p->ref;
	m->h1 = p->h1;
	m->tag = p->tag;
	m->pad = 0;
}

/* The packet goes to the socket of the queue it came in on, or nowhere. */
static __always_inline enum outcome punt(struct packet *p, enum outcome reason)
{
	__u32 queue = p->ctx->rx_queue_index;
	__u32 socket = p->socket * XSK_QUEUES + queue;
	struct punt *m;

	if (queue >= XSK_QUEUES || !bpf_map_lookup_elem(&xsks, &socket))
		return DROP_NO_SLOW_PATH;
	if (bpf_xdp_adjust_meta(p->ctx, -(int)sizeof(struct punt)))
		return DROP_NO_METADATA;
	m = (void *)(long)p->ctx->data_meta;
	if ((void *)(m + 1) > (void *)(long)p->ctx->data)
		return DROP_NO_METADATA;
	write_punt(p, m, reason);
	p->out = socket;
	return reason;
}

#endif
