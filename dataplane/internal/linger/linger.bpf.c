//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A program that stands in the middle of a packet, as one does whose CPU a
 * hypervisor has taken away. It says when it begins and, at its very end, that it
 * ends.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct times {
	__u64 begun;
	__u64 ended;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct times);
} times SEC(".maps");

const volatile __u64 linger_ns = 0;

static long wait(__u32 i, void *until)
{
	return bpf_ktime_get_ns() >= *(__u64 *)until;
}

SEC("xdp.frags")
int linger(struct xdp_md *ctx)
{
	__u64 now = bpf_ktime_get_ns(), until = now + linger_ns;
	struct times *t;
	__u32 zero = 0;

	t = bpf_map_lookup_elem(&times, &zero);
	if (!t)
		return XDP_ABORTED;
	*(volatile __u64 *)&t->begun = now;
	bpf_loop(1 << 23, wait, &until, 0);
	*(volatile __u64 *)&t->ended = bpf_ktime_get_ns();
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
