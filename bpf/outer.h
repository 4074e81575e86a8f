/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The headers that carry a data frame from VTEP to VTEP, over either family:
 * Ethernet | IPv4 or IPv6 | UDP 4789 | VXLAN | inner Ethernet | ccl_header | IP packet
 *
 * Functions take the size of the outer IP header as a constant, so that the code
 * of each family is as if there were no other.
 */
#ifndef COHORT_OUTER_H
#define COHORT_OUTER_H

#include "checksum.h"
#include "parse.h"

/*
 * Set at load time: the VTEPs have IPv6 addresses (CL9). A cluster has one
 * family; the verifier removes the code of the other.
 */
const volatile __u32 ccl_ipv6 = 0;

#define CCL_OVER_IPV4 ((int)sizeof(struct iphdr))
#define CCL_OVER_IPV6 ((int)sizeof(struct ipv6hdr))

#define VXLAN_PORT 4789
#define VXLAN_HAS_VNI bpf_htonl(0x08000000)
#define CCL_TTL 64

struct vxlan_header {
	__be32 flags;
	__be32 vni; /* in the upper 24 bits */
};

/*
 * Where the headers of a data frame start. They are reached one by one and not
 * as one packed struct: to that, clang would store byte by byte.
 */
#define CCL_IP ETH_HLEN
#define CCL_UDP(ip) (CCL_IP + (ip))
#define CCL_VXLAN(ip) (CCL_UDP(ip) + (int)sizeof(struct udphdr))
#define CCL_INNER(ip) (CCL_VXLAN(ip) + (int)sizeof(struct vxlan_header))
#define CCL_HEADER(ip) (CCL_INNER(ip) + ETH_HLEN)
#define CCL_PAYLOAD(ip) (CCL_HEADER(ip) + (int)sizeof(struct ccl_header))
/* What a data frame is longer than the Ethernet frame it carries. */
#define CCL_OVERHEAD(ip) (CCL_PAYLOAD(ip) - ETH_HLEN)

_Static_assert(sizeof(struct ccl_header) == 16, "cluster header");
_Static_assert(CCL_PAYLOAD(CCL_OVER_IPV4) == 80, "headers of a data frame over IPv4");
_Static_assert(CCL_PAYLOAD(CCL_OVER_IPV6) == 100, "headers of a data frame over IPv6");

static __always_inline void write_ethernet(void *at, const __u8 *to, const __u8 *from, __u16 type)
{
	__u16 *w = at;
	const __u16 *t = (const __u16 *)to, *f = (const __u16 *)from;

	w[0] = t[0];
	w[1] = t[1];
	w[2] = t[2];
	w[3] = f[0];
	w[4] = f[1];
	w[5] = f[2];
	w[6] = bpf_htons(type);
}

/* DF and no identification (RFC 6864): a data frame is never fragmented (CL2). */
static __always_inline void write_outer_ipv4(struct iphdr *ip, __be32 from, __be32 to, __u16 len)
{
	__u32 *w = (__u32 *)ip;

	w[0] = bpf_htonl(0x45000000 | len);
	w[1] = bpf_htonl(IP_DF);
	w[2] = bpf_htonl(CCL_TTL << 24 | IPPROTO_UDP << 16);
	w[3] = from;
	w[4] = to;
	ip->check = ~fold((__u64)w[0] + w[1] + w[2] + w[3] + w[4]);
}

/* No flow label: the source port tells connections apart. len is that of UDP. */
static __always_inline void write_outer_ipv6(struct ipv6hdr *ip, const __be32 *from, const __be32 *to, __u16 len)
{
	__u32 *w = (__u32 *)ip;

	w[0] = bpf_htonl(0x60000000);
	w[1] = bpf_htonl((__u32)len << 16 | IPPROTO_UDP << 8 | CCL_TTL);
	w[2] = from[0];
	w[3] = from[1];
	w[4] = from[2];
	w[5] = from[3];
	w[6] = to[0];
	w[7] = to[1];
	w[8] = to[2];
	w[9] = to[3];
}

/*
 * The source port spreads connections over receive queues (RFC 7348, 5).
 *
 * No checksum, over IPv6 neither, where RFC 6935 allows that to tunnels: it would
 * cover the whole packet, most of which may lie in fragments that XDP does not
 * see, and RFC 7348 wants zero sent and accepted. What RFC 6936 asks for instead:
 * the packet inside has its own checksum, and a frame is taken from a member's
 * address only, with the right VNI and view, so that one with damaged addresses
 * or headers is refused.
 */
static __always_inline void write_udp(struct udphdr *udp, __u32 hash, __u16 len)
{
	udp->source = bpf_htons(0xc000 | (hash & 0x3fff));
	udp->dest = bpf_htons(VXLAN_PORT);
	udp->len = bpf_htons(len);
	udp->check = 0;
}

static __always_inline void write_vxlan(struct vxlan_header *v, __u32 vni)
{
	v->flags = VXLAN_HAS_VNI;
	v->vni = bpf_htonl(vni << 8);
}

static __always_inline int same_ipv6(const __be32 *a, const __be32 *b)
{
	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]));
}

/*
 * Is what follows an IPv6 header another header of IPv6, which may hide what is
 * behind it? Without those of IPsec, whose packets the host takes only if it
 * has a key for them.
 */
static __always_inline int is_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_FRAGMENT ||
	       next == IPPROTO_DSTOPTS || next == IPPROTO_MH || next == 139 /* HIP */ || next == 140 /* Shim6 */;
}

#endif
