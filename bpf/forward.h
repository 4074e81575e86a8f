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

/* 0 if Go was writing meanwhile. */
static __always_inline int read_forward(const struct forward_slot *f, struct destination *d)
{
	d->seq = READ_ONCE(f->seq);
	barrier();
	d->key = load_key(&f->key);
	d->gen = READ_ONCE(f->gen);
	d->owner = READ_ONCE(f->owner);
	d->incarnation = READ_ONCE(f->incarnation);
	d->flags = READ_ONCE(f->flags);
	d->delegation = READ_ONCE(f->delegation);
	barrier();
	return !(d->seq & 1) && READ_ONCE(f->seq) == d->seq;
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
	/* Only what comes from the wire: a frame of another node is for the owner to see. */
	if (from_wire && (d.flags & FLOW_DELEGATED) && (o = send_as_delegate(p, f, &d)) != CONTINUE)
		return o;
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
