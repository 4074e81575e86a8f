/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Another node owns the connection: send the packet there. A forwarder judges
 * nothing but whether that node still lives: SYN, RST and everything odd go to
 * the owner, whose business they are, with the time to live they came with. What the
 * owner has delegated (delegate.h) leaves from here.
 */
#ifndef COHORT_FORWARD_H
#define COHORT_FORWARD_H

#include "delegate.h"
#include "lookup.h"
#include "steer.h"

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
	const struct member *m = peer(d->owner);

	return m && READ_ONCE(m->incarnation) == d->incarnation ? m : NULL;
}

/*
 * May a frame that another node sent here go on to a third? Only where its
 * sender had to ask this node of all: it is addressed to a unit of ours, whose
 * connection was taken over. Not back to the sender, and not past the hop
 * limit, so that nodes which disagree cannot keep a packet between them.
 */
static __always_inline int may_relay(const struct packet *p, const struct destination *d)
{
	__u8 self = p->control->self;

	return p->hops < CCL_MAX_HOPS && d->owner != p->from && self && director(p) == self;
}

static __always_inline void account_forward(const struct packet *p, struct forward_slot *f)
{
	WRITE_ONCE(f->last_seen, ticks(p));
	__sync_fetch_and_add(&f->packets, 1);
	__sync_fetch_and_add(&f->bytes, p->ip_len);
}

static __always_inline enum outcome send_to_owner(struct packet *p, int from_wire)
{
	struct forward_slot *f;
	const struct member *owner;
	struct destination d;
	enum outcome o;
	__u32 slot;

	if ((p->ref & REF_DELEGATED) && (o = send_as_delegate(p, from_wire)) != CONTINUE)
		return o;
	slot = p->ref >> 1 & 0x3fffffff;
	f = bpf_map_lookup_elem(&forwards, &slot);
	if (!f)
		return not_found(p);
	if (!read_forward(f, &d))
		return PUNT_BUSY;
	if (!same_key(d.key, p->key) || !(d.flags & FLOW_LIVE))
		return not_found(p);
	if (p->control->flags & CONTROL_SLOW_ONLY)
		return PUNT_SLOW_ONLY;
	owner = living_owner(&d);
	if (p->from && !(owner && may_relay(p, &d)))
		return PUNT_NOT_OWNER;
	if (!owner)
		return PUNT_STALE_FORWARD;
	if ((o = encapsulate(p, owner, d.gen)) != CONTINUE)
		return o;
	account_forward(p, f);
	return p->from ? FORWARD_RELAYED : FORWARD_CCL;
}

#endif
