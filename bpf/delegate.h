/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Another node owns the connection and has said how this one may send a
 * direction of it on by itself: one hop instead of two (DESIGN 5). Everything
 * that is not plainly the middle of the connection goes to the owner as before:
 * SYN, FIN and resets, another interface, a packet that does not fit, a next hop
 * that is not there. So does everything once the lease is over, or when the view
 * has changed.
 */
#ifndef COHORT_DELEGATE_H
#define COHORT_DELEGATE_H

#include "lookup.h"
#include "owner.h"

/* What Go wrote, copied while seq stood still. */
struct order {
	struct tuple key;
	struct tuple to; /* in its upper half not protocol and zone but the delta of sequence numbers */
	__u32 lease;
	__u32 view;
	__u32 forward;
	__u16 nh;
	__u8 iface;
	__u8 flags;
};

/* 0 if Go was writing meanwhile. */
static __always_inline int read_delegation(const struct delegation *g, struct order *d)
{
	const __u64 *w = (const __u64 *)&g->to;
	__u32 seq = READ_ONCE(g->seq);

	barrier();
	d->key = load_key(&g->key);
	d->to = (struct tuple){ READ_ONCE(w[0]), READ_ONCE(w[1]) };
	d->nh = READ_ONCE(g->next_hop);
	d->iface = READ_ONCE(g->iface);
	d->flags = READ_ONCE(g->flags);
	d->lease = READ_ONCE(g->lease);
	d->view = READ_ONCE(g->view);
	d->forward = READ_ONCE(g->forward);
	barrier();
	return !(seq & 1) && READ_ONCE(g->seq) == seq;
}

/* The middle of a connection: a segment with ACK and neither beginning nor end. */
static __always_inline int is_plain(const struct packet *p)
{
	return p->ip->protocol != IPPROTO_TCP ||
	       (p->tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK)) == TCP_ACK;
}

static __always_inline int in_force(const struct packet *p, const struct order *d)
{
	return (d->flags & FLOW_LIVE) && (__s32)(d->lease - ticks(p)) > 0 &&
	       d->view == READ_ONCE(p->control->view);
}

/* Protocol and zone are those that it came with. */
static __always_inline struct tuple leaves_as(const struct packet *p, const struct order *d)
{
	return (struct tuple){ d->to.addrs, (p->key.rest & ~0xffffffffULL) | (__u32)d->to.rest };
}

static __always_inline void account_delegation(struct packet *p, struct delegation *g, __u32 shift)
{
	struct tcphdr *tcp = (void *)(p->ip + 1);
	int first = !READ_ONCE(g->packets);
	__u32 end;

	WRITE_ONCE(g->last_seen, ticks(p));
	__sync_fetch_and_add(&g->packets, 1);
	__sync_fetch_and_add(&g->bytes, p->ip_len);
	if (p->ip->protocol != IPPROTO_TCP || (void *)(tcp + 1) > p->data_end)
		return;
	end = bpf_ntohl(tcp->seq) - shift + p->payload;
	if (first || (__s32)(end - g->seq_end) > 0)
		WRITE_ONCE(g->seq_end, end);
	WRITE_ONCE(g->ack, bpf_ntohl(tcp->ack_seq));
	WRITE_ONCE(g->window, bpf_ntohs(tcp->window));
}

/* As in owner.h: both cache lines are on their way before anything waits. */
static __always_inline void prefetch_accounts(const struct delegation *g)
{
	asm volatile("" : : "r"(READ_ONCE(g->last_seen)));
}

/*
 * CONTINUE: the packet is as it came, and for the owner; ref leads to the forward
 * entry. from_wire is a constant: a frame of another node is for the owner to see.
 */
static __always_inline enum outcome send_as_delegate(struct packet *p, int from_wire)
{
	__u32 slot = p->ref >> 1 & 0x3fffffff;
	struct delegation *g = bpf_map_lookup_elem(&delegations, &slot);
	struct order d;
	struct hop h;
	enum outcome o;
	__u32 seq_delta;
	int whole;

	if (!g)
		return not_found(p);
	if (from_wire)
		prefetch_accounts(g);
	whole = read_delegation(g, &d);
	p->ref = REF_FORWARD | d.forward << 1; /* whosever that is: it has a key */
	if (!from_wire || !whole || !same_key(d.key, p->key) || (p->control->flags & CONTROL_SLOW_ONLY))
		return CONTINUE;
	if (!is_plain(p) || !in_force(p, &d))
		return CONTINUE;
	if (d.iface != p->iface || read_nexthop(d.nh, &h) != CONTINUE || p->ip_len > h.mtu)
		return CONTINUE;
	seq_delta = d.to.rest >> 32;
	if ((o = rewrite_tuple(p, leaves_as(p, &d))) != CONTINUE)
		return o;
	if (seq_delta && !shift_sequence(p->ctx, seq_delta, d.flags & FLOW_REPLY))
		return DROP_BAD_L4;
	account_delegation(p, g, own_shift(seq_delta, d.flags & FLOW_REPLY));
	decrement_ttl(p->ip);
	write_macs(p, &h);
	p->out = h.ifindex;
	return FORWARD_DELEGATED;
}

#endif
