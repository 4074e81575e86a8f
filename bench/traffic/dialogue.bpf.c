//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Clients and servers that talk TCP without a socket: what to say next follows
 * from the packet that came, so that neither side has a table and millions of
 * connections cost the generator nothing but their packets.
 *
 *	client            server
 *	SYN           ->            dial()
 *	              <-  SYN-ACK   answer()
 *	ACK, data     ->            listen()
 *	              <-  ACK, data answer()
 *	FIN           ->            listen(), if it closes
 *	              <-  FIN       answer()
 *	ACK           ->            listen()
 *
 * Each packet leaves by a port chosen at random, or each connection's packets of
 * one direction do: routers with ECMP that spread packets, or connections. With
 * UDP a client sends one packet and gets one back. With tiers a node that has no
 * capacity left gets none.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/in.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tier.h"

#define PORTS 0x4000    /* ports of the clients that tell connections apart, from this number on */
#define PAYLOAD 12      /* bytes of data in a packet */
#define ODD 66          /* bytes of the largest packet, with its Ethernet header */
#define MAX_OUTS 16
#define CLIENT_ISN 1000
#define SERVER_ISN 5000
#define WINDOW 502
#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define PSH 0x08
#define ACK 0x10

/* Where packets go: interfaces, and the MAC at the other end of each. */
struct port {
	__u32 ifindex;
	__u8 mac[ETH_ALEN];
	__u8 pad[2];
};

/* Set at load time by Go. */
const volatile struct port outs[MAX_OUTS];
const volatile __u32 num_outs = 1;
const volatile __u32 flows = 1;       /* connections that dial() takes, from number 0 on */
const volatile __u32 host_base;       /* address of the first client */
const volatile __u32 host_mask;       /* bits of a connection's number that tell its client */
const volatile __u32 server_base;     /* address of the first server */
const volatile __u32 server_mask;     /* the next server begins after every PORTS connections */
const volatile __u32 established;     /* dial() sends data of any connection, not the SYN of the next one */
const volatile __u32 in_order;        /* of the next connection then, not of any */
const volatile __u32 udp;             /* dial() sends UDP */
const volatile __u32 by_flow;         /* a connection's packets of one direction leave by one port */
const volatile __u32 back;            /* what is answered goes back by the port where it came in */
const volatile __be16 server_port;
const volatile __be16 mark;           /* IP identification of all our packets */

__u64 random_state = 88172645463325252ULL;
__u32 turn;            /* the next connection */
volatile __u32 closes; /* clients close when they have been answered; Go changes it */
__u8 odd[ODD];         /* the beginning of the last packet that was damaged or strange */

enum counted { DIALLED, OPENED, ANSWERED, CLOSED, REFUSED, DAMAGED, STRANGE, SPEECHLESS, NUM_COUNTED };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NUM_COUNTED);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline int count(__u32 what, int verdict)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &what);

	if (n)
		*n += 1;
	return verdict;
}

/* Counts a packet that should not be, and keeps it for whoever asks what it was. */
static __always_inline int reject(struct xdp_md *ctx, __u32 what)
{
	__u32 len = bpf_xdp_get_buff_len(ctx);

	__builtin_memset(odd, 0, ODD);
	if (len > ODD)
		len = ODD;
	if (len)
		bpf_xdp_load_bytes(ctx, 0, odd, len);
	return count(what, XDP_DROP);
}

static __always_inline __u32 any(__u32 below)
{
	__u64 x = random_state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	random_state = x;
	return (x >> 32) * below >> 32;
}

/* One packet, addresses and ports as they lie in it. */
struct words {
	__be32 saddr, daddr;
	__be16 sport, dport;
	__u32 seq, ack; /* host order */
	__u16 len;      /* of the data */
	__u8 flags;
	__u8 proto;
};

static __always_inline __u64 sum32(const void *at, int n)
{
	const __u32 *w = at;
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < n; i++)
		sum += w[i];
	return sum;
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* What the transport's checksum takes from the IP header. */
static __always_inline __u64 pseudo(const struct iphdr *ip, __u16 l4_len)
{
	return (__u64)ip->saddr + ip->daddr + bpf_htons(ip->protocol) + bpf_htons(l4_len);
}

/* The packet is as long as its IP header says, and both checksums are right. */
static __always_inline int undamaged(const struct iphdr *ip, const void *end, int header, __u16 len)
{
	const void *l4 = ip + 1;
	__u64 sum;

	if (l4 + header + len > end)
		return 0;
	sum = pseudo(ip, header + len);
	if (header == sizeof(struct tcphdr)) {
		if (l4 + sizeof(struct tcphdr) > end)
			return 0;
		sum += sum32(l4, sizeof(struct tcphdr) / 4);
	} else {
		if (l4 + sizeof(struct udphdr) > end)
			return 0;
		sum += sum32(l4, sizeof(struct udphdr) / 4);
	}
	if (len) {
		if (l4 + header + PAYLOAD > end)
			return 0;
		sum += sum32(l4 + header, PAYLOAD / 4);
	}
	return fold(sum32(ip, sizeof(*ip) / 4)) == 0xffff && fold(sum) == 0xffff;
}

