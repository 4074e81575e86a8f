package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// What a mistake about the link's addresses shows instead, in the family that
// was meant.
const (
	exampleVTEP      = "address: 10.99.0.1/24"
	exampleVTEPIPv6  = "address: fd00:99::1/64"
	examplePeers     = "peers: [10.99.0.2, 10.99.0.3-10.99.0.16]"
	examplePeersIPv6 = `peers: ["fd00:99::2", "fd00:99::3-fd00:99::10"]`
)

// The link's networks: the last 16 bits of an address tell members apart.
const (
	minLinkBits     = 16
	minLinkBitsIPv6 = 64
	maxLinkBitsIPv6 = 112
)

// vtep reads this node's address on the link.
func (v value) vtep() netip.Prefix {
	s, ok := v.scalar("an address")
	if !ok {
		return netip.Prefix{}
	}
	if strings.Contains(s, ":") {
		v.example = exampleVTEPIPv6
		p, problem := parseVTEPIPv6(s)
		if problem != "" {
			v.wrong("%s", problem)
		}
		return p
	}
	p, problem := parseHostPrefix(s)
	switch {
	case problem != "":
		v.wrong("%s", problem)
	case p.Bits() < minLinkBits:
		v.wrong("%s is a network of more than 65,536 addresses", p)
	}
	return p
}

func parseVTEPIPv6(s string) (netip.Prefix, string) {
	if !strings.Contains(s, "/") {
		return netip.Prefix{}, quote(s) + " has no network length"
	}
	if strings.Contains(s, "%") {
		return netip.Prefix{}, quote(s) + " has a zone, which means nothing to the other nodes"
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, quote(s) + " is not an IPv6 network"
	}
	a := p.Addr()
	switch {
	case a.Is4In6():
		return netip.Prefix{}, quote(s) + " is an IPv4 address in the form of IPv6"
	case p.Bits() < minLinkBitsIPv6 || p.Bits() > maxLinkBitsIPv6:
		return netip.Prefix{}, fmt.Sprintf("%s has a network length outside %d-%d", quote(s), minLinkBitsIPv6, maxLinkBitsIPv6)
	case a.IsLinkLocalUnicast():
		return netip.Prefix{}, quote(s) + " is a link-local address, which a VTEP cannot have"
	case !a.IsGlobalUnicast():
		return netip.Prefix{}, quote(s) + " is not a unicast address"
	case !isLinkHost(p, a):
		return netip.Prefix{}, fmt.Sprintf("%s ends in 16 bits that are all zero or all one; members are told apart by them", a)
	}
	return p, ""
}

// hostPart is what tells the members of a cluster apart.
func hostPart(a netip.Addr) uint16 {
	b := a.As16()
	return uint16(b[14])<<8 | uint16(b[15])
}

// isLinkHost reports whether a may be a host of the network of p, of either
// family.
func isLinkHost(p netip.Prefix, a netip.Addr) bool {
	if p.Addr().Is4() {
		return isHost(p, a)
	}
	return p.Contains(a) && hostPart(a) != 0 && hostPart(a) != 0xffff
}

// vtepRange reads "first-last" or a single address, of the family of own.
func (v value) vtepRange(own netip.Prefix) Range {
	s, ok := v.scalar("an address range")
	if !ok {
		return Range{}
	}
	r, problem := parseVTEPRange(s, own)
	if problem != "" {
		v.wrong("%s", problem)
	}
	return r
}

func parseVTEPRange(s string, own netip.Prefix) (Range, string) {
	from, to, found := strings.Cut(s, "-")
	if !found {
		to = from
	}
	var ends [2]netip.Addr
	for i, text := range []string{from, to} {
		a, err := netip.ParseAddr(strings.TrimSpace(text))
		switch {
		case err != nil && !found:
			return Range{}, quote(s) + " is not an address or a range of them"
		case err != nil:
			return Range{}, quote(strings.TrimSpace(text)) + " is not an address"
		case a.Zone() != "":
			return Range{}, quote(s) + " has a zone, which means nothing to the other nodes"
		case a.Is4() != own.Addr().Is4():
			return Range{}, fmt.Sprintf("%s is not of the family of this node's address %s; a cluster has one", a, own.Addr())
		}
		ends[i] = a
	}
	if ends[1].Less(ends[0]) {
		return Range{}, quote(s) + " is reversed"
	}
	return Range{ends[0], ends[1]}, ""
}
