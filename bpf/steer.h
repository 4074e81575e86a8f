/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * FR6: where does a packet to a mapped address go, at a node that has no entry
 * for it? Every (address, port) that NAT may give to a connection lies in a
 * unit, and each unit has a director, who owns the connection or knows who
 * does. So the answer is arithmetic, and no map grows with connections.
 */
#ifndef COHORT_STEER_H
#define COHORT_STEER_H

#include "encap.h"
#include "members.h"

static __always_inline int has_ports(const struct packet *p)
{
	__u8 proto = p->key.rest >> 32;

	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_ICMP;
}

/*
 * The director of the unit that the destination lies in; 0 = nobody. Packets of
 * protocols without ports belong to the first unit of their address. The same
 * as nat.Geometry.UnitOf; a test compares them.
 */
static __always_inline __u32 director(const struct packet *p)
{
	__be32 daddr = p->key.addrs >> 32;
	__u32 port = (__u16)(p->key.rest >> 16);
	const struct nat_address *a = bpf_map_lookup_elem(&nat_addrs, &daddr);
	const struct nat_units *u;
	__u32 unit, line;

	if (!a)
		return 0;
	unit = a->first_unit;
	if (a->block_size && has_ports(p)) {
		if (port < a->first_port || port > a->last_port)
			return 0;
		unit += (port - a->first_port) / a->block_size;
	}
	line = unit / NAT_UNITS_LINE;
	u = bpf_map_lookup_elem(&nat_units, &line);
	return u ? READ_ONCE(u->director[unit % NAT_UNITS_LINE]) : 0;
}

/* Sends what no entry settled to the director of its unit. */
static __always_inline enum outcome steer(struct packet *p, enum outcome o)
{
	const struct member *to;

	if (o != PUNT_MISS || (p->control->flags & CONTROL_SLOW_ONLY))
		return o;
	to = peer(director(p));
	if (!to)
		return o;
	o = encapsulate(p, to, 0);
	return o == CONTINUE ? FORWARD_STEERED : o;
}

#endif
