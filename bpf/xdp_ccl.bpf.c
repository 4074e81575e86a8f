//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The program of the cluster control link. */
#include "decap.h"
#include "stages.h"

static __always_inline enum outcome arrive(struct packet *p)
{
	STAGE(parse_outer(p));
	STAGE(parse_vxlan(p));
	STAGE(check_lease(p));
	STAGE(read_ccl_header(p));
	STAGE(decapsulate(p));
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
