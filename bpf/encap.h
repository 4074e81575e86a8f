/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Making the data frame that carries a packet over the CCL. */
#ifndef COHORT_ENCAP_H
#define COHORT_ENCAP_H

#include "outer.h"

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

/* Ethernet and IP; the frame is len bytes longer than its Ethernet header. */
static __always_inline void write_outer(struct packet *p, const struct member *to, __u16 len, const int ip)
{
	const struct control *c = p->control;

	if (ip == CCL_OVER_IPV6) {
		write_ethernet(p->data, to->mac, c->ccl_mac, ETH_P_IPV6);
		write_outer_ipv6(p->data + CCL_IP, c->ccl_vtep, to->vtep, len - ip);
	} else {
		write_ethernet(p->data, to->mac, c->ccl_mac, ETH_P_IP);
		write_outer_ipv4(p->data + CCL_IP, c->ccl_vtep[3], to->vtep[3], len);
	}
}

static __always_inline enum outcome wrap(struct packet *p, const struct member *to, __u32 gen, const int ip)
{
	const __u8 nobody[ETH_ALEN] = {};
	__u16 len = CCL_OVERHEAD(ip) + p->ip_len;

	if (p->ip_len > 0xffff - CCL_OVERHEAD(ip))
		return PUNT_TOO_BIG;
	if (bpf_xdp_adjust_head(p->ctx, -CCL_OVERHEAD(ip)))
		return DROP_NO_HEADROOM;
	reload(p);
	if (p->data + CCL_PAYLOAD(ip) > p->data_end)
		return DROP_NO_HEADROOM;
	write_outer(p, to, len, ip);
	write_udp(p->data + CCL_UDP(ip), p->h1, len - ip);
	write_vxlan(p->data + CCL_VXLAN(ip), p->control->vni);
	write_ethernet(p->data + CCL_INNER(ip), nobody, nobody, CCL_ETHERTYPE);
	write_ccl_header(p->data + CCL_HEADER(ip), p, gen);
	p->out = p->control->ccl_ifindex;
	return CONTINUE;
}

/*
 * Puts the packet into a data frame to a member; the inner packet is untouched.
 * A packet that came over the CCL keeps its entry and has one hop more.
 */
static __always_inline enum outcome encapsulate(struct packet *p, const struct member *to, __u32 gen)
{
	return ccl_ipv6 ? wrap(p, to, gen, CCL_OVER_IPV6) : wrap(p, to, gen, CCL_OVER_IPV4);
}

#endif
