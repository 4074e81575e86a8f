package nat

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cohort/packet"
)

// Interfaces of the tests.
const (
	inside  = 1
	outside = 2
	dmz     = 3
)

func prefix(s string) netip.Prefix {
	if !strings.Contains(s, "/") {
		s += "/32"
	}
	return netip.MustParsePrefix(s)
}

func compiledRules(t testing.TB, c Config) *Rules {
	t.Helper()
	r, err := Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// key parses nothing: tests write tuples out.
func key(proto uint8, src string, sport uint16, dst string, dport uint16) packet.FlowKey {
	return packet.FlowKey{Src: ip(src), Dst: ip(dst), SrcPort: sport, DstPort: dport, Proto: proto}
}

// office is a configuration with every type of rule.
func office() Config {
	return Config{
		HoldDown: DefaultHoldDown,
		Pools: []Pool{
			portPool("egress", 2),
			{Name: "direct", Kind: PoolAddresses, Addresses: manyAddressesFrom("203.0.113.64", 4)},
		},
		Rules: []Rule{
			{Name: "keep", Type: Identity, From: inside, To: Any, Source: prefix("10.0.0.0/8"), Destination: prefix("10.0.0.0/8")},
			{Name: "web", Type: Static, From: inside, To: outside, Original: prefix("10.1.8.80"), Mapped: prefix("203.0.113.80")},
			{Name: "ssh", Type: StaticPAT, From: inside, To: outside, Original: prefix("10.1.8.81"), Mapped: prefix("203.0.113.81"), Protocol: packet.ProtoTCP, OriginalPort: 22, MappedPort: 2222},
			{Name: "net", Type: Static, From: dmz, To: outside, Original: prefix("172.16.5.0/24"), Mapped: prefix("198.51.100.0/24"), Protocol: packet.ProtoUDP, Destination: prefix("192.0.2.0/24")},
			{Name: "lab", Type: Dynamic, From: inside, To: outside, Source: prefix("10.2.0.0/16"), Pool: "direct", Filtering: EndpointIndependent, LogXlates: true},
			{Name: "voice", Type: DynamicPAT, From: inside, To: outside, Source: prefix("10.0.0.0/8"), Pool: "egress", Protocol: packet.ProtoUDP, Ports: []PortRange{{5060, 5061}, {10000, 20000}}, Mapping: EndpointIndependent, Filtering: EndpointIndependent},
			{Name: "out", Type: DynamicPAT, From: inside, To: outside, Source: prefix("10.0.0.0/8"), Pool: "egress"},
		},
	}
}

func manyAddressesFrom(first string, n int) (out []packet.Addr) {
	for i := range n {
		out = append(out, addr(number(ip(first))+uint32(i)))
	}
	return out
}

func TestNT1_Destination(t *testing.T) {
	r := compiledRules(t, office())
	const tcp, udp = packet.ProtoTCP, packet.ProtoUDP
	for _, c := range []struct {
		what  string
		in    uint8
		k     packet.FlowKey
		dst   string
		port  uint16
		rule  string
		found Found
	}{
		{"static", outside, key(tcp, "192.0.2.1", 9, "203.0.113.80", 80), "10.1.8.80", 80, "web", Translated},
		{"static, any protocol", outside, key(47, "192.0.2.1", 0, "203.0.113.80", 0), "10.1.8.80", 0, "web", Translated},
		{"static, hairpin", inside, key(tcp, "10.3.0.1", 9, "203.0.113.80", 80), "10.1.8.80", 80, "web", Translated},
		{"static, another side", dmz, key(tcp, "172.16.9.1", 9, "203.0.113.80", 80), "203.0.113.80", 80, "", NoXlate},
		{"static PAT", outside, key(tcp, "192.0.2.1", 9, "203.0.113.81", 2222), "10.1.8.81", 22, "ssh", Translated},
		{"static PAT, another port", outside, key(tcp, "192.0.2.1", 9, "203.0.113.81", 22), "203.0.113.81", 22, "", NoXlate},
		{"static PAT, another protocol", outside, key(udp, "192.0.2.1", 9, "203.0.113.81", 2222), "203.0.113.81", 2222, "", NoXlate},
		{"static network", outside, key(udp, "192.0.2.1", 9, "198.51.100.77", 53), "172.16.5.77", 53, "net", Translated},
		{"static network, another peer", outside, key(udp, "192.0.3.1", 9, "198.51.100.77", 53), "198.51.100.77", 53, "", NoXlate},
		{"pool of ports", outside, key(tcp, "192.0.2.1", 9, "203.0.113.2", 2000), "203.0.113.2", 2000, "", NoXlate},
		{"pool of ports, hairpin", inside, key(tcp, "10.3.0.1", 9, "203.0.113.2", 80), "203.0.113.2", 80, "", NoXlate},
		{"pool of addresses", outside, key(tcp, "192.0.2.1", 9, "203.0.113.66", 80), "203.0.113.66", 80, "", NoXlate},
		{"nobody's", outside, key(tcp, "192.0.2.1", 9, "203.0.113.99", 80), "203.0.113.99", 80, "", Untouched},
		{"real address", outside, key(tcp, "192.0.2.1", 9, "10.1.8.80", 80), "10.1.8.80", 80, "", Untouched},
	} {
		to, rule, found := r.Destination(c.in, c.k)
		want := c.k
		want.Dst, want.DstPort = ip(c.dst), c.port
		if to != want || r.RuleName(rule) != c.rule || found != c.found {
			t.Errorf("%s: %s, rule %q, %d; want %s, %q, %d", c.what, to, r.RuleName(rule), found, want, c.rule, c.found)
		}
	}
}

func TestNT1_Source(t *testing.T) {
	r := compiledRules(t, office())
	const tcp, udp, icmp = packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP
	fixed := func(rule uint16, a string, port uint16) Decision {
		return Decision{What: Fixed, Addr: ip(a), Port: port, Rule: rule, Mapping: EndpointIndependent}
	}
	lab := Decision{What: PickAddress, Pool: 1, Rule: 5, Mapping: EndpointIndependent, Filtering: EndpointIndependent, LogXlates: true}
	voice := Decision{What: PickPort, Pool: 0, Rule: 6, Mapping: EndpointIndependent, Filtering: EndpointIndependent}
	out := Decision{What: PickPort, Pool: 0, Rule: 7}
	for _, c := range []struct {
		what    string
		in, out uint8
		k       packet.FlowKey
		want    Decision
	}{
		{"identity", inside, dmz, key(tcp, "10.3.0.1", 9, "10.9.0.1", 80), Decision{Rule: 1}},
		{"identity before the rest", inside, outside, key(tcp, "10.3.0.1", 9, "10.9.0.1", 80), Decision{Rule: 1}},
		{"static", inside, outside, key(tcp, "10.1.8.80", 9, "192.0.2.1", 80), fixed(2, "203.0.113.80", 9)},
		{"static, echo", inside, outside, key(icmp, "10.1.8.80", 77, "192.0.2.1", 0), fixed(2, "203.0.113.80", 77)},
		{"static PAT", inside, outside, key(tcp, "10.1.8.81", 22, "192.0.2.1", 80), fixed(3, "203.0.113.81", 2222)},
		{"static PAT, another port", inside, outside, key(tcp, "10.1.8.81", 23, "192.0.2.1", 80), out},
		{"static network", dmz, outside, key(udp, "172.16.5.9", 9, "192.0.2.1", 80), fixed(4, "198.51.100.9", 9)},
		{"static network, another peer", dmz, outside, key(udp, "172.16.5.9", 9, "192.0.3.1", 80), Decision{}},
		{"static network, another protocol", dmz, outside, key(tcp, "172.16.5.9", 9, "192.0.2.1", 80), Decision{}},
		{"dynamic", inside, outside, key(tcp, "10.2.0.1", 9, "192.0.2.1", 80), lab},
		{"ports", inside, outside, key(udp, "10.3.0.1", 9, "192.0.2.1", 5061), voice},
		{"ports, second range", inside, outside, key(udp, "10.3.0.1", 9, "192.0.2.1", 20000), voice},
		{"outside the ports", inside, outside, key(udp, "10.3.0.1", 9, "192.0.2.1", 5062), out},
		{"the ports, another protocol", inside, outside, key(tcp, "10.3.0.1", 9, "192.0.2.1", 5061), out},
		{"dynamic PAT", inside, outside, key(tcp, "10.3.0.1", 9, "192.0.2.1", 80), out},
		{"another source", inside, outside, key(tcp, "11.3.0.1", 9, "192.0.2.1", 80), Decision{}},
		{"another way out", inside, dmz, key(tcp, "10.3.0.1", 9, "172.16.5.1", 80), Decision{}},
		{"the other way", outside, inside, key(tcp, "192.0.2.1", 9, "10.3.0.1", 80), Decision{}},
	} {
		if got := r.Source(c.in, c.out, c.k, c.k); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.what, got, c.want)
		}
	}
}

