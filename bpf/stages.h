/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What both programs do: the first stage (may this node forward at all?), the
 * stages that settle a packet, and the one exit that counts.
 */
#ifndef COHORT_STAGES_H
#define COHORT_STAGES_H

#include "counters.h"
#include "forward.h"
#include "owner.h"
#include "punt.h"

/* Runs a stage and leaves the calling function when it has decided. */
#define STAGE(call)                            \
	do {                                   \
		enum outcome settled_ = (call); \
		if (settled_ != CONTINUE)      \
			return settled_;       \
	} while (0)

static __always_inline const struct control *load_control(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

/*
 * HL5: without a lease or a view nothing passes, to the host neither. The
 * coarse clock is CLOCK_MONOTONIC as of the last timer tick (10 ms at most); the
 * exact one would cost more than the whole parse.
 */
static __always_inline enum outcome check_lease(struct packet *p)
{
	p->now = bpf_ktime_get_coarse_ns();
	if (p->now >= READ_ONCE(p->control->lease))
		return DROP_LEASE_EXPIRED;
	if (!READ_ONCE(p->control->view))
		return DROP_FENCED;
	return CONTINUE;
}

/* From an IPv4 header to a decision; packets of the CCL join here. from_wire is a constant. */
static __always_inline enum outcome settle(struct packet *p, int from_wire)
{
	STAGE(check_plain(p));
	STAGE(parse_transport(p));
	STAGE(lookup(p));
	if (p->ref & REF_FORWARD)
		return send_to_owner(p, from_wire);
	return send_as_owner(p);
}

/* The one exit. A punt that finds no socket becomes a drop. */
static __always_inline int finish(struct packet *p, enum outcome o)
{
	if (o >= FIRST_PUNT && o < FIRST_DROP)
		o = punt(p, o);
	count(o);
	if (o < FIRST_FORWARD)
		return XDP_PASS;
	if (o < FIRST_PUNT)
		return bpf_redirect(p->out, 0);
	if (o < FIRST_DROP)
		return bpf_redirect_map(&xsks, p->out, XDP_DROP);
	return XDP_DROP;
}

#endif
