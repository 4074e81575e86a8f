/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Another node owns the connection: send the packet there. A forwarder judges
 * nothing but whether that node still lives: SYN, RST and everything odd go to
 * the owner, whose business they are, with the time to live they came with.
 */
#ifndef COHORT_FORWARD_H
#define COHORT_FORWARD_H

#include "encap.h"
#include "lookup.h"

/* What Go decided, copied while seq stood still. */
struct destination {
	struct tuple key;
	__u32 gen;
	__u8 owner;
	__u8 incarnation;
	__u8 flags;
};

/* 0 if Go was writing meanwhile. */
static __always_inline int read_forward(const struct forward_slot *f, struct destination *d)
{
	__u32 seq = READ_ONCE(f->seq);

	barrier();
	d->key = load_key(&f->key);
	d->gen = READ_ONCE(f->gen);
	d->owner = READ_ONCE(f->owner);
	d->incarnation = READ_ONCE(f->incarnation);
	d->flags = READ_ONCE(f->flags);
	barrier();
	return !(seq & 1) && READ_ONCE(f->seq) == seq;
}

/* The owner, if it is still the one that the entry was made for. */
static __always_inline const struct member *living_owner(const struct destination *d)
{
	__u32 id = d->owner;
	const struct member *m = bpf_map_lookup_elem(&members, &id);

	if (!m || !(READ_ONCE(m->flags) & MEMBER_ALIVE) || READ_ONCE(m->incarnation) != d->incarnation)
		return NULL;
	return m;
}

static __always_inline void account_forward(const struct packet *p, struct forward_slot *f)
{
	WRITE_ONCE(f->last_seen, ticks(p));
	__sync_fetch_and_add(&f->packets, 1);
	__sync_fetch_and_add(&f->bytes, p->ip_len);
}

static __always_inline enum outcome send_to_owner(struct packet *p)
{
	__u32 slot = p->ref >> 1 & 0x3fffffff;
	struct forward_slot *f = bpf_map_lookup_elem(&forwards, &slot);
	const struct member *owner;
	struct destination d;
	enum outcome o;

	if (!f)
		return not_found(p);
	if (!read_forward(f, &d))
		return PUNT_BUSY;
	if (!same_key(d.key, p->key) || !(d.flags & FLOW_LIVE))
		return not_found(p);
	if (p->control->flags & CONTROL_SLOW_ONLY)
		return PUNT_SLOW_ONLY;
	if (p->from)
		return PUNT_NOT_OWNER;
	owner = living_owner(&d);
	if (!owner)
		return PUNT_STALE_FORWARD;
	o = encapsulate(p, owner, d.gen);
	if (o == FORWARD_CCL)
		account_forward(p, f);
	return o;
}

#endif
