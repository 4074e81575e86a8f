package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cohort/nat"
	"cohort/packet"
)

// span returns so many addresses from first on.
func span(first string, n int) []packet.Addr {
	a := netip.MustParseAddr(first)
	var out []packet.Addr
	for range n {
		out = append(out, packet.AddrFrom(a))
		a = a.Next()
	}
	return out
}

// exampleNAT is what the example's nat section means.
var exampleNAT = nat.Config{
	HoldDown: 2 * time.Minute, HoldDownMax: 1 << 20,
	Pools: []nat.Pool{
		{Name: "egress", Addresses: append(span("203.0.113.10", 2), span("203.0.113.20", 1)...), BlockSize: 512, MaxInbound: 1024},
		{Name: "direct", Kind: nat.PoolAddresses, Addresses: span("203.0.113.64", 16)},
	},
	Rules: []nat.Rule{
		{Name: "keep", Type: nat.Identity, From: 1, To: 2, Source: netip.MustParsePrefix("10.0.0.0/8"), Destination: netip.MustParsePrefix("10.9.0.0/16")},
		{Name: "web", Type: nat.Static, From: 1, To: 2, Original: netip.MustParsePrefix("10.1.8.80/32"), Mapped: netip.MustParsePrefix("203.0.113.80/32")},
		{
			Name: "ssh", Type: nat.StaticPAT, From: 1, To: 2, Original: netip.MustParsePrefix("10.1.8.81/32"), Mapped: netip.MustParsePrefix("203.0.113.81/32"),
			Protocol: packet.ProtoTCP, OriginalPort: 22, MappedPort: 2222,
		},
		{Name: "pool1", Type: nat.Dynamic, From: 1, To: 2, Source: netip.MustParsePrefix("10.2.0.0/16"), Pool: "direct", Filtering: nat.EndpointIndependent},
		{
			Name: "voice", Type: nat.DynamicPAT, From: 1, To: 2, Source: netip.MustParsePrefix("10.3.0.0/16"), Protocol: packet.ProtoUDP,
			Ports: []nat.PortRange{{First: 3478, Last: 3478}, {First: 16384, Last: 32767}}, Pool: "egress", Mapping: nat.EndpointIndependent,
		},
		{Name: "out", Type: nat.DynamicPAT, From: 1, To: 2, Source: netip.MustParsePrefix("10.0.0.0/8"), Pool: "egress", LogXlates: true},
	},
}

const twoInterfaces = `interfaces:
  inside:  {device: in0,  trust: 100, cluster_address: 10.1.0.254/24,    pool: 10.1.0.1-10.1.0.16}
  outside: {device: out0, trust: 0,   cluster_address: 198.51.100.254/24, pool: 198.51.100.1-198.51.100.16}
`

// parseNAT reads a nat section beside two interfaces.
func parseNAT(t *testing.T, section string) nat.Config {
	t.Helper()
	c, err := ParseCluster("cluster.yaml", []byte(twoInterfaces+section))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nat.Compile(c.NAT); err != nil {
		t.Fatal(err)
	}
	return c.NAT
}

func TestNT1_WithoutNATNothingIsTranslated(t *testing.T) {
	if diff := cmp.Diff(nat.Config{}, parseNAT(t, ""), compareAddrs); diff != "" {
		t.Error(diff)
	}
}

// The shortest rules get all defaults, any is any, and pools may stand after
// the rules that name them.
func TestNT1_DefaultsOfNAT(t *testing.T) {
	got := parseNAT(t, `nat:
  rules:
    - {name: out, type: dynamic-pat, from: any, to: outside, pool: egress}
    - {name: own, type: dynamic, from: inside, to: any, source: any, destination: 0.0.0.0/0, protocol: any, pool: direct, log: blocks}
  pools:
    zz: {addresses: [192.0.2.0/31, 192.0.2.7]}
    egress: {addresses: 192.0.2.16, include_reserved: true, max_blocks_per_host: 4, block_size: 64, max_inbound_per_mapping: 7}
    direct: {type: addresses, addresses: 192.0.2.32}
`)
	want := nat.Config{
		HoldDown: nat.DefaultHoldDown, HoldDownMax: nat.DefaultHoldDownMax,
		Pools: []nat.Pool{
			{Name: "zz", Addresses: append(span("192.0.2.0", 2), span("192.0.2.7", 1)...), BlockSize: nat.DefaultBlockSize, MaxInbound: nat.DefaultMaxInbound},
			{Name: "egress", Addresses: span("192.0.2.16", 1), BlockSize: 64, IncludeReserved: true, MaxBlocksPerHost: 4, MaxInbound: 7},
			{Name: "direct", Kind: nat.PoolAddresses, Addresses: span("192.0.2.32", 1)},
		},
		Rules: []nat.Rule{
			{Name: "out", Type: nat.DynamicPAT, To: 2, Pool: "egress"},
			{Name: "own", Type: nat.Dynamic, From: 1, Pool: "direct"},
		},
	}
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Error(diff)
	}
	if got := parseNAT(t, "nat: {hold_down: 0s, hold_down_max: 1024}\n"); got.HoldDown != 0 || got.HoldDownMax != 1024 {
		t.Errorf("%+v", got)
	}
}

