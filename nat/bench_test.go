package nat

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"cohort/packet"
)

// manyRules imitates a grown rule base: mostly static hosts and port forwards,
// some networks, some dynamic rules of mixed sizes.
func manyRules(n int) Config {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	c := Config{Pools: []Pool{portPool("egress", 4)}}
	for i := range n {
		r := Rule{Name: fmt.Sprint("r", i), From: uint8(1 + random.IntN(4)), To: uint8(5 + random.IntN(4))}
		original := func(bits int) netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom4(addr(10<<24|random.Uint32N(1<<24))), bits).Masked()
		}
		mapped := addr(uint32(100<<24 + i*16))
		switch random.IntN(8) {
		case 0, 1, 2, 3:
			r.Type, r.Original, r.Mapped = Static, original(32), netip.PrefixFrom(mapped.Netip(), 32)
			r.Original = netip.PrefixFrom(addr(uint32(11<<24+i)).Netip(), 32) // no two alike
		case 4, 5:
			r.Type, r.Original, r.Mapped = StaticPAT, original(32), netip.PrefixFrom(addr(uint32(90<<24+i/8)).Netip(), 32)
			r.Protocol, r.OriginalPort, r.MappedPort = packet.ProtoTCP, 443, uint16(8000+i)
		case 6:
			r.Type, r.Source, r.Destination = Identity, original(16+8*random.IntN(2)), original(8*random.IntN(3))
		case 7:
			r.Type, r.Pool, r.Source = DynamicPAT, "egress", original([]int{16, 20, 24, 28}[random.IntN(4)])
			if random.IntN(2) == 0 {
				r.Protocol, r.Ports = packet.ProtoTCP, []PortRange{{80, 80}, {443, 443}}
			}
		}
		c.Rules = append(c.Rules, r)
	}
	return c
}

// BenchmarkRules: the time must not grow with the rules as a walk's does.
func BenchmarkRules(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		c := manyRules(n)
		r, m := compiledRules(b, c), newModel(c)
		random := rand.New(rand.NewPCG(2, 2))
		keys := make([]packet.FlowKey, 1024)
		for i := range keys {
			src, dst := 10<<24|random.Uint32N(1<<24), random.Uint32()|1<<31
			if rule := c.Rules[random.IntN(n)]; i%2 == 0 {
				for _, p := range []netip.Prefix{rule.Original, rule.Source} {
					if p.IsValid() {
						src = number(p.Addr().As4())
					}
				}
				if rule.Mapped.IsValid() && i%4 == 0 {
					dst = number(rule.Mapped.Addr().As4())
				}
			}
			keys[i] = packet.FlowKey{Src: addr(src), Dst: addr(dst), Proto: packet.ProtoTCP, SrcPort: 443, DstPort: uint16(8000 + random.IntN(n))}
		}
		for _, what := range []struct {
			name   string
			lookup func(in, out uint8, k packet.FlowKey)
		}{
			{"table", func(in, out uint8, k packet.FlowKey) {
				to, _, _ := r.Destination(in, k)
				r.Source(in, out, k, to)
			}},
			{"walk", func(in, out uint8, k packet.FlowKey) {
				to, _, _ := m.destination(in, k)
				m.source(in, out, k, to)
			}},
		} {
			b.Run(fmt.Sprintf("%s/rules=%d", what.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					what.lookup(uint8(1+i%4), uint8(5+i/4%4), keys[i%len(keys)])
				}
				if what.name == "table" {
					b.ReportMetric(float64(len(r.source.shapes)+len(r.destination.shapes)), "shapes")
				}
			})
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	c := manyRules(10000)
	for b.Loop() {
		compiledRules(b, c)
	}
}

// BenchmarkAllocate is a connection's allocation, use and release, with the
// given share of the ports in use by connections to the same remote.
func BenchmarkAllocate(b *testing.B) {
	for _, addresses := range []int{1, 16, 256} {
		for _, percent := range []int{1, 50, 99} {
			b.Run(fmt.Sprintf("addresses=%d/used=%d%%", addresses, percent), func(b *testing.B) {
				benchmarkAllocate(b, addresses, percent)
			})
		}
	}
}

func benchmarkAllocate(b *testing.B, addresses, percent int) {
	w := newWorld(b, 0, portPool("egress", addresses))
	taken := func(packet.FlowKey) bool { return false }
	first := int(w.g.Home(0, tcp(1, 80).Host))
	for u := first; u < first+126; u++ {
		w.SetHeld(u, true)
	}
	home := w.g.Describe(first).Addr
	for port := 1024; port <= 65535; port++ { // so many of every 100 ports, in every unit
		if port%100 < percent {
			w.Use(ReplyKey(tcp(1, 80).To, home, uint16(port)))
		}
	}
	fixed := tcp(1, 0)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		q := fixed
		q.To.SrcPort, q.Prefer = uint16(i)&1023, uint16(i)&1023
		a, port, result := w.Allocate(w.now, q, taken)
		if result != Allocated || a != home {
			b.Fatal(result, a)
		}
		k1 := ReplyKey(q.To, a, port)
		w.Use(k1)
		w.Release(w.now, k1, false)
	}
}

// BenchmarkRefuse is what a connection costs that finds nothing.
func BenchmarkRefuse(b *testing.B) {
	w := newWorld(b, 0, portPool("egress", 1)).holdAll()
	for range 64512 {
		w.must(tcp(1, 80))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, result := w.Allocate(w.now, tcp(1, 80), w.taken); result != Short {
			b.Fatal(result)
		}
	}
}