/*
 * What the packet says: 0, or XDP_PASS for what is not ours and XDP_DROP for
 * what is, and should not look like that.
 */
static __always_inline int read_packet(struct xdp_md *ctx, struct words *w)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	struct tcphdr *tcp = (void *)(ip + 1);
	struct udphdr *u = (void *)(ip + 1);
	int len, header;

	if ((void *)(ip + 1) > end || ((struct ethhdr *)data)->h_proto != bpf_htons(ETH_P_IP) || ip->id != mark)
		return XDP_PASS;
	/* The answer to a ping of a router has our mark once in 65,536 times. */
	if (ip->protocol == IPPROTO_ICMP)
		return XDP_PASS;
	w->saddr = ip->saddr;
	w->daddr = ip->daddr;
	w->proto = ip->protocol;
	header = w->proto == IPPROTO_UDP ? sizeof(*u) : sizeof(*tcp);
	len = bpf_ntohs(ip->tot_len) - (int)sizeof(*ip) - header;
	if (*(__u8 *)ip != 0x45 || (w->proto != IPPROTO_TCP && w->proto != IPPROTO_UDP) || (len != 0 && len != PAYLOAD))
		return reject(ctx, STRANGE);
	w->len = len;
	if (!undamaged(ip, end, header, len))
		return reject(ctx, DAMAGED);
	if (w->proto == IPPROTO_UDP) {
		if ((void *)(u + 1) > end)
			return reject(ctx, DAMAGED);
		w->sport = u->source;
		w->dport = u->dest;
		return 0;
	}
	if ((void *)(tcp + 1) > end || tcp->doff != sizeof(*tcp) / 4)
		return reject(ctx, STRANGE);
	w->sport = tcp->source;
	w->dport = tcp->dest;
	w->seq = bpf_ntohl(tcp->seq);
	w->ack = bpf_ntohl(tcp->ack_seq);
	w->flags = ((__u8 *)tcp)[13];
	return 0;
}

static __always_inline void write_tcp(struct tcphdr *tcp, const struct words *w)
{
	__u32 *word = (__u32 *)tcp;

	tcp->source = w->sport;
	tcp->dest = w->dport;
	word[1] = bpf_htonl(w->seq);
	word[2] = bpf_htonl(w->ack);
	word[3] = bpf_htonl(5u << 28 | (__u32)w->flags << 16 | WINDOW);
	word[4] = 0;
}

static __always_inline __u32 mix(__u32 h)
{
	h = (h ^ h >> 16) * 0x85ebca6b;
	h = (h ^ h >> 13) * 0xc2b2ae35;
	return h ^ h >> 16;
}

/* What a router's hash makes of a connection; the two directions have nothing to do with each other. */
static __always_inline __u32 port_of(const struct words *w, __u32 came_in)
{
	__u32 h;

	if (num_outs == 1)
		return 0;
	if (back && came_in) {
		for (h = 0; h < MAX_OUTS - 1; h++)
			if (outs[h].ifindex == came_in)
				break;
		return h;
	}
	if (!by_flow)
		return any(num_outs);
	h = mix(w->saddr ^ 0x9e3779b1);
	h = mix(h + w->daddr);
	h = mix(h + ((__u32)w->sport << 16 | w->dport));
	return (__u64)h * num_outs >> 32;
}

/* Makes the frame this packet, all of it, and sends it by way out j. */
static __always_inline int speak(struct xdp_md *ctx, const struct words *w, __u32 j)
{
	int header = w->proto == IPPROTO_UDP ? sizeof(struct udphdr) : sizeof(struct tcphdr);
	int size = ETH_HLEN + (int)sizeof(struct iphdr) + header + w->len;
	int more = size - (int)((long)ctx->data_end - (long)ctx->data);
	const volatile struct port *out;
	void *data, *end, *l4;
	struct iphdr *ip;
	__u32 *word;
	__u64 sum;

	/* At the head: all of the frame is written anew, and behind it there may be no room. */
	if (more && bpf_xdp_adjust_head(ctx, -more))
		return count(SPEECHLESS, XDP_ABORTED);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = data + ETH_HLEN;
	l4 = ip + 1;
	if (j >= MAX_OUTS || l4 + sizeof(struct udphdr) > end)
		return count(SPEECHLESS, XDP_ABORTED);
	out = &outs[j];
	for (int i = 0; i < ETH_ALEN; i++)
		((__u8 *)data)[i] = out->mac[i];
	*(__u16 *)(data + 6) = bpf_htons(0x0200);
	*(__u32 *)(data + 8) = bpf_htonl(0x99);
	*(__u16 *)(data + 12) = bpf_htons(ETH_P_IP);
	word = (__u32 *)ip;
	word[0] = bpf_htonl(0x45000000 | (size - ETH_HLEN));
	word[1] = mark | bpf_htonl(0x4000);
	word[2] = bpf_htonl(64 << 24 | (__u32)w->proto << 16);
	word[3] = w->saddr;
	word[4] = w->daddr;
	ip->check = ~fold(sum32(ip, sizeof(*ip) / 4));
	sum = pseudo(ip, header + w->len);
	if (w->len) {
		if (l4 + header + PAYLOAD > end)
			return count(SPEECHLESS, XDP_ABORTED);
		word = l4 + header;
		word[0] = word[1] = word[2] = bpf_htonl(0x636f686f);
		sum += sum32(word, PAYLOAD / 4);
	}
	if (w->proto == IPPROTO_UDP) {
		struct udphdr *u = l4;

		u->source = w->sport;
		u->dest = w->dport;
		u->len = bpf_htons(header + w->len);
		u->check = 0;
		u->check = ~fold(sum + sum32(u, sizeof(*u) / 4));
	} else {
		struct tcphdr *tcp = l4;

		if ((void *)(tcp + 1) > end)
			return count(SPEECHLESS, XDP_ABORTED);
		write_tcp(tcp, w);
		tcp->check = ~fold(sum + sum32(tcp, sizeof(*tcp) / 4));
	}
	return bpf_redirect(out->ifindex, 0);
}

