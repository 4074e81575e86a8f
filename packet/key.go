package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// IP protocol numbers that Cohort treats by name (IANA).
const (
	ProtoICMP = 1
	ProtoTCP  = 6
	ProtoUDP  = 17

	// Their checksums cover the addresses; their ports are not looked at.
	ProtoDCCP    = 33
	ProtoUDPLite = 136
)

// coversAddresses reports whether a protocol's checksum is over the addresses, too.
func coversAddresses(proto uint8) bool {
	switch proto {
	case ProtoTCP, ProtoUDP, ProtoDCCP, ProtoUDPLite:
		return true
	}
	return false
}

// Addr is an IPv4 address in network byte order. It is an array and not a
// netip.Addr so that keys stay pointer-free and can be shared with XDP.
type Addr [4]byte

// AddrFrom converts a netip address; anything but IPv4 gives the zero Addr.
func AddrFrom(a netip.Addr) Addr {
	a = a.Unmap()
	if !a.Is4() {
		return Addr{}
	}
	return a.As4()
}

// Netip returns the address as a netip.Addr.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom4(a) }

// String returns the dotted form.
func (a Addr) String() string { return a.Netip().String() }

// FlowKey identifies one direction of a connection: the tuple as it stands in
// a packet. Ports are in host byte order. For ICMP the ports follow FR9: a
// query (id, 0), its response (0, id), every other ICMP message (0, 0);
// protocols without ports use (0, 0).
//
// FR9 names echo alone. The other queries of RFC 5508 have an identifier at the
// same place, and without it in the key two hosts behind one address that ask
// one server would have the same tuple, which NT4 forbids; so they are as echo.
// The key does not tell one kind of query from another: what a host asks another
// one with the same identifier is one connection.
//
// The memory layout is shared with XDP (struct flow_key in bpf/layout.h): 16
// bytes, no padding that is not named.
type FlowKey struct {
	Src, Dst         Addr
	SrcPort, DstPort uint16
	Proto            uint8
	Zone             uint8 // reserved for overlapping address spaces; 0 today
	_                [2]uint8
}

// Reverse returns the key of the opposite direction, without translation.
func (k FlowKey) Reverse() FlowKey {
	k.Src, k.Dst = k.Dst, k.Src
	k.SrcPort, k.DstPort = k.DstPort, k.SrcPort
	return k
}

// Canonical returns the same key for both directions of a connection, and
// whether k had to be reversed to get it. The lower (address, port) comes
// first. The director is computed from this form (FR2).
func (k FlowKey) Canonical() (FlowKey, bool) {
	s, d := binary.BigEndian.Uint32(k.Src[:]), binary.BigEndian.Uint32(k.Dst[:])
	if s < d || s == d && k.SrcPort <= k.DstPort {
		return k, false
	}
	return k.Reverse(), true
}

// String prints the key as "tcp 10.0.0.1:1234 > 192.0.2.1:80".
func (k FlowKey) String() string {
	return fmt.Sprintf("%s %s:%d > %s:%d", ProtoName(k.Proto), k.Src, k.SrcPort, k.Dst, k.DstPort)
}

// ProtoName returns the usual name of an IP protocol number.
func ProtoName(p uint8) string {
	switch p {
	case ProtoICMP:
		return "icmp"
	case ProtoTCP:
		return "tcp"
	case ProtoUDP:
		return "udp"
	}
	return fmt.Sprintf("ip-%d", p)
}
