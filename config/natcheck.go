package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"cohort/nat"
	"cohort/packet"
)

// compareRules refuses rules that cannot stand beside each other, or beside the
// pools (NT10). Package nat refuses the same; here it gets its place in the
// file. Each rule gets one line at most per kind of mistake.
func (r *natReader) compareRules() {
	var statics []*natRule
	for i := range r.rules {
		rule := &r.rules[i]
		if rule.Pool != "" {
			r.compareUse(rule)
		}
		if rule.Type == nat.Static || rule.Type == nat.StaticPAT {
			statics = append(statics, rule)
		}
	}
	mapped := pairs{
		network: func(r *natRule) netip.Prefix { return r.Mapped },
		port:    func(r *natRule) uint16 { return r.MappedPort },
		clash:   clashMapped,
	}
	mapped.each(statics, func(first, second *natRule) {
		at := second.at.find("mapped")
		r.p.add(at.n.Line, fmt.Sprintf("%s %s overlaps that of rule %s (line %d)", at.path, endpoint(second.Mapped, second.MappedPort), first.Name, first.line), "give every mapping an address or a port of its own")
	})
	original := pairs{
		network: func(r *natRule) netip.Prefix { return r.Original },
		port:    func(*natRule) uint16 { return 0 },
		clash:   clashOriginal,
	}
	whole := slices.DeleteFunc(slices.Clone(statics), func(r *natRule) bool { return r.Type != nat.Static })
	original.each(whole, func(first, second *natRule) {
		at := second.at.find("original")
		r.p.add(at.n.Line, fmt.Sprintf("%s %s overlaps that of rule %s (line %d): a host has one mapped address at an interface", at.path, brief(second.Original), first.Name, first.line), "remove one, or name another interface or destination")
	})
	r.compareWithPools(statics)
}

// compareUse refuses a pool that serves both any and a named interface.
func (r *natReader) compareUse(rule *natRule) {
	first := r.serving[rule.Pool]
	if first == nil {
		r.serving[rule.Pool] = rule
		return
	}
	if (first.To == nat.Any) == (rule.To == nat.Any) {
		return
	}
	here, there := "a named interface", "any"
	if rule.To == nat.Any {
		here, there = there, here
	}
	at := rule.at.find("pool")
	r.p.add(at.n.Line, fmt.Sprintf("%s %s serves %s here and %s in rule %s (line %d)", at.path, rule.Pool, here, there, first.Name, first.line), "name the interface in both, or use two pools")
}

// pairs finds static rules that overlap on one of their sides.
type pairs struct {
	network func(*natRule) netip.Prefix
	port    func(*natRule) uint16 // 0 = all
	clash   func(a, b *natRule) bool
}

// level is a network with the rules that have exactly it, by their port.
type level struct {
	network netip.Prefix
	rules   []*natRule
	byPort  map[uint16][]*natRule
}

// each calls found for the later rule of a pair that clashes, once for each such
// rule. Networks nest or are apart: taken by address, the wider ones first, a
// rule can overlap only those on the stack, and one for a port only those for
// the same port or for all. So ten thousand ports of one address cost no more
// than ten thousand addresses.
func (p pairs) each(rules []*natRule, found func(first, second *natRule)) {
	sorted := slices.Clone(rules)
	slices.SortStableFunc(sorted, func(a, b *natRule) int {
		x, y := p.network(a), p.network(b)
		return cmp.Or(x.Addr().Compare(y.Addr()), cmp.Compare(x.Bits(), y.Bits()))
	})
	said := map[*natRule]bool{}
	var stack []*level
	for _, rule := range sorted {
		network, port := p.network(rule), p.port(rule)
		for len(stack) > 0 && !stack[len(stack)-1].network.Contains(network.Addr()) {
			stack = stack[:len(stack)-1]
		}
		for _, l := range stack {
			other := p.meets(l, port, rule)
			if other == nil {
				continue
			}
			first, second := other, rule
			if second.number < first.number {
				first, second = second, first
			}
			if !said[second] {
				said[second] = true
				found(first, second)
			}
			break
		}
		if len(stack) == 0 || stack[len(stack)-1].network != network {
			stack = append(stack, &level{network: network, byPort: map[uint16][]*natRule{}})
		}
		top := stack[len(stack)-1]
		top.rules = append(top.rules, rule)
		top.byPort[port] = append(top.byPort[port], rule)
	}
}

