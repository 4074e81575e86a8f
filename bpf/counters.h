/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets by outcome, one counter a CPU. */
#ifndef COHORT_COUNTERS_H
#define COHORT_COUNTERS_H

#include "maps.h"

static __always_inline void count(__u32 outcome)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &outcome);

	if (n)
		*n += 1;
}

#endif
