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

var rejectNames = [rejects]string{
	OK:                    "ok",
	RejectTruncated:       "truncated",
	RejectNotIP:           "not-ip",
	RejectVLAN:            "vlan",
	RejectIPv6:            "ipv6",
	RejectVersion:         "bad-ip-version",
	RejectIHL:             "bad-ip-header-length",
	RejectTotalLen:        "bad-ip-total-length",
	RejectFragment:        "fragment",
	RejectL4Truncated:     "transport-truncated",
	RejectTCPOffset:       "bad-tcp-offset",
	RejectUDPLength:       "bad-udp-length",
	RejectQuote:           "bad-icmp-quote",
	RejectQuoteAddress:    "icmp-quote-not-of-receiver",
	RejectBadFragment:     "bad-fragment",
	RejectTinyFragment:    "tiny-fragment",
	RejectFragmentedError: "fragmented-icmp-error",
	RejectIPOptions:       "bad-ip-options",
	RejectSourceRoute:     "source-route",
}

// String returns the name used in counters and logs.
func (r Reject) String() string {
	if r < rejects {
		return rejectNames[r]
	}
	return "invalid"
}