// What looks like a conflict and is none: reading refuses no more than it must.
func TestNT10_AcceptedNeighbours(t *testing.T) {
	for name, section := range map[string]string{
		"the limits": `nat:
  pools: {a: {addresses: 192.0.0.0-192.0.3.255, block_size: 2048}}
`,
		"the limits of a pool of addresses": `nat:
  pools: {a: {type: addresses, addresses: 192.0.0.0-192.0.3.255}}
`,
		"addresses of an interface's network that nobody has": `nat:
  pools: {a: {addresses: [198.51.100.17-198.51.100.253]}}
`,
		"one public address for hosts and a server": `nat:
  pools: {a: {addresses: 192.0.2.1}}
  rules:
    - {name: web, type: static-pat, from: inside, to: outside, original: 10.1.8.80, mapped: 192.0.2.1, protocol: tcp, original_port: 8080, mapped_port: 80}
    - {name: top, type: static-pat, from: inside, to: outside, original: 10.1.8.80, mapped: 192.0.2.1, protocol: tcp, original_port: 8080, mapped_port: 1023}
    - {name: out, type: dynamic-pat, from: inside, to: outside, pool: a}
`,
		"one pool for several interfaces by name": `nat:
  pools: {a: {addresses: 192.0.2.1}}
  rules:
    - {name: one, type: dynamic-pat, from: inside, to: outside, pool: a}
    - {name: two, type: dynamic-pat, from: any, to: inside, pool: a}
`,
		"a port forwarded by tcp and by udp, and from two ports": `nat:
  rules:
    - {name: t, type: static-pat, from: inside, to: outside, original: 10.1.8.80, mapped: 192.0.2.1, protocol: tcp, original_port: 53, mapped_port: 53}
    - {name: u, type: static-pat, from: inside, to: outside, original: 10.1.8.80, mapped: 192.0.2.1, protocol: udp, original_port: 53, mapped_port: 53}
    - {name: v, type: static-pat, from: inside, to: outside, original: 10.1.8.80, mapped: 192.0.2.1, protocol: tcp, original_port: 53, mapped_port: 5353}
`,
		"a static mapping with a forwarded port elsewhere": `nat:
  rules:
    - {name: s, type: static, from: inside, to: outside, original: 10.1.8.80, mapped: 192.0.2.1}
    - {name: p, type: static-pat, from: inside, to: outside, original: 10.1.8.80, mapped: 192.0.2.2, protocol: tcp, original_port: 80, mapped_port: 80}
`,
		"one host, two mappings for two peers": `nat:
  rules:
    - {name: a, type: static, from: inside, to: outside, original: 10.1.8.80, mapped: 192.0.2.1, destination: 203.0.113.0/25}
    - {name: b, type: static, from: inside, to: outside, original: 10.1.8.80, mapped: 192.0.2.1, destination: 203.0.113.128/25}
`,
		"neighbouring networks": `nat:
  rules:
    - {name: a, type: static, from: inside, to: outside, original: 10.1.8.0/25, mapped: 192.0.2.0/25}
    - {name: b, type: static, from: inside, to: outside, original: 10.1.8.128/25, mapped: 192.0.2.128/25}
`,
	} {
		t.Run(name, func(t *testing.T) { parseNAT(t, section) })
	}
}