// A host that reaches another one on its own side by the mapped address must
// appear there with an external source.
func TestRFC4787_Hairpin(t *testing.T) {
	r := compiledRules(t, office())
	const tcp = packet.ProtoTCP
	source := func(in uint8, k packet.FlowKey) Decision {
		to, _, what := r.Destination(in, k)
		if what != Translated {
			t.Fatalf("%s: not translated", k)
		}
		return r.Source(in, inside, k, to)
	}
	if d := source(inside, key(tcp, "10.3.0.1", 9, "203.0.113.80", 80)); r.RuleName(d.Rule) != "out" || d.What != PickPort {
		t.Errorf("dynamic PAT to static: %+v", d)
	}
	if d := source(inside, key(tcp, "10.3.0.1", 9, "203.0.113.81", 2222)); r.RuleName(d.Rule) != "out" {
		t.Errorf("dynamic PAT to static PAT: %+v", d)
	}
	if d := source(inside, key(tcp, "10.1.8.80", 9, "203.0.113.81", 2222)); d.What != Fixed || d.Addr != ip("203.0.113.80") {
		t.Errorf("static to static PAT: %+v", d)
	}
	if d := source(inside, key(tcp, "10.1.8.80", 9, "203.0.113.80", 80)); d.What != Fixed || d.Addr != ip("203.0.113.80") {
		t.Errorf("to itself: %+v", d)
	}
	if d := source(outside, key(tcp, "192.0.2.1", 9, "203.0.113.80", 80)); d.What != Keep || d.Rule != 0 {
		t.Errorf("from outside: %+v", d)
	}
	// To somebody's mapping in a pool: the flow table knew the host.
	k := key(tcp, "10.3.0.1", 9, "203.0.113.2", 5000)
	to := key(tcp, "10.3.0.1", 9, "10.4.0.4", 4000)
	if d := r.Source(inside, inside, k, to); r.RuleName(d.Rule) != "out" {
		t.Errorf("to a mapping: %+v", d)
	}
	if d := r.Source(outside, inside, key(tcp, "192.0.2.1", 9, "203.0.113.2", 5000), key(tcp, "192.0.2.1", 9, "10.4.0.4", 4000)); d.What != Keep {
		t.Errorf("to a mapping from outside: %+v", d)
	}
}

