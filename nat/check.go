package nat

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// check refuses rules that cannot work, with the reason (NT10).
func check(rules []Rule, g *Geometry, pools map[string]int) error {
	users := make([]*Rule, len(g.pools)) // first rule of each pool
	for i := range rules {
		r := &rules[i]
		if why := r.check(); why != "" {
			return ruleError(rules, r, "%s", why)
		}
		if r.Pool == "" {
			continue
		}
		pool, known := pools[r.Pool]
		switch {
		case !known:
			return ruleError(rules, r, "there is no pool %q", r.Pool)
		case r.Type == DynamicPAT && g.pools[pool].Kind != PoolPorts:
			return ruleError(rules, r, "pool %q lends addresses; dynamic-pat needs a pool of ports", r.Pool)
		case r.Type == Dynamic && g.pools[pool].Kind != PoolAddresses:
			return ruleError(rules, r, "pool %q lends ports; dynamic needs a pool of addresses", r.Pool)
		}
		if first := users[pool]; first == nil {
			users[pool] = r
		} else if (first.To == Any) != (r.To == Any) {
			return ruleError(rules, r, "pool %q serves a named interface and any at once, see rule %q: name the interface in both, or use two pools", r.Pool, first.Name)
		}
	}
	if err := checkStatics(rules); err != nil {
		return err
	}
	return checkPoolsAgainstStatics(rules, g)
}

func ruleError(rules []Rule, r *Rule, format string, args ...any) error {
	position := 1
	for i := range rules {
		if &rules[i] == r {
			position = i + 1
		}
	}
	return fmt.Errorf("compile nat: rule %d (%s): %w: %s", position, r.Name, ErrConfig, fmt.Sprintf(format, args...))
}

// check returns what is wrong with a rule by itself, "" if nothing is.
func (r *Rule) check() string {
	for _, p := range [4]netip.Prefix{r.Source, r.Destination, r.Original, r.Mapped} {
		if p != (netip.Prefix{}) && (!p.IsValid() || !p.Addr().Is4()) {
			return fmt.Sprintf("%s is not an IPv4 prefix", p)
		}
	}
	for _, p := range r.Ports {
		if p.First > p.Last {
			return fmt.Sprintf("port range %d-%d is reversed", p.First, p.Last)
		}
	}
	switch {
	case r.From >= MaxInterfaces || r.To >= MaxInterfaces:
		return fmt.Sprintf("no interface has id %d", max(r.From, r.To))
	case len(r.Ports) > 0 && !portsProtocol(r.Protocol):
		return "ports need protocol TCP or UDP"
	case r.Mapping > EndpointIndependent || r.Filtering > EndpointIndependent:
		return "unknown mapping or filtering behaviour"
	}
	switch r.Type {
	case Static, StaticPAT:
		return r.checkStatic()
	case Dynamic, DynamicPAT, Identity:
		return r.checkDynamic()
	}
	return fmt.Sprintf("unknown type %d", r.Type)
}

func (r *Rule) checkDynamic() string {
	switch {
	case r.Original.IsValid() || r.Mapped.IsValid() || r.OriginalPort != 0 || r.MappedPort != 0:
		return "original and mapped are for static rules; use source"
	case r.Type == Identity && r.Pool != "":
		return "an identity rule takes nothing from a pool"
	case r.Type != Identity && r.Pool == "":
		return "a " + r.Type.String() + " rule needs a pool"
	case r.Type != DynamicPAT && r.Mapping != AddressAndPortDependent:
		return "the mapping behaviour is for dynamic-pat rules only"
	case r.Type == Identity && r.Filtering != AddressAndPortDependent:
		return "the filtering behaviour is for dynamic rules only; what an identity rule lets in is the policy's decision"
	case r.Type == DynamicPAT && r.Filtering == EndpointIndependent && r.Mapping != EndpointIndependent:
		return "endpoint-independent filtering needs endpoint-independent mapping"
	}
	return ""
}

func (r *Rule) checkStatic() string {
	switch {
	case !r.Original.IsValid() || !r.Mapped.IsValid():
		return "a " + r.Type.String() + " rule needs original and mapped"
	case r.Original.Bits() != r.Mapped.Bits():
		return fmt.Sprintf("original %s and mapped %s have different lengths", r.Original, r.Mapped)
	case r.Original.Bits() == 0:
		return "original is every address"
	case r.Original != r.Original.Masked() || r.Mapped != r.Mapped.Masked():
		return fmt.Sprintf("original %s or mapped %s has bits behind its length", r.Original, r.Mapped)
	case r.Original == r.Mapped:
		return fmt.Sprintf("%s is mapped to itself", r.Original)
	case r.Source.IsValid():
		return "original says the source; use destination to restrict the peers"
	case len(r.Ports) > 0:
		return "ports are for dynamic and identity rules; a static-pat rule maps one port"
	case r.Pool != "":
		return "a static rule takes nothing from a pool"
	case r.Mapping != AddressAndPortDependent || r.Filtering != AddressAndPortDependent:
		return "mapping and filtering behaviours are for dynamic rules; who reaches a static mapping is the policy's decision"
	case r.Type == Static && (r.OriginalPort != 0 || r.MappedPort != 0):
		return "a static rule maps whole addresses; for one port use static-pat"
	case r.Type == StaticPAT && (r.OriginalPort == 0 || r.MappedPort == 0):
		return "a static-pat rule needs original_port and mapped_port"
	case r.Type == StaticPAT && !portsProtocol(r.Protocol):
		return "a static-pat rule needs protocol TCP or UDP"
	}
	return ""
}