/* Says it to some node, unless that has no capacity left. */
static __always_inline int say(struct xdp_md *ctx, const struct words *w, __u32 came_in)
{
	__u32 j = port_of(w, came_in);

	if (tiered && !admit(j))
		return XDP_DROP;
	return speak(ctx, w, j);
}

/* Live frames: the first packet of the next connection, or data of any. */
SEC("xdp.frags")
int dial(struct xdp_md *ctx)
{
	__u32 i = turn;
	struct words w = {
		.dport = server_port, .proto = udp ? IPPROTO_UDP : IPPROTO_TCP,
		.seq = CLIENT_ISN, .flags = SYN,
	};

	if (established && !in_order)
		i = any(flows);
	else
		turn = i + 1 < flows ? i + 1 : 0;
	if (established) {
		w.seq = CLIENT_ISN + 1;
		w.ack = SERVER_ISN + 1;
		w.flags = ACK | PSH;
	}
	if (established || udp)
		w.len = PAYLOAD;
	w.saddr = bpf_htonl(host_base | (i & host_mask));
	w.daddr = bpf_htonl(server_base + (i / PORTS & server_mask));
	w.sport = bpf_htons(PORTS | (i & (PORTS - 1)));
	count(DIALLED, 0);
	if (tiered)
		tick();
	return say(ctx, &w, 0);
}

/* The other way, one word later. */
static __always_inline void turn_around(struct words *w)
{
	__be32 addr = w->saddr;
	__be16 port = w->sport;
	__u32 seq = w->seq;

	w->saddr = w->daddr;
	w->daddr = addr;
	w->sport = w->dport;
	w->dport = port;
	w->seq = w->ack;
	w->ack = seq + w->len;
}

/* A server: answers what calls for an answer. */
SEC("xdp.frags")
int answer(struct xdp_md *ctx)
{
	struct words w;
	int err = read_packet(ctx, &w);
	__u8 flags;

	if (err)
		return err;
	if (w.dport != server_port)
		return reject(ctx, STRANGE);
	turn_around(&w);
	if (w.proto == IPPROTO_UDP) {
		count(ANSWERED, 0);
		return say(ctx, &w, ctx->ingress_ifindex);
	}
	flags = w.flags;
	if (flags & RST)
		return count(REFUSED, XDP_DROP);
	if (flags & SYN) {
		w.seq = SERVER_ISN;
		w.ack++;
		w.flags = SYN | ACK;
		count(OPENED, 0);
	} else if (flags & FIN) {
		w.ack++;
		w.len = 0;
		w.flags = FIN | ACK;
		count(CLOSED, 0);
	} else if (w.len) {
		w.flags = ACK | PSH;
		count(ANSWERED, 0);
	} else {
		return XDP_DROP; /* the last acknowledgement */
	}
	return say(ctx, &w, ctx->ingress_ifindex);
}

/* A client: goes on as long as there is something to say. */
SEC("xdp.frags")
int listen(struct xdp_md *ctx)
{
	struct words w;
	int err = read_packet(ctx, &w);
	__u8 flags;

	if (err)
		return err;
	if (w.sport != server_port)
		return reject(ctx, STRANGE);
	turn_around(&w);
	if (w.proto == IPPROTO_UDP)
		return count(ANSWERED, XDP_DROP);
	flags = w.flags;
	if (flags & RST)
		return count(REFUSED, XDP_DROP);
	if (flags & SYN) {
		w.ack++;
		w.len = PAYLOAD;
		w.flags = ACK | PSH;
		count(OPENED, 0);
	} else if (flags & FIN) {
		w.ack++;
		w.len = 0;
		w.flags = ACK;
		count(CLOSED, 0);
	} else if (w.len) {
		count(ANSWERED, 0);
		if (!closes)
			return XDP_DROP;
		w.len = 0;
		w.flags = FIN | ACK;
	} else {
		return reject(ctx, STRANGE);
	}
	return say(ctx, &w, ctx->ingress_ifindex);
}

char _license[] SEC("license") = "Dual BSD/GPL";
