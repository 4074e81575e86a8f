/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The other nodes of the cluster. */
#ifndef COHORT_MEMBERS_H
#define COHORT_MEMBERS_H

#include "packet.h"

/* The node with this id, if it lives and is not this one. */
static __always_inline const struct member *peer(__u32 id)
{
	const struct member *m = bpf_map_lookup_elem(&members, &id);

	if (!m || (READ_ONCE(m->flags) & (MEMBER_ALIVE | MEMBER_SELF)) != MEMBER_ALIVE)
		return NULL;
	return m;
}

#endif
