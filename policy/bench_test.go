package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"cohort/packet"
)

// manyRules imitates a grown rule base: hosts, networks and services of mixed
// sizes in no useful order.
func manyRules(n int) []Rule {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	lengths := []int{8, 16, 20, 24, 24, 24, 28, 32, 32, 32}
	prefix := func(first byte) []netip.Prefix {
		a := netip.AddrFrom4([4]byte{first, byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())})
		return []netip.Prefix{netip.PrefixFrom(a, lengths[random.IntN(len(lengths))])}
	}
	rules := make([]Rule, n)
	for i := range rules {
		r := Rule{Name: fmt.Sprintf("r%d", i), From: uint8(random.IntN(4)), To: uint8(random.IntN(4)), Allow: random.IntN(2) == 0}
		r.Proto = []uint8{packet.ProtoTCP, packet.ProtoTCP, packet.ProtoUDP}[random.IntN(3)]
		switch random.IntN(4) {
		case 0:
			r.Ports = []Ports{{80, 80}, {443, 443}}
		case 1:
			first := uint16(random.IntN(60000))
			r.Ports = []Ports{{first, first + uint16(random.IntN(5000))}}
		default:
			first := uint16(random.IntN(65536))
			r.Ports = []Ports{{first, first}}
		}
		if random.IntN(4) != 0 {
			r.Source = prefix(10)
		}
		r.Destination = prefix(198)
		rules[i] = r
	}
	return rules
}

// BenchmarkJudge: the time must not grow with the rules as a walk's does.
func BenchmarkJudge(b *testing.B) {
	random := rand.New(rand.NewPCG(2, 2))
	keys := make([]packet.FlowKey, 1024)
	for i := range keys {
		keys[i] = packet.FlowKey{
			Src:   packet.Addr{10, byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())},
			Dst:   packet.Addr{198, byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())},
			Proto: packet.ProtoTCP, SrcPort: 1, DstPort: uint16(random.Uint32()),
		}
	}
	for _, n := range []int{10, 1000, 10000} {
		rules := manyRules(n)
		p := compile(b, rules...)
		b.Run(fmt.Sprintf("walk/rules=%d", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				judgeNaively(zones, rules, inside, outside, keys[i%len(keys)])
			}
		})
		b.Run(fmt.Sprintf("table/rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			words := 0
			for _, f := range []field{p.table.src, p.table.dst, p.table.port} {
				for _, s := range f.sets {
					words += len(s.words)
				}
			}
			for i := 0; b.Loop(); i++ {
				p.Judge(inside, outside, keys[i%len(keys)])
			}
			b.ReportMetric(float64(8*words), "table-bytes")
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	rules := manyRules(10000)
	for b.Loop() {
		compile(b, rules...)
	}
}
