/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * CL1: VXLAN belongs on the CCL alone. The kernel's VXLAN socket listens on
 * every address of the host and does not ask where a frame came in, so a
 * stranger could put frames on the cluster's own network.
 */
#ifndef COHORT_STRAY_H
#define COHORT_STRAY_H

#include "outer.h"

/* Later fragments are nothing without the first, which has the ports. */
static __always_inline int is_vxlan(const struct packet *p)
{
	const struct iphdr *ip = p->data + ETH_HLEN;
	const struct udphdr *udp;

	if ((void *)(ip + 1) > p->data_end || ip->protocol != IPPROTO_UDP)
		return 0;
	if (ip->frag_off & bpf_htons(IP_OFFSET))
		return 0;
	udp = (void *)ip + ip->ihl * 4;
	return (void *)(udp + 1) > p->data_end || udp->dest == bpf_htons(VXLAN_PORT);
}

/* What all extension headers begin with; that of a fragment has no length. */
struct extension {
	__u8 next;
	__u8 length; /* in 8 bytes, without the first 8 */
	__be16 fragment;
	__be32 more;
};

#define IPV6_OFFSET 0xfff8
#define MAX_EXTENSIONS 4

/* What hides behind more headers than that, or behind the end, is taken for it. */
static __always_inline int is_vxlan6(const struct packet *p)
{
	const struct ipv6hdr *ip = p->data + ETH_HLEN;
	const struct udphdr *udp;
	const void *at = ip + 1;
	__u8 next;

	if (at > p->data_end)
		return 0;
	next = ip->nexthdr;
#pragma unroll
	for (int i = 0; i < MAX_EXTENSIONS && is_extension(next); i++) {
		const struct extension *e = at;

		if ((void *)(e + 1) > p->data_end)
			return 1;
		if (next == IPPROTO_FRAGMENT && (e->fragment & bpf_htons(IPV6_OFFSET)))
			return 0;
		at += next == IPPROTO_FRAGMENT ? 8 : 8 * (e->length + 1);
		next = e->next;
	}
	if (next != IPPROTO_UDP)
		return is_extension(next);
	udp = at;
	return (void *)(udp + 1) > p->data_end || udp->dest == bpf_htons(VXLAN_PORT);
}

/* Only a CCL over IPv6 has a socket that hears IPv6. */
static __always_inline enum outcome refuse_vxlan(const struct packet *p, enum outcome o)
{
	if ((o == PASS_LOCAL || o == PASS_MULTICAST) && is_vxlan(p))
		return DROP_STRAY_VXLAN;
	if (ccl_ipv6 && (o == PASS_IPV6_LINK || o == PASS_IPV6_LOCAL) && is_vxlan6(p))
		return DROP_STRAY_VXLAN;
	return o;
}

#endif
