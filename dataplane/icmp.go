package dataplane

import (
	"encoding/binary"
	"fmt"

	"cohort/packet"
)

// ICMPReason is why a packet cannot go on, as far as its sender is told.
type ICMPReason uint8

// Messages a router sends (RFC 792, RFC 1812 section 4.3.3 and 5.2.7).
const (
	// TimeExceeded: the time to live ended in transit.
	TimeExceeded ICMPReason = iota
	// FragmentationNeeded: too big for the next link, and DF is set (RFC 1191).
	FragmentationNeeded
	// HostUnreachable: the next hop does not answer.
	HostUnreachable
	// NetUnreachable: there is no route.
	NetUnreachable
	// Prohibited: the policy forbids it (communication administratively
	// prohibited).
	Prohibited
	numICMPReasons
)

var icmpTypes = [numICMPReasons]struct {
	icmpType, code uint8
	name           string
}{
	TimeExceeded:        {packet.ICMPTimeExceeded, 0, "time_exceeded"},
	FragmentationNeeded: {packet.ICMPUnreachable, 4, "fragmentation_needed"},
	HostUnreachable:     {packet.ICMPUnreachable, 1, "host_unreachable"},
	NetUnreachable:      {packet.ICMPUnreachable, 0, "net_unreachable"},
	Prohibited:          {packet.ICMPUnreachable, 13, "prohibited"},
}

// String returns the reason's name in lower case.
func (r ICMPReason) String() string {
	if r >= numICMPReasons {
		return fmt.Sprintf("icmp_%d", uint8(r))
	}
	return icmpTypes[r].name
}

// ICMPErrorSize is the largest error in bytes: RFC 1812, 4.3.2.3 lets a router
// quote as much as fits 576 bytes; we stay at 548, which every host takes
// whatever options are on the way.
const ICMPErrorSize = 548

// ICMPConfig bounds the errors a node sends.
type ICMPConfig struct {
	Rate  int          // errors a second on average (RFC 1812, 4.3.2.8); default 1000
	Burst int          // errors at once; default Rate
	Now   func() int64 // monotonic clock, ns; nil means Now
}

// ICMP makes the error messages a router must send, and refuses those it must
// not. It owns its buffer: one goroutine, and a message is good until the next.
type ICMP struct {
	now    func() int64
	burst  int64 // in ns of rate
	cost   int64 // ns an error costs
	credit int64 // ns saved up, at most burst
	last   int64
	buf    [ICMPErrorSize]byte

	Limited uint64 // errors not sent because of the rate
	Refused uint64 // errors not sent because the rules forbid them
}

// NewICMP returns a builder whose bucket is full.
func NewICMP(cfg ICMPConfig) (*ICMP, error) {
	if cfg.Rate == 0 {
		cfg.Rate = 1000
	}
	if cfg.Burst == 0 {
		cfg.Burst = cfg.Rate
	}
	if cfg.Now == nil {
		cfg.Now = Now
	}
	if cfg.Rate < 1 || cfg.Rate > 1e9 || cfg.Burst < 1 || cfg.Burst > 1e6 {
		return nil, fmt.Errorf("%w: %d ICMP errors a second, %d at once", ErrConfig, cfg.Rate, cfg.Burst)
	}
	cost := int64(1e9) / int64(cfg.Rate)
	return &ICMP{now: cfg.Now, cost: cost, burst: cost * int64(cfg.Burst), credit: cost * int64(cfg.Burst), last: cfg.Now()}, nil
}

// Build makes the error that tells the sender of the IPv4 packet ip why it goes
// no further. src is the address of the interface the packet came in on (RFC
// 1812, 4.3.2.4), mtu that of the next link and only for FragmentationNeeded.
// ip must be as it was received. nil means that nothing may be sent; the result
// is an IP packet for IO.Inject, valid until the next call.
func (c *ICMP) Build(r ICMPReason, src packet.Addr, ip []byte, mtu int) []byte {
	if r >= numICMPReasons || !mayAnswer(ip) || src == (packet.Addr{}) {
		c.Refused++
		return nil
	}
	if !c.take() {
		c.Limited++
		return nil
	}
	quoted := min(len(ip), int(binary.BigEndian.Uint16(ip[2:])), ICMPErrorSize-ipv4Len-packet.ICMPLen)
	b := c.buf[:ipv4Len+packet.ICMPLen+quoted]
	copy(b[ipv4Len+packet.ICMPLen:], ip[:quoted])
	writeICMP(b[ipv4Len:], r, mtu)
	writeIPv4(b, src, packet.Addr(ip[12:16]), ip[1])
	return b
}

// take pays for one error from the token bucket.
func (c *ICMP) take() bool {
	now := c.now()
	c.credit = min(c.credit+max(now-c.last, 0), c.burst)
	c.last = now
	if c.credit < c.cost {
		return false
	}
	c.credit -= c.cost
	return true
}

// mayAnswer holds the rules of RFC 1812, 4.3.2.7 (and RFC 1122, 3.2.2): no
// error about an ICMP error, about a fragment but the first, or about a packet
// to or from an address that is not one host's.
func mayAnswer(ip []byte) bool {
	if len(ip) < ipv4Len || ip[0]>>4 != 4 {
		return false
	}
	header := int(ip[0]&0xf) * 4
	switch {
	case header < ipv4Len || len(ip) < header || int(binary.BigEndian.Uint16(ip[2:])) < header:
		return false
	case binary.BigEndian.Uint16(ip[6:])&0x1fff != 0:
		return false
	case !oneHost(packet.Addr(ip[12:16])) || ip[16] >= 224:
		return false
	}
	return ip[9] != packet.ProtoICMP || !icmpError(ip[header:])
}

// oneHost: not 0/8, loopback, multicast, class E or broadcast. A subnet's
// broadcast address cannot be told from here.
func oneHost(a packet.Addr) bool { return a[0] != 0 && a[0] != 127 && a[0] < 224 }

// icmpError reports whether an ICMP message is an error, or of a type nobody
// knows, which must be treated as one; no message at all is one, too.
func icmpError(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	switch b[0] {
	case packet.ICMPEchoReply, packet.ICMPEchoRequest, 9, 10, 13, 14, 15, 16, 17, 18:
		return false
	}
	return true
}

func writeICMP(b []byte, r ICMPReason, mtu int) {
	clear(b[:packet.ICMPLen])
	b[0], b[1] = icmpTypes[r].icmpType, icmpTypes[r].code
	if r == FragmentationNeeded {
		binary.BigEndian.PutUint16(b[6:], uint16(min(max(mtu, 0), 65535)))
	}
	binary.BigEndian.PutUint16(b[2:], packet.Checksum(b))
}

// writeIPv4 writes the header of b. The TOS is that of the packet complained
// about, with precedence 6, internetwork control (RFC 1812, 4.3.2.5), and
// without its congestion bits.
func writeIPv4(b []byte, src, dst packet.Addr, tos uint8) {
	be := binary.BigEndian
	b[0], b[1] = 0x45, 6<<5|tos&0x1c
	be.PutUint16(b[2:], uint16(len(b)))
	be.PutUint32(b[4:], 0) // no identification, no DF: an atomic packet
	b[8], b[9] = 64, packet.ProtoICMP
	be.PutUint16(b[10:], 0)
	copy(b[12:16], src[:])
	copy(b[16:20], dst[:])
	be.PutUint16(b[10:], packet.Checksum(b[:ipv4Len]))
}
