/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * FR5: the responder of a TCP connection knows other sequence numbers of its
 * initiator than that one sends. All that speaks of them changes on the way:
 * the initiator's sequence numbers, the responder's acknowledgements, and its
 * selective ones (RFC 2018). packet.ShiftSequence does the same; a test compares
 * them.
 */
#ifndef COHORT_SEQUENCE_H
#define COHORT_SEQUENCE_H

#include "rewrite.h"

#define TCP_OPTIONS 40 /* bytes, at most */
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_SACK 5
#define SACK_WORDS 8 /* four blocks of two edges, at most */

/* What almost every segment has that is not a SYN and has no SACK (RFC 7323, A). */
#define ONLY_TIMESTAMPS bpf_htonl(0x0101080a)

/* Keeps what the verifier knows of an offset within the header through a loop. */
static __always_inline __u32 within_header(__u32 at)
{
	asm volatile("%0 &= 63" : "+r"(at));
	return at;
}

/*
 * Where the selective acknowledgement begins, from the TCP header; 0 = there is
 * none. A malformed option ends the list, as it does in most hosts. The header
 * lies before data_end.
 */
static __always_inline __u32 find_sack(const struct tcphdr *tcp, const void *data_end)
{
	const __be32 *first = (const void *)(tcp + 1);
	__u32 end = tcp->doff * 4;
	__u32 at = sizeof(*tcp);

	if (end == sizeof(*tcp))
		return 0;
	if ((void *)(first + 1) > data_end || (end == 32 && *first == ONLY_TIMESTAMPS))
		return 0;
	for (int i = 0; i < TCP_OPTIONS; i++) {
		const __u8 *option;
		__u32 length;

		at = within_header(at);
		option = (const void *)tcp + at;
		if (at + 2 > end || (void *)(option + 2) > data_end || option[0] == OPTION_END)
			return 0;
		length = option[1];
		if (option[0] == OPTION_NOP)
			length = 1;
		else if (length < 2 || at + length > end)
			return 0;
		else if (option[0] == OPTION_SACK)
			return at;
		at += length;
	}
	return 0;
}

static __always_inline void shift_sack(struct tcphdr *tcp, const void *data_end, __u32 at, __u32 by)
{
	const __u8 *option;
	__u64 sum = 0;
	__u32 words;

	at = within_header(at);
	option = (void *)tcp + at;
	if ((void *)(option + 2) > data_end)
		return;
	words = ((__u32)option[1] - 2) / 8 * 2;
	for (int i = 0; i < SACK_WORDS; i++) {
		__be32 *edge = (void *)option + 2 + 4 * i;
		__be32 shifted;

		if (i >= words || (void *)(edge + 1) > data_end)
			break;
		shifted = bpf_htonl(bpf_ntohl(*edge) + by);
		sum = delta(sum, *edge, shifted);
		*edge = shifted;
	}
	/* At an odd offset the bytes of each word count the other way round (RFC 1071, 1.B). */
	sum = fold(sum);
	if (at & 1)
		sum = __builtin_bswap16(sum);
	update_checksum(&tcp->check, sum);
}

static __always_inline void shift_word(struct tcphdr *tcp, __be32 *word, __u32 by)
{
	__be32 shifted = bpf_htonl(bpf_ntohl(*word) + by);

	update_checksum(&tcp->check, delta(0, *word, shifted));
	*word = shifted;
}

/* What a direction's own numbers have been shifted by. */
static __always_inline __u32 own_shift(__u32 delta, __u32 reply)
{
	return reply ? 0 : delta;
}

/*
 * Changes a segment behind an Ethernet header and an IPv4 header without options;
 * 0 = its header ends behind data_end, and nothing has changed. reply: of the
 * responder's direction. An acknowledgement without ACK means nothing, and stays.
 *
 * A global function, so that the verifier looks at its loops once, and not with
 * every state of its callers. Connections with shifted numbers pay for the call,
 * and the others for none of this.
 */
__noinline int shift_sequence(struct xdp_md *ctx, __u32 delta, __u32 reply)
{
	const void *data_end = (void *)(long)ctx->data_end;
	struct tcphdr *tcp = (void *)(long)ctx->data + ETH_HLEN + sizeof(struct iphdr);
	__u32 sack;

	if ((void *)(tcp + 1) > data_end || (void *)tcp + tcp->doff * 4 > data_end)
		return 0;
	if (!reply) {
		shift_word(tcp, &tcp->seq, delta);
		return 1;
	}
	if (!(((__u8 *)tcp)[13] & TCP_ACK))
		return 1;
	shift_word(tcp, &tcp->ack_seq, -delta);
	sack = find_sack(tcp, data_end);
	if (sack)
		shift_sack(tcp, data_end, sack, -delta);
	return 1;
}

#endif
