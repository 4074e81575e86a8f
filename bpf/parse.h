/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From bytes to a tuple. Only the linear part of a packet is ever read; the
 * total length of a packet with fragments is asked for when it matters.
 *
 * The IP header checksum is not verified: it is only ever updated by
 * differences (RFC 1624), so that a damaged header stays damaged.
 */
#ifndef COHORT_PARSE_H
#define COHORT_PARSE_H

#include <linux/in.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "packet.h"

#define IP_DF 0x4000
#define IP_OFFSET 0x1fff
#define IP_FRAGMENT 0x3fff /* more fragments, or an offset */

/* <linux/icmp.h> needs the C library; this is all of it that matters here. */
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_REDIRECT 5
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMP_TIMESTAMP 13
#define ICMP_TIMESTAMPREPLY 14
#define ICMP_INFO_REQUEST 15
#define ICMP_INFO_REPLY 16
#define ICMP_ADDRESS 17
#define ICMP_ADDRESSREPLY 18

struct icmphdr {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u16 id; /* queries and responses only */
	__u16 sequence;
};

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define IPV6_SCOPE 0x0f
#define IPV6_SCOPE_LINK 0x02

/*
 * Link-local unicast, or multicast of link scope (RFC 4291, 2.7): neighbour
 * discovery with its solicited-node groups, listener reports, routing protocols.
 */
static __always_inline int stays_on_link(const struct in6_addr *a)
{
	const __u8 *b = a->in6_u.u6_addr8;

	if (b[0] == 0xff)
		return (b[1] & IPV6_SCOPE) == IPV6_SCOPE_LINK;
	return b[0] == 0xfe && (b[1] & 0xc0) == 0x80;
}

/*
 * IPv6 to this node, and what never leaves its link, is the host's, which checks
 * the hop limit of 255 that keeps strangers out of neighbour discovery (RFC 4861).
 * The rest is not forwarded. IPv4 does not come here and pays nothing.
 */
static __always_inline enum outcome parse_ipv6(struct packet *p)
{
	struct ipv6hdr *ip = p->data + ETH_HLEN;

	if ((void *)(ip + 1) > p->data_end)
		return DROP_BAD_IP;
	if (stays_on_link(&ip->daddr))
		return PASS_IPV6_LINK;
	if (bpf_map_lookup_elem(&local_addrs6, &ip->daddr))
		return PASS_IPV6_LOCAL;
	return DROP_IPV6_TRANSIT;
}

/* Goes on with IPv4 only. */
static __always_inline enum outcome parse_ethernet(struct packet *p)
{
	struct ethhdr *eth = p->data;

	if ((void *)(eth + 1) > p->data_end)
		return PASS_OTHER;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return CONTINUE;
	if (eth->h_proto == bpf_htons(ETH_P_ARP))
		return PASS_ARP;
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(p);
	return PASS_OTHER;
}

/* Bounds, version and lengths; everything else about the header comes later. */
static __always_inline enum outcome parse_ipv4(struct packet *p)
{
	struct iphdr *ip = p->data + ETH_HLEN;
	__u32 header;

	if ((void *)(ip + 1) > p->data_end)
		return DROP_BAD_IP;
	header = ip->ihl * 4;
	p->ip = ip;
	p->ip_len = bpf_ntohs(ip->tot_len);
	p->key.addrs = *(__u64 *)&ip->saddr;
	p->key.rest = (__u64)ip->protocol << 32;
	if (ip->version != 4 || header < sizeof(*ip) || p->ip_len < header)
		return DROP_BAD_IP;
	if ((void *)ip + p->ip_len > p->data_end &&
	    bpf_xdp_get_buff_len(p->ctx) < ETH_HLEN + (__u64)p->ip_len)
		return DROP_BAD_IP;
	return CONTINUE;
}

