package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"cohort/packet"
)

// ErrRule is wrapped by every error of Compile that a rule caused.
var ErrRule = errors.New("invalid rule")

// Policy is a compiled set of zones and rules. It is immutable: any number of
// goroutines may use it, and a new configuration is a new Policy.
type Policy struct {
	names []string // names[i] is the name of rule i; names[0] the default's
	rules []Verdict
	trust [MaxZones]uint8
	zones uint32 // bit per zone id
	table table
}

// Compile checks zones and rules and builds the policy. The error says which
// rule is wrong and how; it wraps ErrRule then.
func Compile(zones []Zone, rules []Rule) (*Policy, error) {
	p := &Policy{names: []string{"default"}, rules: []Verdict{{}}}
	for _, z := range zones {
		switch {
		case z.ID == 0 || z.ID >= MaxZones:
			return nil, fmt.Errorf("compile policy: zone id %d is outside 1-%d", z.ID, MaxZones-1)
		case p.zones>>z.ID&1 != 0:
			return nil, fmt.Errorf("compile policy: zone id %d is used twice", z.ID)
		case z.Trust > 100:
			return nil, fmt.Errorf("compile policy: zone %d: trust %d is outside 0-100", z.ID, z.Trust)
		}
		p.zones |= 1 << z.ID
		p.trust[z.ID] = z.Trust
	}
	if len(rules) > MaxRules {
		return nil, fmt.Errorf("compile policy: %d rules, more than %d", len(rules), MaxRules)
	}
	for i := range rules {
		r := &rules[i]
		if err := p.check(r); err != nil {
			return nil, fmt.Errorf("compile policy: rule %d (%s): %w: %w", i+1, r.Name, ErrRule, err)
		}
		p.names = append(p.names, r.Name)
		p.rules = append(p.rules, Verdict{Allow: r.Allow, Durability: r.Durability, Rule: uint16(i + 1)})
	}
	t, err := newTable(rules, maxWords)
	if err != nil {
		return nil, fmt.Errorf("compile policy: %w", err)
	}
	p.table = t
	return p, nil
}

// check refuses what cannot match or what the table cannot express.
func (p *Policy) check(r *Rule) error {
	for _, z := range [2]uint8{r.From, r.To} {
		if z != Any && (z >= MaxZones || p.zones>>z&1 == 0) {
			return fmt.Errorf("no zone has id %d", z)
		}
	}
	for _, list := range [2][]netip.Prefix{r.Source, r.Destination} {
		for _, prefix := range list {
			if !prefix.IsValid() || !prefix.Addr().Is4() {
				return fmt.Errorf("%s is not an IPv4 prefix", prefix)
			}
		}
	}
	if len(r.Ports) > 0 && r.Proto != packet.ProtoTCP && r.Proto != packet.ProtoUDP {
		return errors.New("ports need protocol TCP or UDP")
	}
	for _, ports := range r.Ports {
		if ports.First > ports.Last {
			return fmt.Errorf("port range %d-%d is reversed", ports.First, ports.Last)
		}
	}
	if r.Durability > Sync {
		return fmt.Errorf("unknown durability %d", r.Durability)
	}
	return nil
}

// Judge decides about the connection that the packet with this key opens,
// entering at zone in and leaving at zone out. Unknown zones are denied. It
// does not allocate and may be called concurrently.
func (p *Policy) Judge(in, out uint8, key packet.FlowKey) Verdict {
	if in >= MaxZones || out >= MaxZones || p.zones>>in&1 == 0 || p.zones>>out&1 == 0 {
		return Verdict{}
	}
	if rule := p.table.first(in, out, key); rule != 0 {
		return p.rules[rule]
	}
	return Verdict{Allow: p.trust[in] > p.trust[out]}
}

// RuleName returns the name of a rule as Verdict.Rule numbers it; "default"
// for 0, "" for a number this policy does not have.
func (p *Policy) RuleName(rule uint16) string {
	if int(rule) >= len(p.names) {
		return ""
	}
	return p.names[rule]
}

// Rules returns how many rules the policy has, without the default.
func (p *Policy) Rules() int { return len(p.rules) - 1 }

// number returns an address as the tables compare it.
func number(a [4]byte) uint32 { return binary.BigEndian.Uint32(a[:]) }
