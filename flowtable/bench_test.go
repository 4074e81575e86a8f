package flowtable

import (
	"fmt"
	"testing"
	"time"
	"unsafe"

	"cohort/packet"
)

func filled(b *testing.B, n int) *Table {
	b.Helper()
	table := newTable(b, n, n/4)
	for i := range uint32(n) {
		if _, err := table.InsertFlow(flowN(i)); err != nil {
			b.Fatal(err)
		}
	}
	return table
}

// bytesPerFlow is the memory of slots and index for each flow of a full table.
func bytesPerFlow(t *Table) float64 {
	index := len(t.mem.Index) * int(unsafe.Sizeof(Bucket{}))
	slots := len(t.mem.Flows) * int(unsafe.Sizeof(FlowSlot{}))
	return float64(index+slots) / float64(len(t.mem.Flows)-1)
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1 << 10, 1 << 16, 1 << 20} {
		table := filled(b, n)
		keys := make([]packet.FlowKey, n)
		for i := range keys {
			keys[i] = keyN(uint32(i * 7919 % n))
			if i&1 != 0 {
				keys[i] = keys[i].Reverse()
			}
		}
		b.Run(fmt.Sprintf("hit/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if table.Lookup(keys[i&(len(keys)-1)]) == 0 {
					b.Fatal("lost")
				}
			}
			b.ReportMetric(bytesPerFlow(table), "B/flow")
		})
		b.Run(fmt.Sprintf("miss/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				k := keys[i&(len(keys)-1)]
				k.Proto = packet.ProtoUDP
				if table.Lookup(k) != 0 {
					b.Fatal("found")
				}
			}
		})
	}
}

func BenchmarkInsertRemove(b *testing.B) {
	for _, n := range []int{1 << 10, 1 << 16, 1 << 20} {
		table := newTable(b, n+4096, 0)
		for i := range uint32(n) {
			if _, err := table.InsertFlow(flowN(i)); err != nil {
				b.Fatal(err)
			}
		}
		now := uint32(0)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				slot, err := table.InsertFlow(flowN(uint32(n + i%1000)))
				if err != nil {
					b.Fatal(err)
				}
				table.RemoveFlow(slot)
				if i%1000 == 0 {
					now += graceTicks
					table.Reclaim(now)
				}
			}
		})
	}
}

func BenchmarkUpdate(b *testing.B) {
	table := filled(b, 1<<16)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		table.UpdateFlow(uint32(1+i%(1<<16)), func(f *FlowSlot) { f.State++ })
	}
}

// The ageing walk: what one slot costs.
func BenchmarkScan(b *testing.B) {
	table := filled(b, 1<<18)
	expired := 0
	b.ResetTimer()
	next := uint32(0)
	for done := 0; done < b.N; done += 1024 {
		next = table.ScanFlows(next, 1024, func(_ uint32, f *FlowSlot) bool {
			if f.Expired(1) {
				expired++
			}
			return true
		})
	}
}

// The same of a table in which everything has ended, as a quiet node's has.
func BenchmarkScanOfTheDead(b *testing.B) {
	table := filled(b, 1<<18)
	for slot := range uint32(1 << 18) {
		table.RemoveFlow(slot + 1)
	}
	b.ResetTimer()
	next := uint32(0)
	for done := 0; done < b.N; done += 1024 {
		next = table.ScanFlows(next, 1024, func(uint32, *FlowSlot) bool { return true })
	}
}

// What a restart costs: adoption of a full table.
func BenchmarkAdopt(b *testing.B) {
	const n = 1 << 18
	table := filled(b, n)
	b.ResetTimer()
	start := time.Now()
	for range b.N {
		if _, err := New(table.mem, testSeed); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(b.N)/n, "ns/flow")
}