// meets returns a rule of the level that clashes with this one, or nil.
func (p pairs) meets(l *level, port uint16, rule *natRule) *natRule {
	lists := [2][]*natRule{l.byPort[port], l.byPort[0]}
	if port == 0 {
		lists = [2][]*natRule{l.rules}
	}
	for _, list := range lists {
		for _, other := range list {
			if p.clash(other, rule) {
				return other
			}
		}
	}
	return nil
}

// clashMapped reports whether a packet to a mapped address and port that both
// rules have could be for either.
func clashMapped(a, b *natRule) bool {
	if !meet(a.Protocol, b.Protocol) || !networksMeet(a.Destination, b.Destination) {
		return false
	}
	if meet(a.To, b.To) {
		return true
	}
	// Seen at different interfaces, but used from a common one (hairpinning,
	// RFC 4787): harmless only when both mean the same.
	common := meet(a.From, b.From) || meet(a.From, b.To) || meet(a.To, b.From)
	same := a.Type == b.Type && a.Original == b.Original && a.Mapped == b.Mapped && a.OriginalPort == b.OriginalPort
	return common && !same
}

// clashOriginal reports whether a host would have two mapped addresses at one
// interface. A port may be forwarded from several ports: those are not compared.
func clashOriginal(a, b *natRule) bool {
	return meet(a.From, b.From) && meet(a.To, b.To) && meet(a.Protocol, b.Protocol) && networksMeet(a.Destination, b.Destination)
}

// meet compares interfaces or protocols, of which 0 is any.
func meet(a, b uint8) bool { return a == b || a == nat.Any || b == nat.Any }

// networksMeet compares networks, of which the zero one is any.
func networksMeet(a, b netip.Prefix) bool { return !a.IsValid() || !b.IsValid() || a.Overlaps(b) }

// compareWithPools refuses static mappings of what a pool lends out. A port
// below those of a pool can be forwarded: one public address is enough for a
// small site.
func (r *natReader) compareWithPools(statics []*natRule) {
	lent := make([]uint32, 0, len(r.owner))
	for a := range r.owner {
		lent = append(lent, number(a.Netip()))
	}
	slices.Sort(lent)
	for _, rule := range statics {
		all := rangeOf(rule.Mapped)
		for at, _ := slices.BinarySearch(lent, number(all.First)); at < len(lent) && lent[at] <= number(all.Last); at++ {
			if r.compareWithPool(rule, addr(lent[at])) {
				break
			}
		}
	}
}

// compareWithPool reports whether the pool of the address a lends out what the
// rule maps, and refuses that.
func (r *natReader) compareWithPool(rule *natRule, a netip.Addr) bool {
	place := r.pools[r.owner[packet.AddrFrom(a)]]
	if place.index < 0 {
		return false
	}
	pool := &r.out.Pools[place.index]
	below := pool.Kind == nat.PoolPorts && !pool.IncludeReserved
	if rule.Type == nat.Static || !below {
		at := rule.at.find("mapped")
		mend := "map to an address of no pool"
		if below {
			mend += ", or forward ports below 1024 with type: static-pat"
		}
		r.p.add(at.n.Line, fmt.Sprintf("%s %s overlaps address %s of pool %s (line %d)", at.path, brief(rule.Mapped), a, pool.Name, place.line), mend)
		return true
	}
	if rule.MappedPort < 1024 {
		return false
	}
	at := rule.at.find("mapped_port")
	r.p.add(at.n.Line, fmt.Sprintf("%s %d of %s is lent out by pool %s (line %d)", at.path, rule.MappedPort, a, pool.Name, place.line), "write a port below 1024, or map to an address of no pool")
	return true
}

// endpoint prints a mapped network with its port.
func endpoint(p netip.Prefix, port uint16) string {
	if port == 0 {
		return brief(p)
	}
	return fmt.Sprintf("%s:%d", brief(p), port)
}
