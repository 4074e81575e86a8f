/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who knows this tuple? Two buckets of eight entries, one cache line each.
 *
 * A lookup follows one candidate: the entry whose tag is equal. Another key
 * with the same tag in the same bucket (chance 2^-29 a lookup, and nobody can
 * aim without the seed) makes the candidate's key differ, which is a miss; so
 * does an entry that is being displaced. A miss goes to Go, whose own lookup is
 * exact.
 */
#ifndef COHORT_LOOKUP_H
#define COHORT_LOOKUP_H

#include "hash.h"

/*
 * The ref with this tag, or 0. No branches: the place of the entry is random,
 * and a mispredicted branch costs more than eight comparisons.
 */
static __always_inline __u32 match_bucket(__u32 number, __u32 tag)
{
	const struct index_bucket *b = bpf_map_lookup_elem(&index, &number);
	__u64 found = 0;

	if (!b)
		return 0;
#pragma unroll
	for (int i = 0; i < BUCKET_ENTRIES; i++) {
		__u64 e = READ_ONCE(b->entry[i]);
		__u64 differs = (e >> 32) ^ tag;

		/* All ones when equal, else 0: only 0 - 1 has its sign bit set. */
		asm volatile("%0 += -1\n%0 s>>= 63" : "+r"(differs));
		found |= e & differs;
	}
	return (__u32)found;
}

static __always_inline enum outcome lookup(struct packet *p)
{
	__u32 mask = p->control->index_mask;
	__u32 bucket;

	hash_key(p);
	bucket = p->h1 & mask;
	p->ref = match_bucket(bucket, p->tag);
	if (!p->ref)
		p->ref = match_bucket(bucket ^ ((p->tag * TAG_MIX | 1) & mask), p->tag);
	return p->ref ? CONTINUE : PUNT_MISS;
}

/* The slot did not hold the key after all. */
static __always_inline enum outcome not_found(struct packet *p)
{
	p->ref = 0;
	return PUNT_MISS;
}

static __always_inline struct tuple load_key(const struct flow_key *k)
{
	const __u64 *w = (const __u64 *)k;

	return (struct tuple){ READ_ONCE(w[0]), READ_ONCE(w[1]) };
}

static __always_inline int same_key(struct tuple a, struct tuple b)
{
	return !((a.addrs ^ b.addrs) | (a.rest ^ b.rest));
}

#endif