// Reading finds exactly the overlaps that package nat finds, and gives them a
// place: many small static rules among few addresses, read one way and compiled
// the other.
func TestNT10_OverlapsAreThoseOfPackageNAT(t *testing.T) {
	refused, accepted := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, what) }
		var section strings.Builder
		section.WriteString("nat:\n  pools: {a: {addresses: 192.0.2.4, block_size: 4096}, b: {type: addresses, addresses: 192.0.2.5}}\n  rules:\n")
		config := nat.Config{Pools: []nat.Pool{
			{Name: "a", Addresses: span("192.0.2.4", 1), BlockSize: 4096, MaxInbound: nat.DefaultMaxInbound},
			{Name: "b", Kind: nat.PoolAddresses, Addresses: span("192.0.2.5", 1)},
		}}
		ids := map[string]uint8{"any": 0, "inside": 1, "outside": 2}
		for i := range rapid.IntRange(1, 4).Draw(t, "rules") {
			bits := rapid.IntRange(29, 32).Draw(t, "bits")
			network := func(base string) netip.Prefix {
				a := netip.MustParseAddr(base).As4()
				a[3] += uint8(rapid.IntRange(0, 7).Draw(t, "host"))
				return netip.PrefixFrom(netip.AddrFrom4(a), bits).Masked()
			}
			r := nat.Rule{Name: fmt.Sprint("r", i), Type: nat.Static, Original: network("10.1.8.0"), Mapped: network("192.0.2.0")}
			from, to := pick("from", "any", "inside", "outside"), pick("to", "any", "inside", "outside")
			r.From, r.To = ids[from], ids[to]
			fmt.Fprintf(&section, "    - {name: %s, from: %s, to: %s, original: %s, mapped: %s", r.Name, from, to, r.Original, r.Mapped)
			if d := pick("destination", "", "", "203.0.113.0/25", "203.0.113.128/25", "203.0.113.0/24"); d != "" {
				r.Destination = netip.MustParsePrefix(d)
				fmt.Fprintf(&section, ", destination: %s", d)
			}
			if rapid.Bool().Draw(t, "pat") {
				r.Type, r.Protocol = nat.StaticPAT, rapid.SampledFrom([]uint8{packet.ProtoTCP, packet.ProtoUDP}).Draw(t, "protocol")
				r.OriginalPort, r.MappedPort = rapid.Uint16Range(1, 2).Draw(t, "original port"), rapid.Uint16Range(1023, 1024).Draw(t, "mapped port")
				fmt.Fprintf(&section, ", type: static-pat, protocol: %d, original_port: %d, mapped_port: %d}\n", r.Protocol, r.OriginalPort, r.MappedPort)
			} else {
				section.WriteString(", type: static}\n")
			}
			config.Rules = append(config.Rules, r)
		}
		_, want := nat.Compile(config)
		c, got := ParseCluster("cluster.yaml", []byte(twoInterfaces+section.String()))
		if (got == nil) != (want == nil) {
			t.Fatalf("%s: read: %v\ncompiled: %v", section.String(), got, want)
		}
		if got != nil {
			refused++
			return
		}
		accepted++
		config.HoldDown, config.HoldDownMax = nat.DefaultHoldDown, nat.DefaultHoldDownMax
		if diff := cmp.Diff(config, c.NAT, compareAddrs); diff != "" {
			t.Fatal(diff)
		}
	})
	if refused == 0 || accepted == 0 {
		t.Errorf("%d refused, %d accepted: both must occur", refused, accepted)
	}
}

// manyRules is a file with so many rules of all types, over sixteen public
// addresses: the worst of real life.
func manyRules(n int) []byte {
	var b strings.Builder
	b.WriteString(twoInterfaces + "nat:\n  pools: {egress: {addresses: 203.0.113.0/28}, direct: {type: addresses, addresses: 203.0.113.16/28}}\n  rules:\n")
	for i := range n {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "    - {name: s%d, type: static, from: inside, to: outside, original: 10.%d.%d.1, mapped: 192.%d.%d.1}\n", i, i>>8, i&255, i>>8, i&255)
		case 1:
			fmt.Fprintf(&b, "    - {name: p%d, type: static-pat, from: inside, to: outside, original: 10.%d.%d.1, mapped: 203.0.113.200, protocol: tcp, original_port: 80, mapped_port: %d}\n", i, i>>8, i&255, 1+i)
		case 2:
			fmt.Fprintf(&b, "    - {name: d%d, type: dynamic-pat, from: inside, to: outside, source: 10.%d.%d.0/24, protocol: tcp, ports: [80, 443], pool: egress, log: xlates}\n", i, i>>8, i&255)
		case 3:
			fmt.Fprintf(&b, "    - {name: k%d, type: identity, from: inside, to: outside, source: 10.%d.%d.0/24, destination: 172.16.0.0/12}\n", i, i>>8, i&255)
		}
	}
	return []byte(b.String())
}

// NT1: ten thousand rules must not slow a join down. The benchmark says what
// they take; here they must be read, and each be there.
func TestNT1_TenThousandRules(t *testing.T) {
	c, err := ParseCluster("cluster.yaml", manyRules(10_000))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.NAT.Rules) != 10_000 || c.NAT.Rules[9_999].Name != "k9999" {
		t.Errorf("%d rules", len(c.NAT.Rules))
	}
}

// Rules are compared only where they can overlap: neither many addresses nor
// many ports of one address are compared each with each.
func TestNT1_OverlapsAreFoundWithoutComparingAll(t *testing.T) {
	const n = 10_000
	compared := 0
	p := pairs{
		network: func(r *natRule) netip.Prefix { return r.Mapped },
		port:    func(r *natRule) uint16 { return r.MappedPort },
		clash:   func(a, b *natRule) bool { compared++; return clashMapped(a, b) },
	}
	var rules []*natRule
	for i := range n {
		r := &natRule{number: i + 1, Rule: nat.Rule{From: 1, To: 2, Mapped: netip.MustParsePrefix("192.0.2.1/32"), MappedPort: uint16(i + 1)}}
		if i%2 == 0 {
			r.Mapped, r.MappedPort = netip.PrefixFrom(addr(0x0b000000+uint32(i)), 32), 0
		}
		rules = append(rules, r)
	}
	p.each(rules, func(a, b *natRule) { t.Errorf("%s and %s overlap", a.Mapped, b.Mapped) })
	if compared > n {
		t.Errorf("%d comparisons of %d rules", compared, n)
	}
}

func BenchmarkNT1_Rules(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		data := manyRules(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseCluster("cluster.yaml", data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
