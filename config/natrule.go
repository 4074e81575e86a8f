package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"cohort/nat"
	"cohort/packet"
)

// natRule is a rule by its place in the file.
type natRule struct {
	nat.Rule
	number int // from 1
	line   int
	path   string
	at     written
}

// written are the fields of a mapping in the order of the file.
type written []struct {
	name string
	value
}

// find returns a field, or a value without a place.
func (w written) find(name string) value {
	for i := range w {
		if w[i].name == name {
			return w[i].value
		}
	}
	return value{}
}

func (w *written) add(name string, v value) {
	*w = append(*w, struct {
		name string
		value
	}{name, v})
}

const natRuleExample = "{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}"

// natTypes are the types of rules by the names that files use, with what each
// needs and what else it may have beside name, type, from and to.
var natTypes = map[string]struct {
	kind    nat.RuleType
	needs   []string
	mayHave []string
}{
	"static":      {nat.Static, []string{"original", "mapped"}, []string{"destination", "protocol", "log"}},
	"static-pat":  {nat.StaticPAT, []string{"original", "mapped", "protocol", "original_port", "mapped_port"}, []string{"destination", "log"}},
	"dynamic":     {nat.Dynamic, []string{"pool"}, []string{"source", "destination", "protocol", "ports", "filtering", "log"}},
	"dynamic-pat": {nat.DynamicPAT, []string{"pool"}, []string{"source", "destination", "protocol", "ports", "mapping", "filtering", "log"}},
	"identity":    {nat.Identity, nil, []string{"source", "destination", "protocol", "ports"}},
}

// readRules reads nat.rules; interfaces and pools are known by now.
func (r *natReader) readRules(v value) {
	items := v.items()
	if len(items) > nat.MaxRules {
		v.wrong("has %d rules, more than %d", len(items), nat.MaxRules)
		return
	}
	lines := map[string]int{}
	before := len(r.p.list)
	for i, item := range items {
		item.example = natRuleExample
		rule := natRule{number: i + 1, line: item.n.Line, path: item.path, at: make(written, 0, 12)}
		r.readRule(item, &rule)
		if line, twice := lines[rule.Name]; twice && rule.Name != "" {
			r.p.add(rule.line, fmt.Sprintf("%s.name %s is the name of the rule in line %d too", rule.path, quote(rule.Name), line), "give every rule a name of its own")
		}
		lines[rule.Name] = rule.line
		r.rules = append(r.rules, rule)
	}
	if len(r.p.list) > before {
		return // comparing rules that are wrong by themselves would only confuse
	}
	r.compareRules()
	for i := range r.rules {
		r.out.Rules = append(r.out.Rules, r.rules[i].Rule)
	}
}

// readRule reads one rule and checks it by itself.
func (r *natReader) readRule(v value, rule *natRule) {
	noted := func(name string, required bool, example string, read func(value)) field {
		return field{name, required, name + ": " + example, func(v value) { rule.at.add(name, v); read(v) }}
	}
	before := len(r.p.list)
	var kind string
	v.fields(
		noted("name", true, "out", func(v value) { rule.Name = v.name() }),
		noted("type", true, "dynamic-pat", func(v value) { kind = v.choice("static", "static-pat", "dynamic", "dynamic-pat", "identity") }),
		noted("from", true, "inside", func(v value) { rule.From = r.iface(v) }),
		noted("to", true, "outside", func(v value) { rule.To = r.iface(v) }),
		noted("source", false, "10.0.0.0/8", func(v value) { rule.Source = v.network() }),
		noted("destination", false, "10.9.0.0/16", func(v value) { rule.Destination = v.network() }),
		noted("protocol", false, "tcp", func(v value) { rule.Protocol = v.protocol() }),
		noted("ports", false, "[80, 443]", func(v value) {
			for _, p := range v.ports() {
				rule.Ports = append(rule.Ports, nat.PortRange{First: p.First, Last: p.Last})
			}
		}),
		noted("original", false, "10.1.8.80", func(v value) { rule.Original = v.hosts() }),
		noted("mapped", false, "203.0.113.80", func(v value) { rule.Mapped = v.hosts() }),
		noted("original_port", false, "22", func(v value) { rule.OriginalPort = uint16(v.number(1, 65535)) }),
		noted("mapped_port", false, "2222", func(v value) { rule.MappedPort = uint16(v.number(1, 65535)) }),
		noted("pool", false, "egress", func(v value) { rule.Pool = v.poolName() }),
		noted("mapping", false, "endpoint-independent", func(v value) { rule.Mapping = v.behaviour() }),
		noted("filtering", false, "address-and-port-dependent", func(v value) { rule.Filtering = v.behaviour() }),
		noted("log", false, "xlates", func(v value) { rule.LogXlates = v.choice("blocks", "xlates") == "xlates" }),
	)
	if kind == "" {
		return
	}
	rule.Type = natTypes[kind].kind
	r.checkFields(v, rule, kind)
	if len(r.p.list) > before {
		return
	}
	r.checkValues(rule)
	r.checkPool(rule)
}

