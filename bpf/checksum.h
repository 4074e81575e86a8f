/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Internet checksums by differences (RFC 1624, eqn. 3). Sums are 64 bits wide
 * and folded at the end; words are added as they lie in memory (RFC 1071, 2B).
 */
#ifndef COHORT_CHECKSUM_H
#define COHORT_CHECKSUM_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* Adds to a sum what replacing one word by another changes; 16 or 32 bit words. */
static __always_inline __u64 delta(__u64 sum, __u32 old, __u32 new)
{
	return sum + (__u32)~old + new;
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

static __always_inline void update_checksum(__u16 *check, __u64 difference)
{
	*check = ~fold((__u16)~*check + difference);
}

#endif
