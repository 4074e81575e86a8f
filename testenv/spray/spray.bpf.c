//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Per-packet random next hops for a Linux router: the hardest case for the
 * cluster, as any packet of a connection may meet any node.
 *
 * The program sits on the ingress of an interface towards hosts and gives every
 * packet the firewall mark of a random live next hop; `ip rule fwmark` then
 * picks the routing table with that hop. So forwarding itself stays Linux'.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#define SPRAY_MAX_HOPS 64

/*
 * Live hops. All entries of mark are valid as soon as n > 0 (the live ones are
 * repeated to the end), because Go rewrites the value while packets read it.
 */
struct spray_set {
	__u32 n;
	__u32 mark[SPRAY_MAX_HOPS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct spray_set);
} spray_live SEC(".maps");

/* Packets given each mark; index = mark % SPRAY_MAX_HOPS. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SPRAY_MAX_HOPS);
	__type(key, __u32);
	__type(value, __u64);
} spray_sent SEC(".maps");

SEC("tc")
int spray(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct spray_set *set = bpf_map_lookup_elem(&spray_live, &zero);
	if (!set)
		return TC_ACT_OK;
	__u32 n = set->n;
	if (n == 0 || n > SPRAY_MAX_HOPS)
		return TC_ACT_OK; /* unmarked: the main table has no hop either */

	__u32 pick = bpf_get_prandom_u32() % n;
	/* The verifier does not see the bound, the compiler does: hide it. */
	asm volatile("" : "+r"(pick));
	if (pick >= SPRAY_MAX_HOPS)
		return TC_ACT_OK;
	__u32 mark = set->mark[pick];
	__u32 slot = mark % SPRAY_MAX_HOPS;
	__u64 *sent = bpf_map_lookup_elem(&spray_sent, &slot);
	if (sent)
		*sent += 1;
	skb->mark = mark;
	return TC_ACT_OK;
}

/* Drops everything: one direction of a cut cable. */
SEC("tc")
int cut(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
