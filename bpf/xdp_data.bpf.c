//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The program of every data interface. */
#include "stages.h"
#include "stray.h"

/*
 * Set at load time to the logical interface of a program that is attached to
 * one interface only, and spares it looking for the interface. 0 = look.
 */
const volatile __u32 only_iface = 0;

/* Which interface is this? */
static __always_inline enum outcome enter(struct packet *p)
{
	__u32 ifindex = p->ctx->ingress_ifindex;
	const __u32 *found;
	__u32 id = only_iface;

	if (!id) {
		found = bpf_map_lookup_elem(&ifindex_to_iface, &ifindex);
		id = found ? *found : 0;
	}
	if (id == 0 || id >= MAX_IFACES)
		return DROP_UNKNOWN_IFACE;
	p->iface = id;
	p->socket = id;
	p->entry = p->control->self;
	return CONTINUE;
}

/* Is the frame for us? An interface whose MAC is zero takes all. */
static __always_inline enum outcome check_destination_mac(struct packet *p)
{
	__u32 id = p->iface;
	const struct iface *i = bpf_map_lookup_elem(&ifaces, &id);
	const __u16 *to = p->data;
	const __u16 *own;

	if (!i)
		return DROP_UNKNOWN_IFACE;
	own = (const __u16 *)i->mac;
	if (!(own[0] | own[1] | own[2]))
		return CONTINUE;
	if ((to[0] ^ own[0]) | (to[1] ^ own[1]) | (to[2] ^ own[2]))
		return DROP_OTHER_HOST;
	return CONTINUE;
}

static __always_inline enum outcome transit(struct packet *p)
{
	STAGE(check_lease(p));
	STAGE(enter(p));
	STAGE(parse_ethernet(p));
	STAGE(parse_ipv4(p));
	STAGE(check_unicast(p));
	STAGE(check_destination_mac(p));
	return settle(p, 1);
}

/*
 * The node's own traffic has no entry, so only what no entry settled is looked
 * up among the local addresses, and established connections do not pay for it.
 */
static __always_inline enum outcome to_host(struct packet *p, enum outcome o)
{
	__be32 daddr = p->key.addrs >> 32;

	if (o < FIRST_PUNT || o >= FIRST_DROP || p->ref)
		return o;
	return bpf_map_lookup_elem(&local_addrs, &daddr) ? PASS_LOCAL : o;
}

SEC("xdp.frags")
int xdp_data(struct xdp_md *ctx)
{
	struct packet p = { .ctx = ctx, .control = load_control() };

	if (!p.control)
		return XDP_DROP;
	reload(&p);
	return finish(&p, refuse_vxlan(&p, to_host(&p, steer(&p, transit(&p)))));
}

char _license[] SEC("license") = "Dual BSD/GPL";
