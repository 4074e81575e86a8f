/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * This node owns the connection: check, account, rewrite, send. Everything is
 * decided before the first write, so that a packet handed to Go is as it came.
 */
#ifndef COHORT_OWNER_H
#define COHORT_OWNER_H

#include "lookup.h"
#include "sequence.h"

/* What Go decided about one direction, copied while seq stood still. */
struct decision {
	struct tuple key;
	struct tuple new; /* the tuple it leaves with */
	__u32 seq_delta;
	__u16 nh;
	__u8 iface;
	__u8 flags;
};

/* 0 if Go was writing meanwhile. */
static __always_inline int read_flow(const struct flow_slot *f, __u32 dir, struct decision *d)
{
	__u32 seq = READ_ONCE(f->seq);

	barrier();
	d->key = load_key(&f->key[dir]);
	d->new = reverse(load_key(&f->key[!dir]));
	d->nh = READ_ONCE(f->nh[dir]);
	d->iface = READ_ONCE(f->iface[dir]);
	d->flags = READ_ONCE(f->flags);
	d->seq_delta = READ_ONCE(f->seq_delta);
	barrier();
	return !(seq & 1) && READ_ONCE(f->seq) == seq;
}

/*
 * What an established connection may send without Go: segments with ACK, FIN
 * among them; a reset only where the other side expects the next byte (RFC
 * 5961, 3.2).
 */
static __always_inline enum outcome check_tcp(struct packet *p, const struct flow_slot *f, __u32 dir,
					      __u8 flags)
{
	struct tcphdr *tcp = (void *)(p->ip + 1);
	__u8 kind = p->tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK);

	if (kind == TCP_ACK || kind == (TCP_ACK | TCP_FIN))
		return CONTINUE;
	if (kind != TCP_RST && kind != (TCP_RST | TCP_ACK))
		return PUNT_TCP_FLAGS;
	if ((void *)(tcp + 1) > p->data_end)
		return DROP_BAD_L4;
	/* What others forward by themselves this node hears of late: Go asks them. */
	if ((flags & FLOW_DELEGATED) || !(f->seen[!dir] & TCP_ACK) || bpf_ntohl(tcp->seq) != f->ack[!dir])
		return PUNT_TCP_RST;
	return CONTINUE;
}

/* ORs flags into seen[dir]; only the packet that brings a new one pays for it. */
static __always_inline void see_flags(struct flow_slot *f, __u32 dir, __u8 flags)
{
	__u32 *word = (__u32 *)&f->seen[0]; /* with wscale, which Go swaps whole */

	if ((READ_ONCE(f->seen[dir]) & flags) != flags)
		__sync_fetch_and_or(word, (__u32)flags << (8 * dir));
}

/* shift is what the packet's own number has been shifted by: the slot has what the initiator knows. */
static __always_inline void track_tcp(struct packet *p, struct flow_slot *f, __u32 dir, __u32 shift)
{
	struct tcphdr *tcp = (void *)(p->ip + 1);
	__u32 end;

	if ((void *)(tcp + 1) > p->data_end)
		return;
	end = bpf_ntohl(tcp->seq) - shift + p->payload + (p->tcp_flags & TCP_FIN);
	if ((__s32)(end - f->seq_end[dir]) > 0 || !f->seen[dir])
		WRITE_ONCE(f->seq_end[dir], end);
	if (p->tcp_flags & TCP_ACK) {
		WRITE_ONCE(f->ack[dir], bpf_ntohl(tcp->ack_seq));
		WRITE_ONCE(f->window[dir], bpf_ntohs(tcp->window));
	}
	see_flags(f, dir, p->tcp_flags);
}

/*
 * Leaves a mark which node forwards this direction here. A store of one byte
 * beside atomic additions to the same word: neither undoes the other.
 */
static __always_inline void mark_via(const struct packet *p, struct flow_slot *f, __u32 dir)
{
	__u8 *via = (__u8 *)&f->packets[dir] + VIA_SHIFT / 8;

	if ((READ_ONCE(f->packets[dir]) & VIA_SAMPLE) == VIA_FIRST && READ_ONCE(*via) != p->entry)
		WRITE_ONCE(*via, p->entry);
}