// The same where rules do not name the interface.
func TestRFC4787_HairpinThroughAny(t *testing.T) {
	web := Rule{Name: "web", Type: Static, From: inside, To: Any, Original: prefix("10.1.8.80"), Mapped: prefix("203.0.113.80")}
	pat := Rule{Name: "out", Type: DynamicPAT, From: inside, To: outside, Source: prefix("10.0.0.0/8"), Pool: "egress"}
	k := key(packet.ProtoTCP, "10.3.0.1", 9, "203.0.113.80", 80)
	for _, c := range []struct {
		what     string
		from, to uint8 // of web
		patFrom  uint8
		patTo    uint8
		in       uint8
		want     string
	}{
		{"static to any", inside, Any, inside, outside, inside, "out"},
		{"static from any", Any, outside, inside, outside, inside, "out"},
		{"PAT from any", inside, outside, Any, outside, inside, "out"},
		{"PAT to any", inside, outside, inside, Any, inside, "out"},
		{"all any", Any, Any, Any, Any, inside, "out"},
		{"not a hairpin", inside, Any, inside, outside, outside, ""},
		{"from any, not a hairpin", Any, outside, Any, outside, outside, ""},
	} {
		w, p := web, pat
		w.From, w.To, p.From, p.To = c.from, c.to, c.patFrom, c.patTo
		r := compiledRules(t, Config{Pools: []Pool{portPool("egress", 1)}, Rules: []Rule{w, p}})
		to, _, what := r.Destination(c.in, k)
		if what != Translated {
			t.Errorf("%s: not translated", c.what)
			continue
		}
		if d := r.Source(c.in, inside, k, to); r.RuleName(d.Rule) != c.want {
			t.Errorf("%s: %+v, want rule %q", c.what, d, c.want)
		}
	}
}

