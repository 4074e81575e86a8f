//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The switch between the nodes of a cluster, as cheap as it can be made: frames
 * to a known port are redirected to it, the rest is the bridge's. It counts what
 * the link carries. With tiers a data frame takes from what its receiver can take;
 * control does not.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tier.h"

#define MAX_PORTS 16
#define VXLAN_PORT 4789
#define INNER (ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr) + 8)

struct port {
	__u32 ifindex;
	__u8 mac[ETH_ALEN];
	__u8 node; /* its number among the tiers */
	__u8 pad;
};

/* Set at load time by Go. Port i is found by the last byte of its MAC. */
const volatile struct port ports[MAX_PORTS];
const volatile __u16 data_type; /* ethertype inside a data frame, network order */

enum carried { DATA_FRAMES, DATA_BYTES, OTHER_FRAMES, OTHER_BYTES, NUM_CARRIED };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NUM_CARRIED);
	__type(key, __u32);
	__type(value, __u64);
} carried SEC(".maps");

static __always_inline void add(__u32 at, __u64 n)
{
	__u64 *v = bpf_map_lookup_elem(&carried, &at);

	if (v)
		*v += n;
}

static __always_inline int is_data(const void *data, const void *end)
{
	const struct ethhdr *eth = data;
	const struct udphdr *udp = data + ETH_HLEN + sizeof(struct iphdr);

	if (data + INNER + ETH_HLEN > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return 0;
	return udp->dest == bpf_htons(VXLAN_PORT) && *(const __u16 *)(data + INNER + 12) == data_type;
}

SEC("xdp.frags")
int fabric(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const __u8 *to = data;
	const volatile struct port *p;
	__u32 what;

	if (data + ETH_HLEN > end)
		return XDP_DROP;
	what = is_data(data, end) ? DATA_FRAMES : OTHER_FRAMES;
	add(what, 1);
	add(what + 1, bpf_xdp_get_buff_len(ctx));
	p = &ports[to[5] & (MAX_PORTS - 1)];
	for (int i = 0; i < ETH_ALEN; i++)
		if (p->mac[i] != to[i])
			return XDP_PASS;
	if (tiered && what == DATA_FRAMES && !admit(p->node))
		return XDP_DROP;
	return bpf_redirect(p->ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
