package config

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"path/filepath"
	"strings"
)

// Range is a closed range of addresses of one family.
type Range struct{ First, Last netip.Addr }

// Contains reports whether a lies in the range.
func (r Range) Contains(a netip.Addr) bool {
	return r.First.IsValid() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// Size returns how many addresses the range has; math.MaxInt if they are more.
func (r Range) Size() int {
	switch {
	case !r.First.IsValid():
		return 0
	case r.First.Is6():
		return sizeIPv6(r.First.As16(), r.Last.As16())
	}
	return int(number(r.Last)-number(r.First)) + 1
}

func sizeIPv6(first, last [16]byte) int {
	word := binary.BigEndian.Uint64
	low, borrow := bits.Sub64(word(last[8:]), word(first[8:]), 0)
	if high, _ := bits.Sub64(word(last[:8]), word(first[:8]), borrow); high != 0 || low >= math.MaxInt {
		return math.MaxInt
	}
	return int(low) + 1
}

// String returns "first-last".
func (r Range) String() string { return r.First.String() + "-" + r.Last.String() }

// MarshalText lets a Range stand in JSON as it stands in files.
func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func addr(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// The parse functions return a problem instead of an error: it follows the
// name of the field in a message.

func parseAddr(s string) (netip.Addr, string) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return netip.Addr{}, quote(s) + " is not an IPv4 address"
	case !a.Is4():
		return netip.Addr{}, quote(s) + " is not IPv4, the only family supported in this version"
	}
	return a, ""
}

func parsePrefix(s string) (netip.Prefix, string) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, quote(s) + " is not an IPv4 network"
	case !p.Addr().Is4():
		return netip.Prefix{}, quote(s) + " is not IPv4, the only family supported in this version"
	}
	return p, ""
}

// parseHostPrefix wants the address of a host in a network of at least two.
func parseHostPrefix(s string) (netip.Prefix, string) {
	if !strings.Contains(s, "/") {
		return netip.Prefix{}, quote(s) + " has no network length"
	}
	p, problem := parsePrefix(s)
	switch {
	case problem != "":
		return netip.Prefix{}, problem
	case p.Bits() < 8 || p.Bits() > 30:
		return netip.Prefix{}, fmt.Sprintf("%s has a network length outside 8-30", quote(s))
	case !isHost(p, p.Addr()):
		return netip.Prefix{}, fmt.Sprintf("%s is the network or broadcast address of %s", p.Addr(), p.Masked())
	case !isUnicast(p.Addr()):
		return netip.Prefix{}, quote(s) + " is not a unicast address"
	}
	return p, ""
}

// isHost reports whether a may be a host of the network of p.
func isHost(p netip.Prefix, a netip.Addr) bool {
	host := ^uint32(0) >> p.Bits()
	h := number(a) & host
	return p.Contains(a) && h != 0 && h != host
}

func isUnicast(a netip.Addr) bool {
	return !a.IsMulticast() && !a.IsLoopback() && !a.IsUnspecified() && number(a)>>28 != 0xf
}

// IPv6 addresses are those of routers and hosts on a link: at least 64 bits name
// the network, and 126 leave hosts in it.
const (
	minIPv6Bits = 64
	maxIPv6Bits = 126
)

// isHostIPv6 reports whether a may be a host of the network of p: the address
// with no bit behind the length belongs to all its routers (RFC 4291, 2.6.1).
func isHostIPv6(p netip.Prefix, a netip.Addr) bool {
	return p.Contains(a) && a != p.Masked().Addr()
}

func parseAddrIPv6(s string) (netip.Addr, string) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || !a.Is6():
		return netip.Addr{}, quote(s) + " is not an IPv6 address"
	case a.Zone() != "":
		return netip.Addr{}, quote(s) + " has a zone, which means nothing to the other nodes"
	case a.Is4In6():
		return netip.Addr{}, quote(s) + " is an IPv4 address in the form of IPv6"
	}
	return a, ""
}

// parseHostPrefixIPv6 wants the address of a host in a network of at least three.
func parseHostPrefixIPv6(s string) (netip.Prefix, string) {
	text, length, found := strings.Cut(s, "/")
	if !found {
		return netip.Prefix{}, quote(s) + " has no network length"
	}
	a, problem := parseAddrIPv6(text)
	if problem != "" {
		return netip.Prefix{}, problem
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Sprintf("%s has %s for a network length", quote(s), quote(length))
	case p.Bits() < minIPv6Bits || p.Bits() > maxIPv6Bits:
		return netip.Prefix{}, fmt.Sprintf("%s has a network length outside %d-%d", quote(s), minIPv6Bits, maxIPv6Bits)
	case a.IsLinkLocalUnicast():
		return netip.Prefix{}, quote(s) + " is a link-local address, which means nothing beyond one link"
	case !a.IsGlobalUnicast():
		return netip.Prefix{}, quote(s) + " is not a unicast address"
	case !isHostIPv6(p, a):
		return netip.Prefix{}, fmt.Sprintf("%s is the address of all routers of %s", a, p.Masked())
	}
	return p, ""
}

func parseRangeIPv6(s string) (Range, string) { return parseEnds(s, parseAddrIPv6) }

func parseRange(s string) (Range, string) {
	r, problem := parseEnds(s, parseAddr)
	if problem != "" && !strings.Contains(s, "-") {
		problem = quote(s) + " is not an IPv4 address or a range of them"
	}
	return r, problem
}

// parseEnds reads "first-last" or a single address, of which parse reads one.
func parseEnds(s string, parse func(string) (netip.Addr, string)) (Range, string) {
	from, to, found := strings.Cut(s, "-")
	first, problem := parse(strings.TrimSpace(from))
	if problem != "" || !found {
		return Range{first, first}, problem
	}
	last, problem := parse(strings.TrimSpace(to))
	switch {
	case problem != "":
		return Range{}, problem
	case last.Less(first):
		return Range{}, fmt.Sprintf("%s is reversed", quote(s))
	}
	return Range{first, last}, ""
}

// parseNetworks reads what a rule may name: an address, a network without
// host bits, or a range.
func parseNetworks(s string) ([]netip.Prefix, string) {
	switch {
	case strings.Contains(s, "/"):
		p, problem := parsePrefix(s)
		if problem == "" && p != p.Masked() {
			problem = fmt.Sprintf("%s has bits behind its length (the network is %s)", quote(s), p.Masked())
		}
		return []netip.Prefix{p}, problem
	case strings.Contains(s, "-"):
		r, problem := parseRange(s)
		if problem != "" {
			return nil, problem
		}
		return r.prefixes(), ""
	}
	a, problem := parseAddr(s)
	return []netip.Prefix{netip.PrefixFrom(a, 32)}, problem
}

// prefixes cuts the range into the fewest networks.
func (r Range) prefixes() []netip.Prefix {
	var out []netip.Prefix
	for first, last := uint64(number(r.First)), uint64(number(r.Last)); first <= last; {
		size := 32
		if first != 0 {
			size = bits.TrailingZeros64(first)
		}
		size = min(size, bits.Len64(last-first+1)-1)
		out = append(out, netip.PrefixFrom(addr(uint32(first)), 32-size))
		first += 1 << size
	}
	return out
}

// absolute returns a path that does not depend on where a program runs.
func absolute(base, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}