// A rule for destinations is asked with the address that the host used.
func TestRFC4787_HairpinIsNotTakenForPrivateTraffic(t *testing.T) {
	r := compiledRules(t, office())
	k := key(packet.ProtoTCP, "10.3.0.1", 9, "203.0.113.80", 80)
	to, _, _ := r.Destination(inside, k)
	if d := r.Source(inside, inside, k, to); r.RuleName(d.Rule) == "keep" {
		t.Error("the identity rule for 10.0.0.0/8 took a hairpin: the answers would go past us")
	}
}

func TestReplyKey(t *testing.T) {
	for _, c := range []struct{ to, want packet.FlowKey }{
		{key(6, "10.0.0.1", 2000, "192.0.2.1", 80), key(6, "192.0.2.1", 80, "203.0.113.1", 7)},
		{key(17, "10.0.0.1", 2000, "192.0.2.1", 53), key(17, "192.0.2.1", 53, "203.0.113.1", 7)},
		{key(1, "10.0.0.1", 2000, "192.0.2.1", 0), key(1, "192.0.2.1", 0, "203.0.113.1", 7)},
		{key(47, "10.0.0.1", 0, "192.0.2.1", 0), key(47, "192.0.2.1", 0, "203.0.113.1", 0)},
	} {
		c.to.Zone, c.want.Zone = 3, 3
		if got := ReplyKey(c.to, ip("203.0.113.1"), 7); got != c.want {
			t.Errorf("%s: %s, want %s", c.to, got, c.want)
		}
	}
}

