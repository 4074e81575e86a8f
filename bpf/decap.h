/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Taking data frames off the CCL. Everything else there passes to the host:
 * ARP or neighbour discovery, and the control messages that ride on its VXLAN
 * device; those are authenticated in Go. A data frame is believed by the address it comes from,
 * the VNI and the view (CL4).
 */
#ifndef COHORT_DECAP_H
#define COHORT_DECAP_H

#include "encap.h"
#include "members.h"

/* Goes on with VXLAN to our VTEP, unfragmented and without IP options. */
static __always_inline enum outcome parse_outer_ipv4(struct packet *p)
{
	const struct iphdr *ip = p->data + CCL_IP;

	if (ip->version != 4 || ip->ihl != 5)
		return PASS_CCL_OTHER;
	if (ip->protocol != IPPROTO_UDP || (ip->frag_off & bpf_htons(IP_FRAGMENT)))
		return PASS_CCL_OTHER;
	return ip->daddr == p->control->ccl_vtep[3] ? CONTINUE : PASS_CCL_OTHER;
}

/*
 * Over IPv6 nobody sends extension headers to a VTEP, fragments neither. The host
 * would look behind them, and find VXLAN that nobody has judged.
 */
static __always_inline enum outcome parse_outer_ipv6(struct packet *p)
{
	const struct ipv6hdr *ip = p->data + CCL_IP;

	if (ip->version != 6 || !same_ipv6(ip->daddr.in6_u.u6_addr32, p->control->ccl_vtep))
		return PASS_CCL_OTHER;
	if (is_extension(ip->nexthdr))
		return DROP_BAD_FRAME;
	return ip->nexthdr == IPPROTO_UDP ? CONTINUE : PASS_CCL_OTHER;
}

static __always_inline enum outcome parse_outer(struct packet *p, const int ip)
{
	const struct ethhdr *eth = p->data;
	const struct udphdr *udp = p->data + CCL_UDP(ip);
	enum outcome o;

	if (p->data + CCL_VXLAN(ip) > p->data_end)
		return PASS_CCL_OTHER;
	if (eth->h_proto != bpf_htons(ip == CCL_OVER_IPV6 ? ETH_P_IPV6 : ETH_P_IP))
		return PASS_CCL_OTHER;
	if ((o = ip == CCL_OVER_IPV6 ? parse_outer_ipv6(p) : parse_outer_ipv4(p)) != CONTINUE)
		return o;
	return udp->dest == bpf_htons(VXLAN_PORT) ? CONTINUE : PASS_CCL_OTHER;
}

/* Goes on with data frames of our VNI. */
static __always_inline enum outcome parse_vxlan(struct packet *p, const int ip)
{
	const struct vxlan_header *v = p->data + CCL_VXLAN(ip);
	const struct ethhdr *inner = p->data + CCL_INNER(ip);

	if (p->data + CCL_HEADER(ip) > p->data_end || !(v->flags & VXLAN_HAS_VNI))
		return DROP_BAD_FRAME;
	if ((v->vni & bpf_htonl(0xffffff00)) != bpf_htonl(p->control->vni << 8))
		return DROP_WRONG_VNI;
	if (inner->h_proto != bpf_htons(CCL_ETHERTYPE))
		return PASS_CCL_CONTROL;
	return CONTINUE;
}

/* The sender must be a living member, at its own address. */
static __always_inline enum outcome check_peer(const struct packet *p, __u8 src, const int ip)
{
	const struct member *m = peer(src);
	const struct iphdr *ipv4 = p->data + CCL_IP;
	const struct ipv6hdr *ipv6 = p->data + CCL_IP;

	if (!m)
		return DROP_UNKNOWN_PEER;
	if (ip == CCL_OVER_IPV6)
		return same_ipv6(ipv6->saddr.in6_u.u6_addr32, m->vtep) ? CONTINUE : DROP_UNKNOWN_PEER;
	return READ_ONCE(m->vtep[3]) == ipv4->saddr ? CONTINUE : DROP_UNKNOWN_PEER;
}

/* A view change reaches the nodes at different moments: one view back is taken. */
static __always_inline enum outcome check_view(const struct control *c, __u32 view)
{
	if (!view || (view != READ_ONCE(c->view) && view != READ_ONCE(c->prev_view)))
		return DROP_BAD_VIEW;
	return CONTINUE;
}

/* Who sent this, under which view, and how far has it come? */
static __always_inline enum outcome read_ccl_header(struct packet *p, const int ip)
{
	const struct ccl_header *h = p->data + CCL_HEADER(ip);
	enum outcome o;

	if (p->data + CCL_PAYLOAD(ip) > p->data_end)
		return DROP_BAD_FRAME;
	if (h->version != CCL_HEADER_VERSION || !h->hops)
		return DROP_BAD_FRAME;
	if (h->type != CCL_DATA && h->type != CCL_FRAGMENT)
		return DROP_BAD_FRAME;
	if (h->iface >= MAX_IFACES || h->entry >= MAX_NODES)
		return DROP_BAD_FRAME;
	if ((o = check_peer(p, h->src, ip)) != CONTINUE)
		return o;
	if ((o = check_view(p->control, bpf_ntohl(h->view))) != CONTINUE)
		return o;
	if (h->hops > CCL_MAX_HOPS)
		return DROP_HOP_LIMIT;
	p->labelled = h->type == CCL_FRAGMENT;
	p->from = h->src;
	p->hops = h->hops;
	p->iface = h->iface;
	p->entry = h->entry;
	p->gen = bpf_ntohl(h->gen);
	return CONTINUE;
}

/* Leaves the IP packet behind an Ethernet header without addresses. */
static __always_inline enum outcome decapsulate(struct packet *p, const int ip)
{
	const __u8 nobody[ETH_ALEN] = {};

	if (bpf_xdp_adjust_head(p->ctx, CCL_OVERHEAD(ip)))
		return DROP_BAD_FRAME;
	reload(p);
	if (p->data + ETH_HLEN > p->data_end)
		return DROP_BAD_FRAME;
	write_ethernet(p->data, nobody, nobody, ETH_P_IP);
	return CONTINUE;
}

#endif