// checkFields compares what is written with what a rule of this type has.
func (r *natReader) checkFields(v value, rule *natRule, kind string) {
	t := natTypes[kind]
	for _, name := range t.needs {
		if rule.at.find(name).n == nil {
			r.p.add(rule.line, v.under(name)+" is missing", "add "+natFieldExamples[name])
		}
	}
	for i := range rule.at {
		name, at := rule.at[i].name, rule.at[i].value
		if slices.Contains([]string{"name", "type", "from", "to"}, name) || slices.Contains(t.needs, name) || slices.Contains(t.mayHave, name) {
			continue
		}
		mend := "remove it"
		switch {
		case name == "source":
			mend = "remove it: original says the source"
		case name == "ports" && kind == "static-pat":
			mend = "write original_port and mapped_port"
		case (name == "original_port" || name == "mapped_port") && kind == "static":
			mend = "write type: static-pat"
		case name == "original" || name == "mapped":
			mend = "write source and pool, or type: static"
		case name == "mapping" && kind == "dynamic":
			mend = "remove it: a host with an address of its own is mapped independently of its peers"
		case (name == "mapping" || name == "filtering") && kind != "identity":
			mend = "remove it: who reaches a static mapping is the policy's decision"
		}
		r.p.add(at.n.Line, fmt.Sprintf("%s has no meaning for type %s", at.path, kind), mend)
	}
}

var natFieldExamples = map[string]string{
	"original": "original: 10.1.8.80", "mapped": "mapped: 203.0.113.80", "protocol": "protocol: tcp",
	"original_port": "original_port: 22", "mapped_port": "mapped_port: 2222", "pool": "pool: egress",
}

// checkValues checks values against each other.
func (r *natReader) checkValues(rule *natRule) {
	wrong := func(name, mend, format string, args ...any) {
		at := rule.at.find(name)
		r.p.add(at.n.Line, at.path+" "+fmt.Sprintf(format, args...), mend)
	}
	overTransport := rule.Protocol == packet.ProtoTCP || rule.Protocol == packet.ProtoUDP
	switch {
	case len(rule.Ports) > 0 && !overTransport:
		wrong("ports", "add protocol: tcp", "has no meaning without protocol tcp or udp")
	case rule.Type == nat.StaticPAT && !overTransport:
		wrong("protocol", "write protocol: tcp", "has no ports, and static-pat maps one")
	case rule.Filtering == nat.EndpointIndependent && rule.Type == nat.DynamicPAT && rule.Mapping != nat.EndpointIndependent:
		wrong("filtering", "add mapping: endpoint-independent", "endpoint-independent needs a mapping that is endpoint-independent too")
	}
	if rule.Type != nat.Static && rule.Type != nat.StaticPAT {
		return
	}
	switch {
	case rule.Original.Bits() != rule.Mapped.Bits():
		wrong("mapped", fmt.Sprintf("write a network of length /%d", rule.Original.Bits()), "%s has another size than original %s", brief(rule.Mapped), brief(rule.Original))
	case rule.Type == nat.Static && rule.Original == rule.Mapped:
		wrong("mapped", "write type: identity, and source instead of both", "%s is the original", brief(rule.Mapped))
	default:
		if own := r.cluster.ownAddress(rangeOf(rule.Mapped)); own != "" {
			wrong("mapped", routed, "%s overlaps %s", brief(rule.Mapped), own)
		}
	}
}