func TestNT10_CompileRefuses(t *testing.T) {
	with := func(change func(*Config)) Config {
		c := office()
		change(&c)
		return c
	}
	rule := func(r Rule) Config {
		if r.Name == "" {
			r.Name = "bad"
		}
		return with(func(c *Config) { c.Rules = append(c.Rules, r) })
	}
	static := func(original, mapped string) Rule {
		return Rule{Type: Static, From: inside, To: outside, Original: prefix(original), Mapped: prefix(mapped)}
	}
	forward := func(original string, port uint16, mapped string, mappedPort uint16) Rule {
		r := static(original, mapped)
		r.Type, r.Protocol, r.OriginalPort, r.MappedPort = StaticPAT, packet.ProtoTCP, port, mappedPort
		return r
	}
	change := func(r Rule, f func(*Rule)) Config { f(&r); return rule(r) }
	pat := Rule{Type: DynamicPAT, From: inside, To: outside, Pool: "egress"}
	direct := Rule{Type: Dynamic, From: inside, To: outside, Pool: "direct"}
	identity := Rule{Type: Identity, From: inside, To: outside}
	fresh := static("10.7.0.1", "203.0.113.200")
	for _, c := range []struct {
		want string
		c    Config
	}{
		{"neither can be negative", with(func(c *Config) { c.HoldDown = -time.Second })},
		{"neither can be negative", with(func(c *Config) { c.HoldDownMax = -1 })},
		{"more than 65535", with(func(c *Config) { c.Rules = make([]Rule, 65536) })},
		{`pool "x"`, with(func(c *Config) { c.Pools = append(c.Pools, Pool{Name: "x"}) })},
		{"no pool \"nowhere\"", change(pat, func(r *Rule) { r.Pool = "nowhere" })},
		{"rule 8 (bad)", change(pat, func(r *Rule) { r.Pool = "nowhere" })},
		{"needs a pool of ports", change(pat, func(r *Rule) { r.Pool = "direct" })},
		{"needs a pool of addresses", change(direct, func(r *Rule) { r.Pool = "egress" })},
		{"named interface and any", change(pat, func(r *Rule) { r.To = Any })},
		{"needs a pool", change(pat, func(r *Rule) { r.Pool = "" })},
		{"needs a pool", change(direct, func(r *Rule) { r.Pool = "" })},
		{"not an IPv4 prefix", change(pat, func(r *Rule) { r.Source = netip.MustParsePrefix("::/0") })},
		{"not an IPv4 prefix", change(pat, func(r *Rule) { r.Destination = netip.MustParsePrefix("::ffff:10.0.0.0/104") })},
		{"reversed", change(pat, func(r *Rule) { r.Protocol, r.Ports = packet.ProtoTCP, []PortRange{{9, 8}} })},
		{"ports need protocol", change(pat, func(r *Rule) { r.Ports = []PortRange{{8, 9}} })},
		{"no interface has id 32", change(pat, func(r *Rule) { r.From = 32 })},
		{"no interface has id 33", change(pat, func(r *Rule) { r.To = 33 })},
		{"unknown mapping", change(pat, func(r *Rule) { r.Mapping = 2 })},
		{"unknown mapping", change(pat, func(r *Rule) { r.Filtering = 9 })},
		{"unknown type 5", change(pat, func(r *Rule) { r.Type = 5 })},
		{"use source", change(pat, func(r *Rule) { r.Original = prefix("10.0.0.1") })},
		{"use source", change(identity, func(r *Rule) { r.MappedPort = 4 })},
		{"takes nothing from a pool", change(identity, func(r *Rule) { r.Pool = "egress" })},
		{"takes nothing from a pool", change(fresh, func(r *Rule) { r.Pool = "egress" })},
		{"mapping behaviour is for dynamic-pat", change(direct, func(r *Rule) { r.Mapping = EndpointIndependent })},
		{"mapping behaviour is for dynamic-pat", change(identity, func(r *Rule) { r.Mapping = EndpointIndependent })},
		{"policy's decision", change(identity, func(r *Rule) { r.Filtering = EndpointIndependent })},
		{"policy's decision", change(fresh, func(r *Rule) { r.Filtering = EndpointIndependent })},
		{"policy's decision", change(fresh, func(r *Rule) { r.Mapping = EndpointIndependent })},
		{"needs endpoint-independent mapping", change(pat, func(r *Rule) { r.Filtering = EndpointIndependent })},
		{"needs original and mapped", change(fresh, func(r *Rule) { r.Original = netip.Prefix{} })},
		{"needs original and mapped", change(fresh, func(r *Rule) { r.Mapped = netip.Prefix{} })},
		{"different lengths", change(fresh, func(r *Rule) { r.Mapped = prefix("203.0.113.200/31") })},
		{"every address", rule(static("0.0.0.0/0", "0.0.0.0/0"))},
		{"bits behind its length", rule(static("10.7.0.1/30", "203.0.113.200/30"))},
		{"bits behind its length", rule(static("10.7.0.0/30", "203.0.113.201/30"))},
		{"mapped to itself", rule(static("10.7.0.1", "10.7.0.1"))},
		{"original says the source", change(fresh, func(r *Rule) { r.Source = prefix("10.0.0.1") })},
		{"maps one port", change(fresh, func(r *Rule) { r.Protocol, r.Ports = packet.ProtoTCP, []PortRange{{8, 9}} })},
		{"use static-pat", change(fresh, func(r *Rule) { r.MappedPort = 80 })},
		{"original_port", rule(forward("10.7.0.1", 0, "203.0.113.200", 80))},
		{"original_port", rule(forward("10.7.0.1", 80, "203.0.113.200", 0))},
		{"needs protocol", change(forward("10.7.0.1", 80, "203.0.113.200", 80), func(r *Rule) { r.Protocol = 1 })},

		{`mapped 203.0.113.80/32 overlaps rule "web"`, rule(static("10.7.0.1", "203.0.113.80"))},
		{`overlaps rule "web"`, change(static("10.7.0.1", "203.0.113.80"), func(r *Rule) { r.From, r.To = dmz, Any })},
		{`overlaps rule "web"`, change(static("10.7.0.1", "203.0.113.80"), func(r *Rule) { r.To = dmz })},                                    // both reached from inside
		{`mapped 203.0.113.81/32 overlaps rule "ssh"`, change(forward("10.1.8.81", 22, "203.0.113.81", 2222), func(r *Rule) { r.To = Any })}, // the same twice
		{`overlaps rule`, rule(static("10.7.0.80/28", "203.0.113.80/28"))},
		{`overlaps rule "web"`, rule(forward("10.7.0.1", 80, "203.0.113.80", 80))},
		{`overlaps rule "ssh"`, rule(forward("10.7.0.1", 80, "203.0.113.81", 2222))},
		{`overlaps rule "net"`, change(static("10.7.0.1", "198.51.100.4"), func(r *Rule) { r.Destination = prefix("192.0.2.1") })},
		{`original 10.1.8.80/32 overlaps rule "web"`, rule(static("10.1.8.80", "203.0.113.200"))},

		{`overlaps address 203.0.113.1 of pool "egress"`, rule(static("10.7.0.1", "203.0.113.1"))},
		{`overlaps address 203.0.113.65 of pool "direct"`, rule(static("10.7.0.1", "203.0.113.65"))},
		{`of pool "egress"`, rule(static("10.7.0.0/30", "203.0.113.0/30"))},
		{`of pool "egress"`, rule(forward("10.7.0.1", 80, "203.0.113.2", 1024))},
		{`of pool "direct"`, rule(forward("10.7.0.1", 80, "203.0.113.66", 80))},
	} {
		r, err := Compile(c.c)
		if !errors.Is(err, ErrConfig) || r != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

// What looks like an overlap and is none.
func TestNT1_CompileAccepts(t *testing.T) {
	base := Rule{Name: "a", Type: Static, From: inside, To: outside, Original: prefix("10.7.0.1"), Mapped: prefix("203.0.113.200")}
	port := base
	port.Type, port.Protocol, port.OriginalPort, port.MappedPort = StaticPAT, packet.ProtoTCP, 22, 2222
	change := func(r Rule, f func(*Rule)) Rule { r.Name = "b"; f(&r); return r }
	for what, pair := range map[string][2]Rule{
		"another protocol":             {change(base, func(r *Rule) { r.Protocol = 6 }), change(base, func(r *Rule) { r.Protocol = 17; r.Original = prefix("10.7.0.2") })},
		"another peer":                 {change(base, func(r *Rule) { r.Destination = prefix("192.0.2.1") }), change(base, func(r *Rule) { r.Destination = prefix("192.0.2.2"); r.Original = prefix("10.7.0.2") })},
		"another mapped port":          {port, change(port, func(r *Rule) { r.MappedPort = 2223; r.Original = prefix("10.7.0.2") })},
		"a port forwarded twice":       {port, change(port, func(r *Rule) { r.MappedPort = 2223 })},
		"other interfaces":             {base, change(base, func(r *Rule) { r.From, r.To = dmz, 4; r.Original = prefix("10.7.0.2") })},
		"the same at two interfaces":   {base, change(base, func(r *Rule) { r.To = dmz })},
		"a port below the pool's":      {base, change(port, func(r *Rule) { r.Mapped = prefix("203.0.113.1"); r.MappedPort = 443 })},
		"a port forwarded of a static": {base, change(port, func(r *Rule) { r.Mapped = prefix("203.0.113.201") })},
	} {
		if _, err := Compile(Config{Pools: []Pool{portPool("egress", 1)}, Rules: pair[:]}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if r := compiledRules(t, Config{}); r.Len() != 0 || r.Geometry().Units() != 0 {
		t.Error("the zero Config is not empty")
	}
}

func TestNT1_EmptyConfigTouchesNothing(t *testing.T) {
	r := compiledRules(t, Config{})
	k := key(6, "10.0.0.1", 1, "192.0.2.1", 2)
	if to, rule, what := r.Destination(inside, k); to != k || rule != 0 || what != Untouched {
		t.Errorf("destination: %s, %d, %d", to, rule, what)
	}
	if d := r.Source(inside, outside, k, k); d != (Decision{}) {
		t.Errorf("source: %+v", d)
	}
}
