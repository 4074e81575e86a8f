package nat

import (
	"fmt"

	"cohort/packet"
)

// Compile checks a configuration and makes it ready for lookups. Errors wrap
// ErrConfig and name the rule or the pool; nothing is half compiled.
func Compile(c Config) (*Rules, error) {
	if c.HoldDown < 0 || c.HoldDownMax < 0 {
		return nil, fmt.Errorf("compile nat: %w: hold-down %s, at most %d ports: neither can be negative", ErrConfig, c.HoldDown, c.HoldDownMax)
	}
	g, err := NewGeometry(c.Pools)
	if err != nil {
		return nil, err
	}
	if len(c.Rules) > MaxRules {
		return nil, fmt.Errorf("compile nat: %w: %d rules, more than %d", ErrConfig, len(c.Rules), MaxRules)
	}
	pools := map[string]int{}
	for i, p := range g.pools {
		pools[p.Name] = i
	}
	if err := check(c.Rules, g, pools); err != nil {
		return nil, err
	}
	r := &Rules{geometry: g, names: make([]string, 1, len(c.Rules)+1), rules: make([]compiled, 1, len(c.Rules)+1), sides: make([][]side, len(g.pools))}
	for i := range c.Pools {
		p := &c.Pools[i]
		if p.MaxInbound < 0 || p.MaxInbound > MaxMaxInbound {
			return nil, poolError(p, "%d connections through a mapping is outside 0-%d; 0 means no limit", p.MaxInbound, MaxMaxInbound)
		}
		r.inbound = append(r.inbound, p.MaxInbound)
	}
	b := builders{newMatcherBuilder(), newMatcherBuilder(), newMatcherBuilder()}
	for i := range c.Rules {
		r.add(&c.Rules[i], uint16(i+1), pools, b)
	}
	r.destination, r.source, r.sourceTo = b.destination.build(), b.source.build(), b.sourceTo.build()
	return r, nil
}

type builders struct{ destination, source, sourceTo *matcherBuilder }

// add compiles one rule.
func (r *Rules) add(rule *Rule, position uint16, pools map[string]int, b builders) {
	c := compiled{
		side: side{rule.From, rule.To}, originalPort: rule.OriginalPort, mappedPort: rule.MappedPort,
		decision: Decision{Rule: position, Mapping: rule.Mapping, Filtering: rule.Filtering, LogXlates: rule.LogXlates},
	}
	source := rule.Source
	switch rule.Type {
	case Identity:
		c.decision.What = Keep
	case Dynamic, DynamicPAT:
		c.decision.What = PickPort
		if rule.Type == Dynamic {
			c.decision.What, c.decision.Mapping = PickAddress, EndpointIndependent
		}
		c.decision.Pool = pools[rule.Pool]
		r.sides[c.decision.Pool] = appendNew(r.sides[c.decision.Pool], c.side)
	case Static, StaticPAT:
		source = rule.Original
		c.decision.What, c.decision.Mapping = Fixed, EndpointIndependent
		var mask uint32
		c.original, mask = network(rule.Original)
		c.mapped, _ = network(rule.Mapped)
		c.host = ^mask
		r.mapped.add(c.mapped, mask)
		addDestination(rule, position, &c, b.destination)
	}
	var mask, want fields
	want.src, mask.src = network(source)
	want.dst, mask.dst = network(rule.Destination)
	want.proto, mask.proto = rule.Protocol, whole(rule.Protocol)
	want.in, mask.in = rule.From, whole(rule.From)
	if rule.Type == StaticPAT {
		want.srcPort, mask.srcPort = rule.OriginalPort, 0xffff
	}
	b.sourceTo.add(position, mask, want, rule.Ports)
	want.out, mask.out = rule.To, whole(rule.To)
	b.source.add(position, mask, want, rule.Ports)
	r.names = append(r.names, rule.Name)
	r.rules = append(r.rules, c)
}

// addDestination adds the way in of a static rule: from either of its
// interfaces, from the peers that it is for.
func addDestination(rule *Rule, position uint16, c *compiled, b *matcherBuilder) {
	var mask, want fields
	want.src, mask.src = network(rule.Destination)
	want.dst, mask.dst = c.mapped, ^c.host
	want.proto, mask.proto = rule.Protocol, whole(rule.Protocol)
	var ports []PortRange
	if rule.Type == StaticPAT {
		ports = []PortRange{{rule.MappedPort, rule.MappedPort}}
	}
	entries := [2]uint8{rule.To, rule.From}
	if rule.To == Any || rule.From == Any {
		entries = [2]uint8{Any, Any}
	}
	for i, in := range entries {
		if i == 1 && in == entries[0] {
			break
		}
		want.in, mask.in = in, whole(in)
		b.add(position, mask, want, ports)
	}
}

// whole is the mask of a field in which 0 stands for everything.
func whole(value uint8) uint8 {
	if value == Any {
		return 0
	}
	return 0xff
}

func appendNew(list []side, s side) []side {
	for _, have := range list {
		if have == s {
			return list
		}
	}
	return append(list, s)
}

func portsProtocol(proto uint8) bool { return proto == packet.ProtoTCP || proto == packet.ProtoUDP }
