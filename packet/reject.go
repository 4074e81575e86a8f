package packet

// Reject is why a packet could not be parsed; OK is none. The numbers end up in
// counters: append only.
type Reject uint8

const (
	OK                    Reject = iota
	RejectTruncated              // ends within the Ethernet or IP header
	RejectNotIP                  // another EtherType, ARP among them
	RejectVLAN                   // a VLAN tag: sub-interfaces are not supported
	RejectIPv6                   // IPv6; Version and L3 are set
	RejectVersion                // EtherType and IP version disagree
	RejectIHL                    // IP header length below 20 or beyond the packet
	RejectTotalLen               // total length below the header's or beyond the buffer
	RejectFragment               // a fragment; everything of the IP header is set, see ParseFragment
	RejectL4Truncated            // no room for the TCP, UDP or ICMP header
	RejectTCPOffset              // TCP data offset below 20 or beyond the segment
	RejectUDPLength              // UDP length below 8 or beyond the packet
	RejectQuote                  // an ICMP error without a usable quotation
	RejectQuoteAddress           // an ICMP error sent to another than the quoted source
	RejectBadFragment            // a fragment without payload, of an odd length, or beyond 65,535 bytes
	RejectTinyFragment           // a first fragment without its transport header, or a later one in TCP's
	RejectFragmentedError        // a fragment of an ICMP error
	RejectIPOptions              // options of IPv4 whose lengths do not fit
	RejectSourceRoute            // options that choose the packet's way
	rejects
)

// rejectTexts are the names of the reasons and what they mean.
var rejectTexts = [rejects][2]string{
	OK:                    {"ok", "it could be parsed"},
	RejectTruncated:       {"truncated", "it ends within its Ethernet or IP header"},
	RejectNotIP:           {"not-ip", "its EtherType is neither that of IPv4 nor that of IPv6"},
	RejectVLAN:            {"vlan", "it has a VLAN tag: sub-interfaces are not supported"},
	RejectIPv6:            {"ipv6", "it is IPv6, which is not forwarded"},
	RejectVersion:         {"bad-ip-version", "its EtherType and its IP header disagree about the version"},
	RejectIHL:             {"bad-ip-header-length", "its IP header is said to be shorter than 20 bytes, or longer than the packet"},
	RejectTotalLen:        {"bad-ip-total-length", "its IP total length is below that of the header, or beyond what arrived"},
	RejectFragment:        {"fragment", "it is a fragment; those are forwarded, so this stays 0"},
	RejectL4Truncated:     {"transport-truncated", "it has no room for its TCP, UDP or ICMP header"},
	RejectTCPOffset:       {"bad-tcp-offset", "its TCP header is said to be shorter than 20 bytes, or longer than the segment"},
	RejectUDPLength:       {"bad-udp-length", "its UDP length is below 8 bytes, or beyond the packet"},
	RejectQuote:           {"bad-icmp-quote", "an ICMP error that does not quote enough of the packet that it is about"},
	RejectQuoteAddress:    {"icmp-quote-not-of-receiver", "an ICMP error to another host than the sender of the packet that it quotes"},
	RejectBadFragment:     {"bad-fragment", "a fragment without payload, of a length that no fragment but the last may have, or beyond 65,535 bytes"},
	RejectTinyFragment:    {"tiny-fragment", "a first fragment without its whole transport header, or a later one within that of TCP"},
	RejectFragmentedError: {"fragmented-icmp-error", "a fragment of an ICMP error: what it quotes cannot be judged or translated"},
	RejectIPOptions:       {"bad-ip-options", "the lengths of its IPv4 options do not fit"},
	RejectSourceRoute:     {"source-route", "its IPv4 options choose its way"},
}

// String returns the name used in counters and logs.
func (r Reject) String() string {
	if r < rejects {
		return rejectTexts[r][0]
	}
	return "invalid"
}

// Describe says in words why the packet was refused.
func (r Reject) Describe() string {
	if r < rejects {
		return rejectTexts[r][1]
	}
	return "no such reason"
}
