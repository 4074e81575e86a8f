/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What each node can take: a token bucket for it, in front of every cable that leads
 * there. The clock is the number of packets that the dialler has sent, so that what a
 * bucket does follows from the packets alone, whatever the machine is busy with. For
 * one CPU: two at once may take one token for two packets. Counters are exact.
 */
#ifndef BENCH_TIER_H
#define BENCH_TIER_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAX_TIERS 16
#define TOKEN (1ULL << 16) /* one packet */

struct tier {
	__u64 rate;    /* a tick of the clock, in 1/TOKEN packets; 0 = as much as comes */
	__u64 depth;   /* what an idle node saves up at most, likewise */
	__u64 level;
	__u64 filled;  /* clock when level was right */
	__u64 passed;  /* packets */
	__u64 refused;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_TIERS);
	__type(key, __u32);
	__type(value, struct tier);
} tiers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} tier_clock SEC(".maps");

const volatile __u32 tiered; /* set at load time by Go; 0 = none of this costs anything */

static __always_inline void tick(void)
{
	__u32 zero = 0;
	__u64 *now = bpf_map_lookup_elem(&tier_clock, &zero);

	if (now)
		*now += 1;
}

/* 0: node has no capacity left for another packet. */
static __always_inline int admit(__u32 node)
{
	struct tier *t = bpf_map_lookup_elem(&tiers, &node);
	__u32 zero = 0;
	__u64 *now = bpf_map_lookup_elem(&tier_clock, &zero);

	if (!t || !now)
		return 0;
	if (t->rate) {
		t->level += (*now - t->filled) * t->rate;
		if (t->level > t->depth)
			t->level = t->depth;
		t->filled = *now;
		if (t->level < TOKEN) {
			__sync_fetch_and_add(&t->refused, 1);
			return 0;
		}
		t->level -= TOKEN;
	}
	__sync_fetch_and_add(&t->passed, 1);
	return 1;
}

#endif
