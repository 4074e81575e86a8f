//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A generator in front of a program that is measured: prog-run repeats one
 * packet, which would stay in the cache with all it touches. Each run makes it
 * the packet of another random connection, undoes what the program did to it
 * the last time, and jumps into the program.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define DATA_FRAME 100 /* headers of a data frame on the CCL at most (outer.h) */

const volatile __u32 connections = 1; /* number of connections; see keyOf in speed_test.go */
const volatile __u32 frame_len = 0;   /* of the packet as it enters */
const volatile __u32 l3_off = ETH_HLEN;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} subject SEC(".maps");

/* The headers in front of the IP header, as they enter. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8[DATA_FRAME]);
} headers SEC(".maps");

__u64 state = 88172645463325252ULL;

/* xorshift: cheaper than the helper, and the same connections in each run. */
static __always_inline __u32 next_connection(void)
{
	__u64 x = state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	state = x;
	return (x >> 32) * connections >> 32;
}

static __always_inline int undo(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	long meta = data - (void *)(long)ctx->data_meta;
	long grown = (void *)(long)ctx->data_end - data - frame_len;

	if (meta && bpf_xdp_adjust_meta(ctx, meta))
		return -1;
	return grown ? bpf_xdp_adjust_head(ctx, grown) : 0;
}

static __always_inline int write_headers(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0, chosen = next_connection();
	const __u64 *from = bpf_map_lookup_elem(&headers, &zero);
	__u64 *to = data;
	struct iphdr *ip;

	if (!from || data + l3_off + sizeof(*ip) + sizeof(struct udphdr) > end)
		return -1;
	ip = data + l3_off;
	if (l3_off > ETH_HLEN) { /* the cluster header, over which an Ethernet header was written */
		to = data + l3_off - 16;
		from = (const void *)from + l3_off - 16;
		to[0] = from[0];
		to[1] = from[1];
	} else {
		to[0] = from[0];
		((__u32 *)to)[2] = ((const __u32 *)from)[2];
		((__u16 *)to)[6] = ((const __u16 *)from)[6];
	}
	ip->ttl = 64;
	ip->saddr = bpf_htonl(0x0a000000 | chosen);
	((struct udphdr *)(ip + 1))->source = (__u16)chosen;
	return 0;
}

SEC("xdp.frags")
int generate(struct xdp_md *ctx)
{
	if (undo(ctx) || write_headers(ctx))
		return XDP_ABORTED;
	bpf_tail_call(ctx, &subject, 0);
	return XDP_ABORTED;
}

/* What is measured to know what the generator itself costs. */
SEC("xdp.frags")
int nothing(struct xdp_md *ctx)
{
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
