package nat

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"cohort/packet"
)

// model is the specification of Destination and Source: walk the rules, the
// first match decides.
type model struct {
	c     Config
	pools map[packet.Addr]int
}

func newModel(c Config) model {
	m := model{c, map[packet.Addr]int{}}
	for i, p := range c.Pools {
		for _, a := range p.Addresses {
			m.pools[a] = i
		}
	}
	return m
}

func within(p netip.Prefix, a packet.Addr) bool { return !p.IsValid() || p.Contains(a.Netip()) }

func either(condition, value uint8) bool { return condition == Any || condition == value }

// carry puts the host bits of a into prefix p.
func carry(p netip.Prefix, a packet.Addr) packet.Addr {
	base := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		base[bit/8] |= a[bit/8] & (0x80 >> (bit % 8))
	}
	return base
}

func (m model) static(in uint8, k packet.FlowKey) (rule int, found Found) {
	_, nats := m.pools[k.Dst]
	for i, r := range m.c.Rules {
		if r.Type != Static && r.Type != StaticPAT || !within(r.Mapped, k.Dst) {
			continue
		}
		nats = true
		if (either(r.To, in) || either(r.From, in)) && either(r.Protocol, k.Proto) && within(r.Destination, k.Src) &&
			(r.Type == Static || r.MappedPort == k.DstPort) {
			return i + 1, Translated
		}
	}
	if nats {
		return 0, NoXlate
	}
	return 0, Untouched
}

func (m model) destination(in uint8, k packet.FlowKey) (packet.FlowKey, uint16, Found) {
	rule, found := m.static(in, k)
	if found != Translated {
		return k, 0, found
	}
	r := m.c.Rules[rule-1]
	k.Dst = carry(r.Original, k.Dst)
	if r.Type == StaticPAT {
		k.DstPort = r.OriginalPort
	}
	return k, uint16(rule), found
}

func (m model) source(in, out uint8, k, to packet.FlowKey) Decision {
	dst, port, anywhere := to.Dst, to.DstPort, false
	if k.Dst != to.Dst {
		hairpin := func(from, towards uint8) bool {
			ok := towards != in && either(from, in)
			if from == Any && towards == Any {
				ok = in == out
			}
			if ok {
				dst, port, out, anywhere = k.Dst, k.DstPort, towards, towards == Any
			}
			return ok
		}
		pool, pooled := m.pools[k.Dst]
		if rule, found := m.static(in, k); found == Translated {
			hairpin(m.c.Rules[rule-1].From, m.c.Rules[rule-1].To)
		} else if pooled {
			for _, r := range m.c.Rules {
				if r.Pool == m.c.Pools[pool].Name && hairpin(r.From, r.To) {
					break
				}
			}
		}
	}
	for i, r := range m.c.Rules {
		ports := len(r.Ports) == 0
		for _, p := range r.Ports {
			ports = ports || p.First <= port && port <= p.Last
		}
		if !either(r.From, in) || !anywhere && !either(r.To, out) || !either(r.Protocol, k.Proto) || !ports ||
			!within(r.Source, k.Src) || !within(r.Destination, dst) || !within(r.Original, k.Src) ||
			r.Type == StaticPAT && r.OriginalPort != k.SrcPort {
			continue
		}
		d := Decision{Rule: uint16(i + 1), Mapping: r.Mapping, Filtering: r.Filtering, LogXlates: r.LogXlates}
		switch r.Type {
		case Static, StaticPAT:
			d.What, d.Addr, d.Port, d.Mapping = Fixed, carry(r.Mapped, k.Src), k.SrcPort, EndpointIndependent
			if r.Type == StaticPAT {
				d.Port = r.MappedPort
			}
		case Dynamic, DynamicPAT:
			d.What = PickPort
			if r.Type == Dynamic {
				d.What, d.Mapping = PickAddress, EndpointIndependent
			}
			for i, p := range m.c.Pools {
				if p.Name == r.Pool {
					d.Pool = i
				}
			}
		}
		return d
	}
	return Decision{}
}

// Addresses and ports are drawn from few, close values, so that prefixes nest,
// touch and repeat, and packets meet rules.
func drawAddr(t *rapid.T, first byte, label string) packet.Addr {
	edge := []byte{0, 1, 2, 3, 128}
	return packet.Addr{first, 0, rapid.SampledFrom([]byte{0, 1}).Draw(t, label), rapid.SampledFrom(edge).Draw(t, label)}
}

