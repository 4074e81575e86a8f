package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"cohort/packet"
	"cohort/policy"
)

// Rule is one entry of policy.rules (TR2, FR13).
type Rule struct {
	Name        string
	From, To    string         // interface names; "" = any
	Source      []netip.Prefix // nil = any
	Destination []netip.Prefix // nil = any
	Protocol    uint8          // IP protocol; 0 = any
	Ports       []policy.Ports // destination ports; nil = any
	Allow       bool
	Durability  policy.Durability
}

// readRules reads policy.rules; the interfaces are known by now.
func (c *Cluster) readRules(v value) {
	lines := map[string]int{}
	items := v.items()
	if len(items) > maxRules {
		v.wrong("has %d rules, more than %d", len(items), maxRules)
		return
	}
	for _, item := range items {
		item.example = "{name: web-in, from: outside, to: inside, protocol: tcp, ports: [80, 443], action: allow}"
		var r Rule
		c.readRule(item, &r)
		if line, twice := lines[r.Name]; twice && r.Name != "" {
			v.p.add(item.n.Line, fmt.Sprintf("%s.name %s is the name of the rule in line %d too", item.path, quote(r.Name), line), "give every rule a name of its own")
		}
		lines[r.Name] = item.n.Line
		c.Rules = append(c.Rules, r)
	}
}

func (c *Cluster) readRule(v value, r *Rule) {
	var ports *value
	v.fields(
		field{"name", true, "name: web-in", func(v value) { r.Name = v.name() }},
		field{"from", false, "from: outside", func(v value) { r.From = c.zone(v) }},
		field{"to", false, "to: inside", func(v value) { r.To = c.zone(v) }},
		field{"source", false, "source: 10.0.0.0/8", func(v value) { r.Source = v.networks() }},
		field{"destination", false, "destination: 10.1.8.80", func(v value) { r.Destination = v.networks() }},
		field{"protocol", false, "protocol: tcp", func(v value) { r.Protocol = v.protocol() }},
		field{"ports", false, "ports: [80, 443, 8000-8099]", func(v value) { r.Ports, ports = v.ports(), &v }},
		field{"action", true, "action: allow", func(v value) { r.Allow = v.choice("allow", "deny") == "allow" }},
		field{"durability", false, "durability: async", func(v value) {
			switch v.choice("none", "async", "sync") {
			case "none":
				r.Durability = policy.None
			case "sync":
				r.Durability = policy.Sync
			}
		}},
	)
	if ports != nil && r.Protocol != packet.ProtoTCP && r.Protocol != packet.ProtoUDP {
		v.p.add(ports.n.Line, ports.path+" has no meaning without protocol tcp or udp", "add protocol: tcp")
	}
}

// zone reads the name of an interface of this configuration, or "any".
func (c *Cluster) zone(v value) string {
	s, ok := v.scalar("an interface name")
	if !ok || s == "any" {
		return ""
	}
	if c.Interface(s) != nil || len(c.Interfaces) == 0 {
		return s
	}
	var names []string
	for _, i := range c.Interfaces {
		names = append(names, i.Name)
	}
	mend := "known interfaces: " + strings.Join(append(names, "any"), ", ")
	if n := nearest(s, names); n != "" {
		mend = fmt.Sprintf("did you mean %s?", n)
	}
	v.p.add(v.n.Line, fmt.Sprintf("%s %s is not an interface", v.path, quote(s)), mend)
	return ""
}

// networks reads an address, a network, a range, "any", or a list of them.
// Where one is 0.0.0.0/0 or any, the result is nil: no condition.
func (v value) networks() []netip.Prefix {
	var out []netip.Prefix
	everything := false
	v.each(func(v value) {
		s, ok := v.scalar("an address or network")
		if !ok {
			return
		}
		if s == "any" {
			everything = true
			return
		}
		list, problem := parseNetworks(s)
		if problem != "" {
			v.wrong("%s", problem)
			return
		}
		for _, p := range list {
			everything = everything || p.Bits() == 0
		}
		out = append(out, list...)
	})
	if everything {
		return nil
	}
	return out
}

// protocol reads a protocol by name or number.
func (v value) protocol() uint8 {
	s, ok := v.scalar("a protocol")
	if !ok {
		return 0
	}
	switch s {
	case "any":
		return 0
	case "tcp":
		return packet.ProtoTCP
	case "udp":
		return packet.ProtoUDP
	case "icmp":
		return packet.ProtoICMP
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 255 {
		v.wrong("%s is not tcp, udp, icmp, any or a number from 1 to 255", quote(s))
		return 0
	}
	return uint8(n)
}

// ports reads a port, a range, or a list of them, and returns them merged and
// sorted.
func (v value) ports() []policy.Ports {
	var out []policy.Ports
	v.each(func(v value) {
		s, ok := v.scalar("a port or a range of ports")
		if !ok {
			return
		}
		from, to, isRange := strings.Cut(s, "-")
		first, err1 := strconv.ParseUint(strings.TrimSpace(from), 10, 16)
		last, err2 := first, error(nil)
		if isRange {
			last, err2 = strconv.ParseUint(strings.TrimSpace(to), 10, 16)
		}
		switch {
		case err1 != nil || err2 != nil || first == 0:
			v.wrong("%s is not a port from 1 to 65535 or a range of them", quote(s))
		case last < first:
			v.wrong("%s is reversed", quote(s))
		default:
			out = append(out, policy.Ports{First: uint16(first), Last: uint16(last)})
		}
	})
	slices.SortFunc(out, func(a, b policy.Ports) int { return int(a.First) - int(b.First) })
	var merged []policy.Ports
	for _, p := range out {
		if n := len(merged); n > 0 && int(p.First) <= int(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, p.Last)
			continue
		}
		merged = append(merged, p)
	}
	return merged
}
