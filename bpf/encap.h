/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The data frame that carries a packet over the CCL, and making one:
 * Ethernet | IPv4 | UDP 4789 | VXLAN | inner Ethernet | ccl_header | IP packet
 */
#ifndef COHORT_ENCAP_H
#define COHORT_ENCAP_H

#include "checksum.h"
#include "parse.h"

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
#define CCL_UDP (CCL_IP + (int)sizeof(struct iphdr))
#define CCL_VXLAN (CCL_UDP + (int)sizeof(struct udphdr))
#define CCL_INNER (CCL_VXLAN + (int)sizeof(struct vxlan_header))
#define CCL_HEADER (CCL_INNER + ETH_HLEN)
#define CCL_PAYLOAD (CCL_HEADER + (int)sizeof(struct ccl_header))
/* What a data frame is longer than the Ethernet frame it carries. */
#define CCL_OVERHEAD (CCL_PAYLOAD - ETH_HLEN)

_Static_assert(sizeof(struct ccl_header) == 16, "cluster header");
_Static_assert(CCL_PAYLOAD == 80, "headers of a data frame");

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
static __always_inline void write_outer_ip(struct iphdr *ip, __be32 from, __be32 to, __u16 len)
{
	__u32 *w = (__u32 *)ip;

	w[0] = bpf_htonl(0x45000000 | len);
	w[1] = bpf_htonl(IP_DF);
	w[2] = bpf_htonl(CCL_TTL << 24 | IPPROTO_UDP << 16);
	w[3] = from;
	w[4] = to;
	ip->check = ~fold((__u64)w[0] + w[1] + w[2] + w[3] + w[4]);
}

/* The source port spreads connections over receive queues (RFC 7348, 5). */
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

static __always_inline void write_ccl_header(struct ccl_header *h, const struct packet *p, __u32 gen)
{
	h->version = CCL_HEADER_VERSION;
	h->type = CCL_DATA;
	h->src = p->control->self;
	h->hops = p->hops + 1;
	h->view = bpf_htonl(p->control->view);
	h->iface = p->iface;
	h->entry = p->entry;
	h->zero = 0;
	h->gen = bpf_htonl(gen);
}

/*
 * Puts the packet into a data frame to a member; the inner packet is untouched.
 * A packet that came over the CCL keeps its entry and has one hop more.
 */
static __always_inline enum outcome encapsulate(struct packet *p, const struct member *to, __u32 gen)
{
	const struct control *c = p->control;
	const __u8 nobody[ETH_ALEN] = {};
	__u16 len = CCL_OVERHEAD + p->ip_len;

	if (p->ip_len > 0xffff - CCL_OVERHEAD)
		return PUNT_TOO_BIG;
	if (bpf_xdp_adjust_head(p->ctx, -CCL_OVERHEAD))
		return DROP_NO_HEADROOM;
	reload(p);
	if (p->data + CCL_PAYLOAD > p->data_end)
		return DROP_NO_HEADROOM;
	write_ethernet(p->data, to->mac, c->ccl_mac, ETH_P_IP);
	write_outer_ip(p->data + CCL_IP, c->ccl_vtep, to->vtep, len);
	write_udp(p->data + CCL_UDP, p->h1, len - sizeof(struct iphdr));
	write_vxlan(p->data + CCL_VXLAN, c->vni);
	write_ethernet(p->data + CCL_INNER, nobody, nobody, CCL_ETHERTYPE);
	write_ccl_header(p->data + CCL_HEADER, p, gen);
	p->out = c->ccl_ifindex;
	return CONTINUE;
}

#endif