// checkStatics refuses static rules of which nobody could say which one a
// packet is for: the same mapped address and port, or the same original address
// mapped to two.
func checkStatics(rules []Rule) error {
	var statics []*Rule
	for i := range rules {
		if rules[i].Type == Static || rules[i].Type == StaticPAT {
			statics = append(statics, &rules[i])
		}
	}
	mapped := func(r *Rule) netip.Prefix { return r.Mapped }
	if a, b := overlap(statics, mapped, (*Rule).clashesMapped); a != nil {
		return ruleError(rules, b, "mapped %s overlaps rule %q, which maps %s", b.Mapped, a.Name, a.Mapped)
	}
	original := func(r *Rule) netip.Prefix { return r.Original }
	if a, b := overlap(statics, original, (*Rule).clashesOriginal); a != nil {
		return ruleError(rules, b, "original %s overlaps rule %q, which maps %s to %s", b.Original, a.Name, a.Original, a.Mapped)
	}
	return nil
}

// overlap finds two rules whose prefixes overlap and that clash; nil if there
// are none. Prefixes nest or are apart, so a stack of those that enclose the
// present one is enough.
func overlap(rules []*Rule, of func(*Rule) netip.Prefix, clash func(a, b *Rule) bool) (a, b *Rule) {
	sorted := slices.Clone(rules)
	slices.SortStableFunc(sorted, func(x, y *Rule) int {
		return cmp.Or(of(x).Addr().Compare(of(y).Addr()), cmp.Compare(of(x).Bits(), of(y).Bits()))
	})
	var enclosing []*Rule
	for _, r := range sorted {
		for len(enclosing) > 0 && !of(enclosing[len(enclosing)-1]).Contains(of(r).Addr()) {
			enclosing = enclosing[:len(enclosing)-1]
		}
		for _, e := range enclosing {
			if clash(e, r) {
				return e, r
			}
		}
		enclosing = append(enclosing, r)
	}
	return nil, nil
}

// clashesMapped reports whether a packet to the mapped side could be for both
// rules, whose mapped prefixes overlap.
func (r *Rule) clashesMapped(o *Rule) bool {
	if r.Type == StaticPAT && o.Type == StaticPAT && r.MappedPort != o.MappedPort {
		return false
	}
	if !meet(r.Protocol, o.Protocol) || !prefixesMeet(r.Destination, o.Destination) {
		return false
	}
	if meet(r.To, o.To) {
		return true
	}
	// Seen at different interfaces, but reached from a common one (hairpin):
	// harmless only when both mean the same.
	reached := meet(r.From, o.From) || meet(r.From, o.To) || meet(r.To, o.From)
	same := r.Type == o.Type && r.Original == o.Original && r.Mapped == o.Mapped && r.OriginalPort == o.OriginalPort
	return reached && !same
}

// clashesOriginal reports whether a host would have two mapped addresses at one
// interface. A port may be forwarded from several mapped ports.
func (r *Rule) clashesOriginal(o *Rule) bool {
	return r.Type == Static && o.Type == Static && meet(r.From, o.From) && meet(r.To, o.To) &&
		meet(r.Protocol, o.Protocol) && prefixesMeet(r.Destination, o.Destination)
}

func meet(a, b uint8) bool { return a == b || a == Any || b == Any }

func prefixesMeet(a, b netip.Prefix) bool { return !a.IsValid() || !b.IsValid() || a.Overlaps(b) }

// checkPoolsAgainstStatics refuses a static mapping of what a pool lends out.
// A port forward on a pool's address is possible below the ports that the pool
// lends: so one public address is enough for a small site.
func checkPoolsAgainstStatics(rules []Rule, g *Geometry) error {
	table := slices.Clone(g.addresses)
	slices.SortFunc(table, func(a, b AddressEntry) int { return cmp.Compare(number(a.Addr), number(b.Addr)) })
	for i := range rules {
		r := &rules[i]
		if r.Type != Static && r.Type != StaticPAT {
			continue
		}
		first, mask := network(r.Mapped)
		at, _ := slices.BinarySearchFunc(table, first, func(e AddressEntry, n uint32) int { return cmp.Compare(number(e.Addr), n) })
		for ; at < len(table) && number(table[at].Addr)&mask == first; at++ {
			e := &table[at]
			if r.Type == StaticPAT && (r.MappedPort < e.FirstPort || r.MappedPort > e.LastPort) {
				continue
			}
			of, _ := g.Pool(e.Addr)
			pool := g.pools[of].Name
			return ruleError(rules, r, "mapped %s overlaps address %s of pool %q", r.Mapped, e.Addr, pool)
		}
	}
	return nil
}
