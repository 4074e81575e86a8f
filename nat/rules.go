package nat

import (
	"encoding/binary"
	"net/netip"

	"cohort/packet"
)

// Found is what Destination says about an address.
type Found uint8

// The answers of Destination.
const (
	// Untouched: no NAT has to do with this destination.
	Untouched Found = iota
	// Translated: a static rule maps it.
	Translated
	// NoXlate: the address is NAT's (a pool's, or the mapped side of a static
	// rule), but no rule says whose this packet is. Connections and mappings
	// that exist are found in the flow table before anybody asks here; so the
	// packet belongs to nobody and must be dropped.
	NoXlate
)

// Action is what Source says about a source.
type Action uint8

// The actions of a Decision.
const (
	Keep        Action = iota // the source leaves as it is
	Fixed                     // it becomes Addr:Port
	PickPort                  // it becomes what Ports.Allocate gives from Pool
	PickAddress               // it becomes what Ports.AllocateAddress gives from Pool, its port stays
)

// Decision is what source a connection leaves with.
type Decision struct {
	What Action
	Addr packet.Addr // Fixed
	Port uint16      // Fixed; 0 for protocols without ports
	Pool int         // PickPort, PickAddress: index into Geometry.Pools
	Rule uint16      // position of the rule, from 1; 0 = none matched

	Mapping, Filtering Behaviour
	LogXlates          bool
}

// Rules is a compiled Config. It is immutable: any number of goroutines may use
// it, and a new configuration is new Rules. Destination and Source do not
// allocate.
type Rules struct {
	geometry *Geometry
	names    []string
	rules    []compiled // by position, from 1

	destination matcher // in: interfaces a mapping is reached from; src: the peer; dst: mapped
	mapped      prefixSet
	source      matcher
	sourceTo    matcher  // the same without asking for the interface the packet leaves by
	sides       [][]side // of each pool: the interface pairs of its rules
	inbound     []int    // of each pool: MaxInbound
}

// compiled is a rule as lookups use it.
type compiled struct {
	side
	decision                 Decision
	original, mapped, host   uint32 // Static, StaticPAT; host is the bits that are carried over
	originalPort, mappedPort uint16 // StaticPAT
}

// side is the pair of interfaces of a rule.
type side struct{ from, to uint8 }

// MaxInbound returns Pool.MaxInbound of a pool, by its index in the geometry. It is
// no part of that: to change it numbers nothing anew.
func (r *Rules) MaxInbound(pool int) int { return r.inbound[pool] }

// Geometry returns the numbering of the pools' units.
func (r *Rules) Geometry() *Geometry { return r.geometry }

// Len returns the number of rules.
func (r *Rules) Len() int { return len(r.names) - 1 }

// RuleName returns the name of a rule as Decision.Rule numbers it, "" for 0 and
// for numbers that these rules do not have.
func (r *Rules) RuleName(rule uint16) string {
	if int(rule) >= len(r.names) {
		return ""
	}
	return r.names[rule]
}

// Destination says where a packet that opens a connection really goes: k as
// received on interface in. With Translated, to is k with the real destination,
// and rule the position of the rule; else to is k.
//
// Static rules apply to packets that enter by either of their interfaces: by To
// because that is where the mapped address is seen, by From because hosts there
// may use it too (hairpinning, RFC 4787 REQ-9).
func (r *Rules) Destination(in uint8, k packet.FlowKey) (to packet.FlowKey, rule uint16, what Found) {
	if !r.mapped.contains(number(k.Dst)) {
		if _, ok := r.geometry.index.get(k.Dst); ok {
			return k, 0, NoXlate
		}
		return k, 0, Untouched
	}
	rule = r.destination.first(query(in, Any, k, k.Dst), k.DstPort)
	if rule == 0 {
		return k, 0, NoXlate
	}
	c := &r.rules[rule]
	to = k
	to.Dst = addr(c.original | number(k.Dst)&c.host)
	if c.mappedPort != 0 {
		to.DstPort = c.originalPort
	}
	return to, rule, Translated
}

// Source says what source a connection leaves with. k is its first packet as
// received on interface in; to is k after Destination, or after a mapping that
// was found in the flow table; out is the interface of the route to to.Dst.
//
// A hairpin (a host reaches another one, on its own side, by the other's mapped
// address) is translated as if the packet really left towards the side that sees
// mapped addresses: the peer must see an external source, or its answers would
// not come back this way (RFC 4787 REQ-9).
func (r *Rules) Source(in, out uint8, k, to packet.FlowKey) Decision {
	rules, q, port := &r.source, query(in, out, k, to.Dst), to.DstPort
	if k.Dst != to.Dst {
		if towards, ok := r.hairpin(in, out, k); ok {
			q.out, q.dst, port = towards, number(k.Dst), k.DstPort
			if towards == Any {
				rules = &r.sourceTo
			}
		}
	}
	rule := rules.first(q, port)
	c := &r.rules[rule]
	d := c.decision
	if d.What == Fixed {
		d.Addr, d.Port = addr(c.mapped|q.src&c.host), k.SrcPort
		if c.mappedPort != 0 {
			d.Port = c.mappedPort
		}
	}
	return d
}

// hairpin reports whether a packet to a mapped address came from the side whose
// addresses are mapped, and the interface where the mapped address is seen (Any:
// at all).
func (r *Rules) hairpin(in, out uint8, k packet.FlowKey) (towards uint8, ok bool) {
	if rule := r.destination.first(query(in, Any, k, k.Dst), k.DstPort); rule != 0 {
		s := r.rules[rule].side
		return s.to, s.inside(in, out)
	}
	if pool, ok := r.geometry.Pool(k.Dst); ok {
		for _, s := range r.sides[pool] {
			if s.inside(in, out) {
				return s.to, true
			}
		}
	}
	return 0, false
}

// inside reports whether a packet to a mapped address, entering at in and
// leaving at out, comes from the side whose addresses are mapped.
func (s side) inside(in, out uint8) bool {
	if s.from == Any && s.to == Any {
		return in == out // nothing else tells the sides apart
	}
	return s.to != in && (s.from == Any || s.from == in)
}

// ReplyKey returns the key of a connection's packets as its responder sends them
// (k1, Key[1] in the flow table): to is the connection's key after Destination,
// src:port the source it leaves with. Protocols without ports have port 0
// whatever is passed; for ICMP queries the port is the identifier.
func ReplyKey(to packet.FlowKey, src packet.Addr, port uint16) packet.FlowKey {
	if !hasPorts(to.Proto) {
		port = 0
	}
	k1 := to
	k1.Src, k1.SrcPort = to.Dst, to.DstPort
	k1.Dst, k1.DstPort = src, port
	return k1
}

// number returns an address as lookups compare it.
func number(a packet.Addr) uint32 { return binary.BigEndian.Uint32(a[:]) }

func addr(n uint32) (a packet.Addr) {
	binary.BigEndian.PutUint32(a[:], n)
	return a
}

// network returns a prefix as address and mask; the zero Prefix matches all.
func network(p netip.Prefix) (address, mask uint32) {
	if !p.IsValid() || p.Bits() == 0 {
		return 0, 0
	}
	mask = ^uint32(0) << (32 - p.Bits())
	return number(p.Addr().As4()) & mask, mask
}

// LogXlates reports whether a rule asks for a log of its xlates; false for 0 and
// for numbers that these rules do not have.
func (r *Rules) LogXlates(rule uint16) bool {
	return int(rule) < len(r.rules) && r.rules[rule].decision.LogXlates
}
