//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The program of the cluster control link. */
#include "decap.h"
#include "stages.h"

/* Takes the packet out of a frame whose outer IP header has so many bytes. */
static __always_inline enum outcome unwrap(struct packet *p, const int ip)
{
	STAGE(parse_outer(p, ip));
	STAGE(parse_vxlan(p, ip));
	STAGE(check_lease(p));
	STAGE(read_ccl_header(p, ip));
	return decapsulate(p, ip);
}

static __always_inline enum outcome arrive(struct packet *p)
{
	STAGE(ccl_ipv6 ? unwrap(p, CCL_OVER_IPV6) : unwrap(p, CCL_OVER_IPV4));
	STAGE(parse_ipv4(p));
	return settle(p, 0);
}

SEC("xdp.frags")
int xdp_ccl(struct xdp_md *ctx)
{
	struct packet p = { .ctx = ctx, .control = load_control(), .socket = XSK_CCL };

	if (!p.control)
		return XDP_DROP;
	reload(&p);
	return finish(&p, arrive(&p));
}

char _license[] SEC("license") = "Dual BSD/GPL";