func drawPrefix(t *rapid.T, first byte, label string) netip.Prefix {
	bits := rapid.SampledFrom([]int{8, 23, 24, 25, 30, 31, 32, 32, 32}).Draw(t, label)
	return netip.PrefixFrom(drawAddr(t, first, label).Netip(), bits)
}

func maybePrefix(t *rapid.T, first byte, label string) netip.Prefix {
	if rapid.Bool().Draw(t, label+"?") {
		return netip.Prefix{}
	}
	return drawPrefix(t, first, label)
}

const (
	realNet   = 10 // first bytes
	mappedNet = 20
	peerNet   = 30
	lentNet   = 40
)

func drawPort(t *rapid.T, label string) uint16 {
	return rapid.SampledFrom([]uint16{0, 1, 22, 80, 443, 1024, 65534, 65535}).Draw(t, label)
}

func drawRule(t *rapid.T, n int) Rule {
	r := Rule{
		Name:        fmt.Sprint("r", n),
		Type:        RuleType(rapid.IntRange(0, 4).Draw(t, "type")),
		From:        rapid.Uint8Range(0, 3).Draw(t, "from"),
		To:          rapid.Uint8Range(0, 3).Draw(t, "to"),
		Destination: maybePrefix(t, rapid.SampledFrom([]byte{peerNet, mappedNet, realNet, lentNet}).Draw(t, "peers"), "destination"),
		Protocol:    rapid.SampledFrom([]uint8{Any, packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP}).Draw(t, "protocol"),
		LogXlates:   rapid.Bool().Draw(t, "log"),
	}
	switch r.Type {
	case StaticPAT:
		r.Protocol = rapid.SampledFrom([]uint8{packet.ProtoTCP, packet.ProtoUDP}).Draw(t, "protocol")
		r.OriginalPort, r.MappedPort = max(1, drawPort(t, "original port")), max(1, drawPort(t, "mapped port"))
		fallthrough
	case Static:
		r.Original = drawPrefix(t, realNet, "original").Masked()
		r.Mapped = netip.PrefixFrom(drawAddr(t, mappedNet, "mapped").Netip(), r.Original.Bits()).Masked()
		return r
	case Dynamic:
		r.Pool = "direct"
	case DynamicPAT:
		r.Pool = "ports"
		r.Mapping = Behaviour(rapid.IntRange(0, 1).Draw(t, "mapping"))
	case Identity:
	}
	r.Source = maybePrefix(t, realNet, "source")
	if portsProtocol(r.Protocol) {
		for range rapid.IntRange(0, 3).Draw(t, "ports") {
			a, b := drawPort(t, "port"), drawPort(t, "port")
			r.Ports = append(r.Ports, PortRange{min(a, b), max(a, b)})
		}
	}
	return r
}

// drawConfig draws a configuration that Compile accepts: rules that it refuses
// beside the others are left out.
func drawConfig(t *rapid.T) (Config, *Rules) {
	c := Config{Pools: []Pool{
		{Name: "ports", Addresses: []packet.Addr{{lentNet, 0, 0, 1}, {lentNet, 0, 0, 2}}},
		{Name: "direct", Kind: PoolAddresses, Addresses: []packet.Addr{{lentNet, 0, 1, 1}}},
	}}
	compiled, err := Compile(c)
	for i := range rapid.SampledFrom([]int{0, 1, 3, 8, 30}).Draw(t, "rules") {
		longer := c
		longer.Rules = append(c.Rules[:len(c.Rules):len(c.Rules)], drawRule(t, i))
		if r, err := Compile(longer); err == nil {
			c, compiled = longer, r
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return c, compiled
}

func drawKey(t *rapid.T) packet.FlowKey {
	nets := rapid.SampledFrom([]byte{realNet, mappedNet, peerNet, lentNet})
	k := packet.FlowKey{
		Src: drawAddr(t, nets.Draw(t, "from net"), "src"), Dst: drawAddr(t, nets.Draw(t, "to net"), "dst"),
		Proto: rapid.SampledFrom([]uint8{packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP, 47}).Draw(t, "proto"),
	}
	if k.Proto == packet.ProtoTCP || k.Proto == packet.ProtoUDP {
		k.SrcPort, k.DstPort = drawPort(t, "sport"), drawPort(t, "dport")
	}
	if k.Proto == packet.ProtoICMP {
		k.SrcPort = drawPort(t, "id")
	}
	return k
}

func TestNT1_LookupsEqualWalkingTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, r := drawConfig(t)
		m := newModel(c)
		for range 40 {
			in, out := rapid.Uint8Range(1, 4).Draw(t, "in"), rapid.Uint8Range(1, 4).Draw(t, "out")
			k := drawKey(t)
			to, rule, found := r.Destination(in, k)
			if wantTo, wantRule, want := m.destination(in, k); to != wantTo || rule != wantRule || found != want {
				t.Fatalf("destination of %s at %d: %s, rule %d, %d; want %s, %d, %d", k, in, to, rule, found, wantTo, wantRule, want)
			}
			if rapid.Bool().Draw(t, "mapping") { // a mapping said where it goes
				to.Dst, to.DstPort = drawAddr(t, realNet, "host"), drawPort(t, "host port")
			}
			if got, want := r.Source(in, out, k, to), m.source(in, out, k, to); got != want {
				t.Fatalf("source of %s (to %s) from %d to %d: %+v, want %+v", k, to, in, out, got, want)
			}
		}
	})
}

