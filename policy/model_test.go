package policy

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"cohort/packet"
)

// judgeNaively is the specification: walk the rules, the first match decides.
func judgeNaively(zones []Zone, rules []Rule, in, out uint8, k packet.FlowKey) Verdict {
	trust := map[uint8]uint8{}
	for _, z := range zones {
		trust[z.ID] = z.Trust
	}
	from, ok1 := trust[in]
	to, ok2 := trust[out]
	if !ok1 || !ok2 {
		return Verdict{}
	}
	within := func(list []netip.Prefix, a packet.Addr) bool {
		for _, p := range list {
			if p.Contains(a.Netip()) {
				return true
			}
		}
		return len(list) == 0
	}
	for i, r := range rules {
		port := len(r.Ports) == 0
		for _, ports := range r.Ports {
			port = port || ports.First <= k.DstPort && k.DstPort <= ports.Last
		}
		if (r.From == Any || r.From == in) && (r.To == Any || r.To == out) &&
			(r.Proto == AnyProtocol || r.Proto == k.Proto) &&
			within(r.Source, k.Src) && within(r.Destination, k.Dst) && port {
			return Verdict{Allow: r.Allow, Durability: r.Durability, Rule: uint16(i + 1)}
		}
	}
	return Verdict{Allow: from > to}
}

// Addresses are drawn from few, close values, so that prefixes nest, touch
// and repeat.
func drawAddr(t *rapid.T, label string) netip.Addr {
	edge := []byte{0, 1, 127, 128, 255}
	return netip.AddrFrom4([4]byte{
		rapid.SampledFrom([]byte{0, 10, 255}).Draw(t, label), rapid.SampledFrom(edge).Draw(t, label),
		rapid.SampledFrom(edge).Draw(t, label), rapid.SampledFrom(edge).Draw(t, label),
	})
}

func drawPrefixes(t *rapid.T, label string) []netip.Prefix {
	var out []netip.Prefix
	for range rapid.IntRange(0, 3).Draw(t, label) {
		bits := rapid.SampledFrom([]int{0, 1, 8, 9, 16, 23, 24, 31, 32}).Draw(t, label)
		out = append(out, netip.PrefixFrom(drawAddr(t, label), bits)) // host bits stay: they must not matter
	}
	return out
}

func drawPort(t *rapid.T, label string) uint16 {
	return rapid.OneOf(rapid.SampledFrom([]uint16{0, 1, 80, 443, 1023, 1024, 32767, 32768, 65534, 65535}), rapid.Uint16Range(0, 100)).Draw(t, label)
}

func drawRule(t *rapid.T) Rule {
	r := Rule{
		From:        rapid.Uint8Range(0, 4).Draw(t, "from"),
		To:          rapid.Uint8Range(0, 4).Draw(t, "to"),
		Source:      drawPrefixes(t, "source"),
		Destination: drawPrefixes(t, "destination"),
		Proto:       rapid.SampledFrom([]uint8{AnyProtocol, packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP, 47}).Draw(t, "proto"),
		Allow:       rapid.Bool().Draw(t, "allow"),
		Durability:  Durability(rapid.Uint8Range(0, 2).Draw(t, "durability")),
	}
	if r.Proto == packet.ProtoTCP || r.Proto == packet.ProtoUDP {
		for range rapid.IntRange(0, 3).Draw(t, "ports") {
			a, b := drawPort(t, "port"), drawPort(t, "port")
			r.Ports = append(r.Ports, Ports{min(a, b), max(a, b)})
		}
	}
	return r
}

func TestTR2_JudgeEqualsWalkingTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := make([]Rule, rapid.SampledFrom([]int{0, 1, 3, 12, 63, 64, 65, 200}).Draw(t, "rules"))
		for i := range rules {
			rules[i] = drawRule(t)
		}
		p, err := Compile(zones, rules)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			in, out := rapid.Uint8Range(0, 5).Draw(t, "in"), rapid.Uint8Range(0, 5).Draw(t, "out")
			k := packet.FlowKey{
				Src: packet.AddrFrom(drawAddr(t, "src")), Dst: packet.AddrFrom(drawAddr(t, "dst")),
				SrcPort: 1, DstPort: drawPort(t, "dport"),
				Proto: rapid.SampledFrom([]uint8{packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP, 47, 50}).Draw(t, "proto"),
			}
			if got, want := p.Judge(in, out, k), judgeNaively(zones, rules, in, out, k); got != want {
				t.Fatalf("%d to %d, %s: %+v, want %+v", in, out, k, got, want)
			}
		}
	})
}

// A set must answer the same whether it is kept densely or sparsely.
func TestSparseSetEqualsDense(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20000).Draw(t, "rules")
		d := newDense(n)
		for _, r := range rapid.SliceOf(rapid.IntRange(1, n)).Draw(t, "members") {
			d.add(uint16(r))
		}
		s := shrink(d)
		for w := range d {
			if got := s.word(w); got != d[w] {
				t.Fatalf("word %d: %#x, want %#x", w, got, d[w])
			}
		}
	})
}
