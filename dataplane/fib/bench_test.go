package fib

import (
	"testing"

	"cohort/dataplane"
	"cohort/dataplane/internal/nstest"
)

// BenchmarkLookup looks addresses up that were never seen before, behind a
// default route.
func BenchmarkLookup(b *testing.B) {
	for what, prefixes := range map[string]int{"by prefix": 0, "by address": 1} {
		b.Run(what, func(b *testing.B) {
			nstest.Enter(b)
			nstest.Veth(b, "in0", "r0", 1500)
			nstest.Up(b, "r0")
			link := nstest.Up(b, "in0", "10.1.0.1/24")
			ip(b, "route add default via 10.1.0.9")
			t, err := New(Config{
				Interfaces: []Interface{{ID: insideID, Ifindex: link.Attrs().Index}},
				NextHops:   make([]dataplane.NextHop, 16), Prefixes: prefixes,
			})
			must(b, err)
			defer func() { must(b, t.Close()) }()
			nstest.Until(b, "the prefixes are read", func() bool {
				t.Tick()
				t.mu.Lock()
				defer t.mu.Unlock()
				return !t.load.busy && (t.load.known || prefixes == 1)
			})
			dst := uint32(100 << 24)
			b.ReportAllocs()
			for b.Loop() {
				dst++
				t.Lookup(toAddr(dst))
			}
		})
	}
}