static __always_inline void account_flow(struct packet *p, struct flow_slot *f, __u32 dir, __u32 shift)
{
	WRITE_ONCE(f->last_seen[dir], ticks(p));
	if (p->ip->protocol == IPPROTO_TCP)
		track_tcp(p, f, dir, shift);
	if (p->from)
		mark_via(p, f, dir);
	__sync_fetch_and_add(&f->packets[dir], 1);
	__sync_fetch_and_add(&f->bytes[dir], p->ip_len);
}

/* Where the packet goes next: Go's seq word as in a slot. */
struct hop {
	__u32 mac[3]; /* destination, source */
	__u32 ifindex;
	__u32 mtu;
};

static __always_inline enum outcome read_nexthop(__u32 number, struct hop *h)
{
	const struct nexthop *n = bpf_map_lookup_elem(&nexthops, &number);
	const __u32 *mac = (const __u32 *)n;
	__u32 seq;
	__u8 flags;

	if (!n || !number)
		return PUNT_NO_NEXTHOP;
	seq = READ_ONCE(n->seq);
	barrier();
	h->mac[0] = READ_ONCE(mac[0]);
	h->mac[1] = READ_ONCE(mac[1]);
	h->mac[2] = READ_ONCE(mac[2]);
	h->ifindex = READ_ONCE(n->ifindex);
	h->mtu = READ_ONCE(n->mtu);
	flags = READ_ONCE(n->flags);
	barrier();
	if ((seq & 1) || READ_ONCE(n->seq) != seq)
		return PUNT_BUSY;
	return flags & NEXTHOP_VALID ? CONTINUE : PUNT_NO_NEXTHOP;
}

static __always_inline void write_macs(struct packet *p, const struct hop *h)
{
	__u32 *mac = p->data;

	mac[0] = h->mac[0];
	mac[1] = h->mac[1];
	mac[2] = h->mac[2];
}

/* All that can send the packet to Go instead. */
static __always_inline enum outcome judge(struct packet *p, const struct flow_slot *f, __u32 dir,
					  const struct decision *d, struct hop *h)
{
	enum outcome o;

	if (p->control->flags & CONTROL_SLOW_ONLY)
		return PUNT_SLOW_ONLY;
	if (d->flags & FLOW_PUNT)
		return PUNT_FLOW;
	if (d->iface && d->iface != p->iface)
		return PUNT_WRONG_IFACE;
	if (p->ip->protocol == IPPROTO_TCP && (o = check_tcp(p, f, dir, d->flags)) != CONTINUE)
		return o;
	if ((o = read_nexthop(d->nh, h)) != CONTINUE)
		return o;
	return p->ip_len > h->mtu ? PUNT_TOO_BIG : CONTINUE;
}

/*
 * Starts loading the second cache line while the first is on its way. Nobody
 * waits for the value: atomic operations would wait for both, one by one.
 */
static __always_inline void prefetch_tail(const struct flow_slot *f)
{
	asm volatile("" : : "r"(READ_ONCE(f->last_seen[0])));
}

static __always_inline enum outcome send_as_owner(struct packet *p)
{
	__u32 slot = p->ref >> 1 & 0x3fffffff;
	__u32 dir = p->ref & 1;
	struct flow_slot *f = bpf_map_lookup_elem(&flows, &slot);
	struct decision d;
	struct hop h;
	enum outcome o;

	if (!f)
		return not_found(p);
	prefetch_tail(f);
	if (!read_flow(f, dir, &d))
		return PUNT_BUSY;
	if (!same_key(d.key, p->key) || !(d.flags & FLOW_LIVE))
		return not_found(p);
	if ((o = judge(p, f, dir, &d, &h)) != CONTINUE)
		return o;
	if ((o = rewrite_tuple(p, d.new)) != CONTINUE)
		return o;
	if (d.seq_delta && !shift_sequence(p->ctx, d.seq_delta, dir))
		return DROP_BAD_L4;
	account_flow(p, f, dir, own_shift(d.seq_delta, dir));
	decrement_ttl(p->ip);
	write_macs(p, &h);
	p->out = h.ifindex;
	return p->from ? FORWARD_OWNER_CCL : FORWARD_OWNER;
}

#endif