// Translating there and back gives the original tuple: what leaves through a
// static rule is reached by its answers, and by new connections the other way.
func TestNT1_ThereAndBack(t *testing.T) {
	translated := 0
	rapid.Check(t, func(t *rapid.T) {
		_, r := drawConfig(t)
		for range 40 {
			in, out := rapid.Uint8Range(1, 4).Draw(t, "in"), rapid.Uint8Range(1, 4).Draw(t, "out")
			k := drawKey(t)
			if to, _, what := r.Destination(in, k); what != Untouched {
				continue // hairpins and ways in: below
			} else if to != k {
				t.Fatalf("untouched, but %s became %s", k, to)
			}
			d := r.Source(in, out, k, k)
			if d.What != Fixed {
				continue
			}
			translated++
			k1 := ReplyKey(k, d.Addr, d.Port)
			if k1.Src != k.Dst || k1.SrcPort != k.DstPort || k1.Proto != k.Proto {
				t.Fatalf("reply key %s of %s: not from the responder", k1, k)
			}
			back, rule, what := r.Destination(out, k1)
			if what != Translated || back != k.Reverse() {
				t.Fatalf("%s left as %s:%d by rule %d; its answer %s goes to %s by rule %d", k, d.Addr, d.Port, d.Rule, k1, back, rule)
			}
			// The way in, then the answer's source, by the same rule.
			if again := r.Source(in, out, back.Reverse(), back.Reverse()); again.Addr != k1.Dst || again.Port != k1.DstPort {
				t.Fatalf("%s came in as %s; its answer would leave as %s:%d", k1, back, again.Addr, again.Port)
			}
		}
	})
	if translated == 0 {
		t.Error("no packet met a static rule: the test proves nothing")
	}
}

// The first rule decides, in whichever order its shape is tried.
func TestNT1_FirstRuleWinsAcrossShapes(t *testing.T) {
	rule := func(name, source, destination string) Rule {
		r := Rule{Name: name, Type: Identity, From: inside, To: outside, Source: prefix(source)}
		if destination != "" {
			r.Destination = prefix(destination)
		}
		return r
	}
	hosts := []Rule{rule("a", "10.0.0.1", ""), rule("b", "10.0.0.2", "")}
	nets := []Rule{rule("c", "10.0.0.0/24", "192.0.2.0/24"), rule("d", "10.0.1.0/24", "192.0.2.0/24")}
	k := key(packet.ProtoTCP, "10.0.0.2", 1, "192.0.2.1", 80) // meets b and c
	for want, order := range map[string][]Rule{
		"b": {hosts[0], nets[1], hosts[1], nets[0]},
		"c": {hosts[0], nets[1], nets[0], hosts[1]},
	} {
		r := compiledRules(t, Config{Rules: order})
		if got := r.RuleName(r.Source(inside, outside, k, k).Rule); got != want {
			t.Errorf("rule %q, want %q", got, want)
		}
	}
}

func TestNT1_LookupsAllocateNothing(t *testing.T) {
	r := compiledRules(t, office())
	keys := []packet.FlowKey{
		key(6, "10.3.0.1", 9, "203.0.113.80", 80), key(6, "192.0.2.1", 9, "203.0.113.81", 2222),
		key(17, "10.3.0.1", 9, "192.0.2.1", 5061), key(1, "10.1.8.80", 9, "192.0.2.1", 0), key(47, "11.0.0.1", 0, "192.0.2.1", 0),
	}
	n := testing.AllocsPerRun(100, func() {
		for _, k := range keys {
			to, _, _ := r.Destination(inside, k)
			d := r.Source(inside, outside, k, to)
			ReplyKey(to, d.Addr, d.Port)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