// checkPool checks that the pool is there, and of the right type.
func (r *natReader) checkPool(rule *natRule) {
	if rule.Pool == "" {
		return
	}
	at := rule.at.find("pool")
	place, known := r.pools[rule.Pool]
	switch {
	case !known:
		mend := "known pools: " + strings.Join(r.names, ", ")
		if n := nearest(rule.Pool, r.names); n != "" {
			mend = fmt.Sprintf("did you mean %s?", n)
		} else if len(r.names) == 0 {
			mend = "add pools: {" + rule.Pool + ": {addresses: [203.0.113.10-203.0.113.11]}}"
		}
		r.p.add(at.n.Line, fmt.Sprintf("%s %s is not a pool", at.path, quote(rule.Pool)), mend)
	case place.index < 0: // has a mistake of its own
	case rule.Type == nat.DynamicPAT && r.out.Pools[place.index].Kind != nat.PoolPorts:
		r.p.add(at.n.Line, fmt.Sprintf("%s %s lends whole addresses (line %d), and dynamic-pat needs a pool of ports", at.path, rule.Pool, place.line), "write type: dynamic, or another pool")
	case rule.Type == nat.Dynamic && r.out.Pools[place.index].Kind != nat.PoolAddresses:
		r.p.add(at.n.Line, fmt.Sprintf("%s %s lends ports (line %d), and dynamic needs a pool of type addresses", at.path, rule.Pool, place.line), "write type: dynamic-pat, or another pool")
	}
}

// iface reads an interface of this configuration, or any.
func (r *natReader) iface(v value) uint8 {
	if name := r.cluster.zone(v); name != "" {
		if i := r.cluster.Interface(name); i != nil {
			return i.ID
		}
	}
	return nat.Any
}

// network reads an address, a network or any, which is the zero prefix.
func (v value) network() netip.Prefix {
	s, ok := v.scalar("an address or network")
	if !ok || s == "any" {
		return netip.Prefix{}
	}
	p, problem := parseNetwork(s)
	if problem != "" {
		v.wrong("%s", problem)
	}
	if problem != "" || p.Bits() == 0 {
		return netip.Prefix{}
	}
	return p
}

// hosts reads an address or a network of addresses that hosts can have.
func (v value) hosts() netip.Prefix {
	s, ok := v.scalar("an address or network")
	if !ok {
		return netip.Prefix{}
	}
	if s == "interface" {
		interfacePAT(v)
		return netip.Prefix{}
	}
	p, problem := parseNetwork(s)
	if problem == "" {
		if all := rangeOf(p); !isUnicast(all.First) || !isUnicast(all.Last) {
			problem = quote(s) + " is not unicast"
		}
	}
	if problem != "" {
		v.wrong("%s", problem)
		return netip.Prefix{}
	}
	return p
}

// poolName reads the name of a pool.
func (v value) poolName() string {
	name := v.name()
	if name == "interface" {
		interfacePAT(v)
		return ""
	}
	return name
}

// behaviour reads one of RFC 4787's behaviours.
func (v value) behaviour() nat.Behaviour {
	if v.choice(nat.AddressAndPortDependent.String(), nat.EndpointIndependent.String()) == nat.EndpointIndependent.String() {
		return nat.EndpointIndependent
	}
	return nat.AddressAndPortDependent
}

// brief prints a network of one address without its length.
func brief(p netip.Prefix) string {
	if p.Bits() == 32 {
		return p.Addr().String()
	}
	return p.String()
}
