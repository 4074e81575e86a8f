//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A source of packets of many connections, and a sink that counts them.
 *
 * The source writes a whole frame from a template each time: pages of live
 * frames come back as the last receiver left them, and prog-run without live
 * frames repeats one buffer, which would stay in the cache with all it touches.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define BATCH 64 /* live frames that the kernel sends before it looks at receivers */
#define PORTS 0x4000 /* ports that tell connections apart, from this number on */
#define WORDS 16 /* of 8 bytes; room for the headers of a data frame on the CCL */

/* Set at load time by Go. */
const volatile __u64 frames[2][WORDS]; /* even connections; odd ones */
const volatile __u32 ip_sum[2];        /* of the IP header without checksum and addresses */
const volatile __u32 l4_sum[2];        /* of the segment with its pseudo header, without what moves */
const volatile __u32 check_at[2];      /* transport checksum, from the IP header */
const volatile __u32 frame_len = WORDS * 8;
const volatile __u32 l3_off = ETH_HLEN;
const volatile __u32 flows = 1;
const volatile __u32 host_base;  /* address of the first host */
const volatile __u32 host_mask;  /* bits of a connection's number that tell its host */
const volatile __u32 port_shift; /* the port begins at this bit of the number */
const volatile __u32 server_base; /* address of the first server */
const volatile __u32 server_mask; /* the next server begins after every PORTS connections */
const volatile __u32 mixed;      /* odd connections use the second template */
const volatile __u32 reply;      /* the connection is told by the destination */
const volatile __u32 sequential; /* one connection after the other, not at random */
const volatile __u32 out;        /* interface that send() sends by */
const volatile __u64 pause;      /* ns from one batch of live frames to the next */
const volatile __be32 only_from;   /* source that sink() wants to see; 0 = any */
const volatile __u16 mark;       /* IP identification of all our packets */
const volatile __u32 num_servers;  /* that sink() knows, from server_base on */
const volatile __be16 server_port; /* and their port */

__u64 state = 88172645463325252ULL; /* of the random numbers */
__u32 turn;                         /* of a sequential source */
__u32 sent;                         /* packets since a batch began */
__u64 due;                          /* when the next batch may go */

/* What repeat() measures. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} subject SEC(".maps");

/* Packets that the sink took. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} taken SEC(".maps");

/* xorshift: cheaper than the helper, and the same connections in each run. */
static __always_inline __u32 any_flow(void)
{
	__u64 x = state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	state = x;
	return (x >> 32) * flows >> 32;
}

static __always_inline __u32 next_flow(void)
{
	__u32 i = turn;

	turn = i + 1 < flows ? i + 1 : 0;
	return i;
}

static __always_inline __u16 finish_sum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Makes the frame the next packet of some connection; see Key in flow.go. */
static __always_inline int write_frame(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 i = sequential ? next_flow() : any_flow();
	__u32 kind = i & mixed & 1;
	__be32 host = bpf_htonl(host_base | (i & host_mask));
	__be32 server = bpf_htonl(server_base + (i / PORTS & server_mask));
	__be16 port = bpf_htons(PORTS | (i >> port_shift & (PORTS - 1)));
	__u32 moving = (host & 0xffff) + (host >> 16) + (server & 0xffff) + (server >> 16);
	__u32 len = frame_len;
	__u64 *word = data;
	struct iphdr *ip;
	__u16 *check;

	if (data + len > end || data + l3_off + sizeof(*ip) + 4 > end)
		return -1;
#pragma unroll
	for (int w = 0; w < WORDS; w++)
		if (w * 8 < len)
			word[w] = frames[kind][w];
	ip = data + l3_off;
	ip->saddr = reply ? server : host;
	ip->daddr = reply ? host : server;
	ip->check = finish_sum(ip_sum[kind] + moving);
	((__be16 *)(ip + 1))[reply ? 1 : 0] = port;
	check = (void *)ip + (check_at[kind] & 0x3f);
	if ((void *)(check + 1) > end)
		return -1;
	*check = finish_sum(l4_sum[kind] + moving + port);
	return 0;
}

static long too_early(__u32 turns, void *unused)
{
	return bpf_ktime_get_ns() >= due;
}

/* Waits at the head of a batch, busily: a system call for each batch would cost far more. */
static __always_inline void pace(void)
{
	__u64 now;

	if (!pause || sent++ % BATCH)
		return;
	now = bpf_ktime_get_ns();
	if (now > due + 8 * pause)
		due = now; /* what was missed is not made up for */
	bpf_loop(1 << 16, too_early, 0, 0);
	due += pause;
}

/* Live frames: each packet goes out by an interface. */
SEC("xdp.frags")
int send(struct xdp_md *ctx)
{
	pace();
	if (write_frame(ctx))
		return XDP_ABORTED;
	return bpf_redirect(out, 0);
}

/* What comes in goes out by an interface: the least that a node could do. */
SEC("xdp.frags")
int relay(struct xdp_md *ctx)
{
	return bpf_redirect(out, 0);
}

/* What the subject did to the buffer the last time. */
static __always_inline int undo(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	long meta = data - (void *)(long)ctx->data_meta;
	long grown = (void *)(long)ctx->data_end - data - frame_len;

	if (meta && bpf_xdp_adjust_meta(ctx, meta))
		return -1;
	return grown ? bpf_xdp_adjust_head(ctx, grown) : 0;
}

/* Prog-run: each packet goes through another program. */
SEC("xdp.frags")
int repeat(struct xdp_md *ctx)
{
	if (undo(ctx) || write_frame(ctx))
		return XDP_ABORTED;
	bpf_tail_call(ctx, &subject, 0);
	return XDP_ABORTED;
}

/* The subject whose time is that of repeat() alone. */
SEC("xdp.frags")
int nothing(struct xdp_md *ctx)
{
	return XDP_DROP;
}

static __always_inline int is_server(__be32 addr, __be16 port)
{
	return port == server_port && bpf_ntohl(addr) - server_base < num_servers;
}

/*
 * Whoever sends may choose our identification once in 65,536 times. So one end is a
 * server as well, which a translator leaves as it is.
 */
static __always_inline int is_ours(const struct iphdr *ip, const void *end)
{
	const __be16 *port = (const void *)(ip + 1);

	if ((void *)(port + 2) > end || ip->id != mark || *(__u8 *)ip != 0x45)
		return 0;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return 0;
	return is_server(ip->daddr, port[1]) || is_server(ip->saddr, port[0]);
}

/* Counts and drops our packets; the rest (ARP) is the host's. */
SEC("xdp.frags")
int sink(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + l3_off;
	__u32 zero = 0;
	__u64 *n;

	if ((void *)(ip + 1) > end || !is_ours(ip, end))
		return XDP_PASS;
	if (only_from && ip->saddr != only_from)
		return XDP_PASS;
	n = bpf_map_lookup_elem(&taken, &zero);
	if (n)
		*n += 1;
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
