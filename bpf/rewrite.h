/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Changing a packet: addresses, ports, time to live, and their checksums by
 * differences (checksum.h).
 */
#ifndef COHORT_REWRITE_H
#define COHORT_REWRITE_H

#include "checksum.h"
#include "parse.h"

static __always_inline void decrement_ttl(struct iphdr *ip)
{
	__u32 check = ip->check + bpf_htons(0x0100);

	ip->ttl--;
	ip->check = check + (check >= 0xffff);
}

static __always_inline __u32 wire_ports(__u64 rest)
{
	return bpf_htons(rest) | (__u32)bpf_htons(rest >> 16) << 16;
}

/* What replacing the addresses changes in a sum. */
static __always_inline __u64 address_delta(__u64 old, __u64 new)
{
	return delta(delta(0, old, new), old >> 32, new >> 32);
}

static __always_inline enum outcome rewrite_tcp(struct packet *p, struct tuple new)
{
	struct tcphdr *tcp = (void *)(p->ip + 1);
	__u32 *ports = (void *)tcp;
	__u32 to = wire_ports(new.rest);

	if ((void *)(tcp + 1) > p->data_end)
		return DROP_BAD_L4;
	update_checksum(&tcp->check, delta(address_delta(p->key.addrs, new.addrs), *ports, to));
	*ports = to;
	return CONTINUE;
}

/* A UDP checksum of 0 means "none" and stays; a computed 0 is sent as ffff (RFC 768). */
static __always_inline enum outcome rewrite_udp(struct packet *p, struct tuple new)
{
	struct udphdr *udp = (void *)(p->ip + 1);
	__u32 *ports = (void *)udp;
	__u32 to = wire_ports(new.rest);

	if ((void *)(udp + 1) > p->data_end)
		return DROP_BAD_L4;
	if (udp->check) {
		update_checksum(&udp->check, delta(address_delta(p->key.addrs, new.addrs), *ports, to));
		if (!udp->check)
			udp->check = 0xffff;
	}
	*ports = to;
	return CONTINUE;
}

/*
 * UDP-Lite and DCCP sum the addresses up as well, at the same place as UDP (RFC
 * 3828, 3.1; RFC 4340, 9.1). They are translated as protocols without ports.
 */
static __always_inline enum outcome rewrite_portless(struct packet *p, struct tuple new)
{
	struct udphdr *udp = (void *)(p->ip + 1);

	if (p->ip->protocol != IPPROTO_UDPLITE && p->ip->protocol != IPPROTO_DCCP)
		return CONTINUE;
	if ((void *)(udp + 1) > p->data_end || p->ip_len < sizeof(*p->ip) + sizeof(*udp))
		return CONTINUE; /* no header: nobody believes it */
	update_checksum(&udp->check, address_delta(p->key.addrs, new.addrs));
	if (!udp->check)
		udp->check = 0xffff;
	return CONTINUE;
}

/*
 * A query's identifier stands for its source port, a response's for its
 * destination port (FR9). Nothing else comes here.
 */
static __always_inline enum outcome rewrite_icmp(struct packet *p, struct tuple new)
{
	struct icmphdr *icmp = (void *)(p->ip + 1);
	__u16 id;

	if ((void *)(icmp + 1) > p->data_end)
		return DROP_BAD_L4;
	switch (icmp->type) {
	case ICMP_ECHO:
	case ICMP_TIMESTAMP:
	case ICMP_INFO_REQUEST:
	case ICMP_ADDRESS:
		id = bpf_htons((__u16)new.rest);
		break;
	default:
		id = bpf_htons((__u16)(new.rest >> 16));
	}
	if (icmp->id == id)
		return CONTINUE;
	/* A 16-bit word's complement must not grow to 32 bits. */
	update_checksum(&icmp->checksum, (__u16)~icmp->id + (__u64)id);
	icmp->id = id;
	/* Only an echo reply can be all zeros, and then the sum is the other zero. */
	if (!(icmp->type | id | icmp->checksum))
		icmp->checksum = 0xffff;
	return CONTINUE;
}

/*
 * Gives the packet another tuple. Does nothing for the connections that are not
 * translated.
 */
static __always_inline enum outcome rewrite_tuple(struct packet *p, struct tuple new)
{
	enum outcome o = CONTINUE;

	if (same_key(p->key, new))
		return CONTINUE;
	if (p->ip->protocol == IPPROTO_TCP)
		o = rewrite_tcp(p, new);
	else if (p->ip->protocol == IPPROTO_UDP)
		o = rewrite_udp(p, new);
	else if (p->ip->protocol == IPPROTO_ICMP)
		o = rewrite_icmp(p, new);
	else
		o = rewrite_portless(p, new);
	if (o != CONTINUE)
		return o;
	update_checksum(&p->ip->check, address_delta(p->key.addrs, new.addrs));
	*(__u64 *)&p->ip->saddr = new.addrs;
	return CONTINUE;
}

#endif
