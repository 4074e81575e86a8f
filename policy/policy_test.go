package policy

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"cohort/packet"
)

const (
	inside  = 1
	outside = 2
	dmz     = 3
	lab     = 4
)

var zones = []Zone{{inside, 100}, {outside, 0}, {dmz, 50}, {lab, 50}}

func prefixes(text ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range text {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func key(proto uint8, src, dst string, port uint16) packet.FlowKey {
	return packet.FlowKey{
		Src: packet.AddrFrom(netip.MustParseAddr(src)), Dst: packet.AddrFrom(netip.MustParseAddr(dst)),
		SrcPort: 40000, DstPort: port, Proto: proto,
	}
}

func compile(t testing.TB, rules ...Rule) *Policy {
	t.Helper()
	p, err := Compile(zones, rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTR2_TrustDecidesWithoutRules(t *testing.T) {
	p := compile(t)
	web := key(packet.ProtoTCP, "192.0.2.1", "10.1.8.80", 80)
	for _, c := range []struct {
		in, out uint8
		allow   bool
	}{
		{inside, outside, true},
		{inside, dmz, true},
		{dmz, outside, true},
		{outside, inside, false},
		{outside, dmz, false},
		{dmz, inside, false},
		{dmz, lab, false},         // equal trust
		{inside, inside, false},   // back out of the same interface
		{inside, 9, false},        // not a zone
		{0, outside, false},       // not a zone
		{inside, 200, false},      // out of range
		{MaxZones, inside, false}, // out of range
	} {
		if got := p.Judge(c.in, c.out, web); got != (Verdict{Allow: c.allow}) {
			t.Errorf("%d to %d: %+v, want allow %v by default", c.in, c.out, got, c.allow)
		}
	}
}

func TestTR2_FirstMatchingRuleDecides(t *testing.T) {
	p := compile(t,
		Rule{Name: "web-in", From: outside, To: inside, Destination: prefixes("10.1.8.80/32"), Proto: packet.ProtoTCP, Ports: []Ports{{80, 80}, {443, 443}}, Allow: true},
		Rule{Name: "no-mail", From: inside, Proto: packet.ProtoTCP, Ports: []Ports{{25, 25}}},
		Rule{Name: "mail-relay", From: inside, Source: prefixes("10.1.8.25/32"), Proto: packet.ProtoTCP, Ports: []Ports{{25, 25}}, Allow: true},
		Rule{Name: "dns", To: dmz, Proto: packet.ProtoUDP, Ports: []Ports{{53, 53}}, Allow: true, Durability: None},
		Rule{Name: "ping", Proto: packet.ProtoICMP, Allow: true},
		Rule{Name: "bulk", From: dmz, To: inside, Proto: packet.ProtoTCP, Ports: []Ports{{5000, 6001}}, Allow: true, Durability: Sync},
		Rule{Name: "guests", From: inside, Source: prefixes("10.9.0.0/16", "10.10.0.0/16")},
	)
	for _, c := range []struct {
		name    string
		in, out uint8
		key     packet.FlowKey
		want    Verdict
	}{
		{"port 80 of the list", outside, inside, key(packet.ProtoTCP, "192.0.2.1", "10.1.8.80", 80), Verdict{Allow: true, Rule: 1}},
		{"port 443 of the list", outside, inside, key(packet.ProtoTCP, "192.0.2.1", "10.1.8.80", 443), Verdict{Allow: true, Rule: 1}},
		{"port beside the list", outside, inside, key(packet.ProtoTCP, "192.0.2.1", "10.1.8.80", 81), Verdict{}},
		{"address beside", outside, inside, key(packet.ProtoTCP, "192.0.2.1", "10.1.8.81", 80), Verdict{}},
		{"protocol beside", outside, inside, key(packet.ProtoUDP, "192.0.2.1", "10.1.8.80", 80), Verdict{}},
		{"zone beside", outside, dmz, key(packet.ProtoTCP, "192.0.2.1", "10.1.8.80", 80), Verdict{}},
		{"an earlier broad rule hides a narrow one", inside, outside, key(packet.ProtoTCP, "10.1.8.25", "192.0.2.1", 25), Verdict{Rule: 2}},
		{"a rule from any zone", outside, dmz, key(packet.ProtoUDP, "192.0.2.1", "10.2.0.53", 53), Verdict{Allow: true, Durability: None, Rule: 4}},
		{"a rule between any zones", outside, inside, key(packet.ProtoICMP, "192.0.2.1", "10.2.0.53", 0), Verdict{Allow: true, Rule: 5}},
		{"first of a range", dmz, inside, key(packet.ProtoTCP, "10.2.0.1", "10.1.0.1", 5000), Verdict{Allow: true, Durability: Sync, Rule: 6}},
		{"last of a range", dmz, inside, key(packet.ProtoTCP, "10.2.0.1", "10.1.0.1", 6001), Verdict{Allow: true, Durability: Sync, Rule: 6}},
		{"below a range", dmz, inside, key(packet.ProtoTCP, "10.2.0.1", "10.1.0.1", 4999), Verdict{}},
		{"above a range", dmz, inside, key(packet.ProtoTCP, "10.2.0.1", "10.1.0.1", 6002), Verdict{}},
		{"second source of a list, any protocol", inside, outside, key(47, "10.10.3.4", "192.0.2.1", 0), Verdict{Rule: 7}},
		{"no rule", inside, outside, key(packet.ProtoTCP, "10.1.2.3", "192.0.2.1", 443), Verdict{Allow: true}},
	} {
		if got := p.Judge(c.in, c.out, c.key); got != c.want {
			t.Errorf("%s: %+v, want %+v (%s)", c.name, got, c.want, p.RuleName(c.want.Rule))
		}
	}
	if p.Rules() != 7 || p.RuleName(0) != "default" || p.RuleName(4) != "dns" || p.RuleName(8) != "" {
		t.Errorf("names: %d rules, %q %q %q", p.Rules(), p.RuleName(0), p.RuleName(4), p.RuleName(8))
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		zones []Zone
		rule  Rule
		want  string
	}{
		{"zone 0", []Zone{{0, 1}}, Rule{}, "zone id 0 is outside 1-31"},
		{"zone 32", []Zone{{32, 1}}, Rule{}, "zone id 32 is outside 1-31"},
		{"zone twice", []Zone{{1, 1}, {1, 2}}, Rule{}, "zone id 1 is used twice"},
		{"trust", []Zone{{1, 101}}, Rule{}, "trust 101 is outside 0-100"},
		{"from", zones, Rule{From: 9}, "no zone has id 9"},
		{"to", zones, Rule{To: 255}, "no zone has id 255"},
		{"IPv6", zones, Rule{Source: prefixes("2001:db8::/32")}, "2001:db8::/32 is not an IPv4 prefix"},
		{"no prefix", zones, Rule{Destination: []netip.Prefix{{}}}, "invalid Prefix is not an IPv4 prefix"},
		{"ports of ICMP", zones, Rule{Proto: packet.ProtoICMP, Ports: []Ports{{1, 2}}}, "ports need protocol TCP or UDP"},
		{"ports of any", zones, Rule{Ports: []Ports{{1, 2}}}, "ports need protocol TCP or UDP"},
		{"range", zones, Rule{Proto: packet.ProtoTCP, Ports: []Ports{{2, 1}}}, "port range 2-1 is reversed"},
		{"durability", zones, Rule{Durability: 3}, "unknown durability 3"},
	} {
		p, err := Compile(c.zones, []Rule{c.rule})
		if err == nil || !strings.HasSuffix(err.Error(), c.want) || p != nil {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if fromRule := len(c.zones) == len(zones); fromRule && !errors.Is(err, ErrRule) {
			t.Errorf("%s: %v does not wrap ErrRule", c.name, err)
		}
	}
}

func TestCompileBoundsItsMemory(t *testing.T) {
	if _, err := Compile(zones, make([]Rule, MaxRules+1)); err == nil {
		t.Error("more rules than 16 bits can number were accepted")
	}
	// Nested ranges: rule i matches the ports from i on, so that every port has
	// a set of its own with half of all rules in it: 8 words on average.
	nested := make([]Rule, 1000)
	for i := range nested {
		nested[i] = Rule{Proto: packet.ProtoTCP, Ports: []Ports{{uint16(i + 1), 65535}}}
	}
	if _, err := newTable(nested, 7*1000); !errors.Is(err, errTooWide) {
		t.Errorf("more than the budget: %v, want a refusal", err)
	}
	if _, err := newTable(nested, 9*1000); err != nil {
		t.Errorf("less than the budget: %v", err)
	}
}

func TestJudgeDoesNotAllocate(t *testing.T) {
	p := compile(t, manyRules(1000)...)
	k := key(packet.ProtoTCP, "10.3.7.9", "198.51.100.7", 443)
	if n := testing.AllocsPerRun(1000, func() { p.Judge(inside, outside, k) }); n != 0 {
		t.Errorf("%v allocations a judgement", n)
	}
}
