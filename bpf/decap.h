/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Taking data frames off the CCL. Everything else there passes to the host:
 * ARP, and the control messages that ride on its VXLAN device; those are
 * authenticated in Go. A data frame is believed by the address it comes from,
 * the VNI and the view (CL4).
 */
#ifndef COHORT_DECAP_H
#define COHORT_DECAP_H

#include "encap.h"
#include "members.h"

/* Goes on with VXLAN to our VTEP, unfragmented and without IP options. */
static __always_inline enum outcome parse_outer(struct packet *p)
{
	const struct ethhdr *eth = p->data;
	const struct iphdr *ip = p->data + CCL_IP;
	const struct udphdr *udp = p->data + CCL_UDP;

	if (p->data + CCL_VXLAN > p->data_end)
		return PASS_CCL_OTHER;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->version != 4 || ip->ihl != 5)
		return PASS_CCL_OTHER;
	if (ip->protocol != IPPROTO_UDP || (ip->frag_off & bpf_htons(IP_FRAGMENT)))
		return PASS_CCL_OTHER;
	if (ip->daddr != p->control->ccl_vtep || udp->dest != bpf_htons(VXLAN_PORT))
		return PASS_CCL_OTHER;
	return CONTINUE;
}

/* Goes on with data frames of our VNI. */
static __always_inline enum outcome parse_vxlan(struct packet *p)
{
	const struct vxlan_header *v = p->data + CCL_VXLAN;
	const struct ethhdr *inner = p->data + CCL_INNER;

	if (p->data + CCL_HEADER > p->data_end || !(v->flags & VXLAN_HAS_VNI))
		return DROP_BAD_FRAME;
	if ((v->vni & bpf_htonl(0xffffff00)) != bpf_htonl(p->control->vni << 8))
		return DROP_WRONG_VNI;
	if (inner->h_proto != bpf_htons(CCL_ETHERTYPE))
		return PASS_CCL_CONTROL;
	return CONTINUE;
}

/* The sender must be a living member, at its own address. */
static __always_inline enum outcome check_peer(__u8 src, __be32 saddr)
{
	const struct member *m = peer(src);

	return m && READ_ONCE(m->vtep) == saddr ? CONTINUE : DROP_UNKNOWN_PEER;
}

/* A view change reaches the nodes at different moments: one view back is taken. */
static __always_inline enum outcome check_view(const struct control *c, __u32 view)
{
	if (!view || (view != READ_ONCE(c->view) && view != READ_ONCE(c->prev_view)))
		return DROP_BAD_VIEW;
	return CONTINUE;
}

/* Who sent this, under which view, and how far has it come? */
static __always_inline enum outcome read_ccl_header(struct packet *p)
{
	const struct iphdr *ip = p->data + CCL_IP;
	const struct ccl_header *h = p->data + CCL_HEADER;
	enum outcome o;

	if (p->data + CCL_PAYLOAD > p->data_end)
		return DROP_BAD_FRAME;
	if (h->version != CCL_HEADER_VERSION || h->type != CCL_DATA || !h->hops)
		return DROP_BAD_FRAME;
	if (h->iface >= MAX_IFACES || h->entry >= MAX_NODES)
		return DROP_BAD_FRAME;
	if ((o = check_peer(h->src, ip->saddr)) != CONTINUE)
		return o;
	if ((o = check_view(p->control, bpf_ntohl(h->view))) != CONTINUE)
		return o;
	if (h->hops > CCL_MAX_HOPS)
		return DROP_HOP_LIMIT;
	p->from = h->src;
	p->hops = h->hops;
	p->iface = h->iface;
	p->entry = h->entry;
	p->gen = bpf_ntohl(h->gen);
	return CONTINUE;
}

/* Leaves the IP packet behind an Ethernet header without addresses. */
static __always_inline enum outcome decapsulate(struct packet *p)
{
	const __u8 nobody[ETH_ALEN] = {};

	if (bpf_xdp_adjust_head(p->ctx, CCL_OVERHEAD))
		return DROP_BAD_FRAME;
	reload(p);
	if (p->data + ETH_HLEN > p->data_end)
		return DROP_BAD_FRAME;
	write_ethernet(p->data, nobody, nobody, ETH_P_IP);
	return CONTINUE;
}

#endif