/* Destinations that no router forwards (RFC 1812, 4.2.2.11 and 5.3.4). */
static __always_inline enum outcome check_unicast(struct packet *p)
{
	const struct ethhdr *eth = p->data;
	__u32 daddr = bpf_ntohl(p->key.addrs >> 32);

	if (eth->h_dest[0] & 1)
		return PASS_MULTICAST;
	if (daddr >= 0xe0000000 || daddr >> 16 == 0xa9fe)
		return PASS_MULTICAST;
	return CONTINUE;
}

/* Headers that only Go understands. */
static __always_inline enum outcome check_plain(struct packet *p)
{
	if (p->ip->frag_off & bpf_htons(IP_FRAGMENT))
		return p->labelled ? PUNT_LABELLED : PUNT_FRAGMENT;
	if (p->labelled)
		return DROP_BAD_FRAME;
	if (p->ip->ihl != 5)
		return PUNT_IP_OPTIONS;
	if (p->ip->ttl <= 1)
		return PUNT_TTL_EXCEEDED;
	return CONTINUE;
}

static __always_inline void set_ports(struct packet *p, __u16 sport, __u16 dport)
{
	p->key.rest |= sport | (__u32)dport << 16;
}

static __always_inline enum outcome parse_tcp(struct packet *p)
{
	struct tcphdr *tcp = (void *)(p->ip + 1);
	__u32 headers;

	if ((void *)(tcp + 1) > p->data_end)
		return DROP_BAD_L4;
	headers = sizeof(*p->ip) + tcp->doff * 4;
	if (tcp->doff < 5 || p->ip_len < headers)
		return DROP_BAD_L4;
	p->tcp_flags = ((__u8 *)tcp)[13];
	p->payload = p->ip_len - headers;
	set_ports(p, bpf_ntohs(tcp->source), bpf_ntohs(tcp->dest));
	return CONTINUE;
}

static __always_inline enum outcome parse_udp(struct packet *p)
{
	struct udphdr *udp = (void *)(p->ip + 1);

	if ((void *)(udp + 1) > p->data_end || p->ip_len < sizeof(*p->ip) + sizeof(*udp))
		return DROP_BAD_L4;
	set_ports(p, bpf_ntohs(udp->source), bpf_ntohs(udp->dest));
	return CONTINUE;
}

/*
 * FR9: query (id, 0), response (0, id). Errors are Go's, and so is everything
 * else: it belongs to no connection, nor to that of the identifier 0.
 */
static __always_inline enum outcome parse_icmp(struct packet *p)
{
	struct icmphdr *icmp = (void *)(p->ip + 1);

	if ((void *)(icmp + 1) > p->data_end || p->ip_len < sizeof(*p->ip) + sizeof(*icmp))
		return DROP_BAD_L4;
	switch (icmp->type) {
	case ICMP_ECHO:
	case ICMP_TIMESTAMP:
	case ICMP_INFO_REQUEST:
	case ICMP_ADDRESS:
		set_ports(p, bpf_ntohs(icmp->id), 0);
		return CONTINUE;
	case ICMP_ECHOREPLY:
	case ICMP_TIMESTAMPREPLY:
	case ICMP_INFO_REPLY:
	case ICMP_ADDRESSREPLY:
		set_ports(p, 0, bpf_ntohs(icmp->id));
		return CONTINUE;
	case ICMP_DEST_UNREACH:
	case ICMP_SOURCE_QUENCH:
	case ICMP_REDIRECT:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETERPROB:
		return PUNT_ICMP_ERROR;
	}
	return PUNT_MISS;
}

/* Protocols without ports keep (0, 0). */
static __always_inline enum outcome parse_transport(struct packet *p)
{
	switch (p->ip->protocol) {
	case IPPROTO_TCP:
		return parse_tcp(p);
	case IPPROTO_UDP:
		return parse_udp(p);
	case IPPROTO_ICMP:
		return parse_icmp(p);
	}
	return CONTINUE;
}

#endif
