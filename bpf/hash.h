/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The keyed multilinear hash of a tuple (Lemire and Kaser, "Strongly universal
 * string hashing is fast"). Who does not know the seed cannot aim at a bucket.
 * flowtable.Table.Hash computes the same; a test compares them.
 */
#ifndef COHORT_HASH_H
#define COHORT_HASH_H

#include "packet.h"

static __always_inline __u32 multilinear(const __u64 *s, struct tuple t)
{
	return (s[0] + s[1] * (__u32)t.addrs + s[2] * (t.addrs >> 32) +
		s[3] * (__u32)t.rest + s[4] * (t.rest >> 32)) >> 32;
}

static __always_inline void hash_key(struct packet *p)
{
	p->h1 = multilinear(&p->control->hash_seed[0], p->key);
	p->tag = multilinear(&p->control->hash_seed[5], p->key);
	if (!p->tag)
		p->tag = 1;
}

#endif
