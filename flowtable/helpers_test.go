package flowtable

import (
	"encoding/binary"
	"testing"

	"cohort/packet"
)

var testSeed = [10]uint64{
	0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0, 0x082efa98ec4e6c89, 0x452821e638d01377,
	0xbe5466cf34e90c6c, 0xc0ac29b7c97c50dd, 0x3f84d5b5b5470917, 0x9216d5d98979fb1b, 0xd1310ba698dfb5ac,
}

// keyN is the n-th of many distinct TCP keys; its source is in 10.0.0.0/8 and
// its destination in 192.0.0.0/8, so it is nobody's reverse.
func keyN(n uint32) packet.FlowKey {
	k := packet.FlowKey{SrcPort: uint16(1024 + n%60000), DstPort: 443, Proto: packet.ProtoTCP}
	binary.BigEndian.PutUint32(k.Src[:], 10<<24|n/60000)
	binary.BigEndian.PutUint32(k.Dst[:], 192<<24|n%251)
	return k
}

func flowN(n uint32) FlowSlot {
	k := keyN(n)
	return FlowSlot{Key: [2]packet.FlowKey{k, k.Reverse()}, Gen: n, Timeout: 120}
}

func forwardN(n uint32) ForwardSlot { return ForwardSlot{Key: keyN(n), Gen: n, Owner: 3} }

func newTable(t testing.TB, flows, forwards int) *Table {
	t.Helper()
	table, err := New(NewMemory(flows, forwards), testSeed)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// checkConsistent proves that index and slots describe the same set of keys.
func checkConsistent(t interface {
	Helper()
	Fatalf(string, ...any)
}, table *Table) {
	t.Helper()
	entries := map[Ref]int{}
	for b := range table.mem.Index {
		for _, e := range table.mem.Index[b] {
			if e == 0 {
				continue
			}
			entries[entryRef(e)]++
			if !table.belongs(e, uint32(b)) {
				t.Fatalf("entry %#x in bucket %d belongs to no live slot there", e, b)
			}
		}
	}
	want := 0
	expect := func(k packet.FlowKey, r Ref) {
		want++
		if entries[r] != 1 || table.Lookup(k) != r {
			t.Fatalf("ref %#x: %d entries, lookup %#x", r, entries[r], table.Lookup(k))
		}
	}
	flows, forwards := 0, 0
	table.ScanFlows(0, len(table.mem.Flows), func(slot uint32, f *FlowSlot) bool {
		flows++
		expect(f.Key[0], flowRef(slot, 0))
		expect(f.Key[1], flowRef(slot, 1))
		return true
	})
	table.ScanForwards(0, len(table.mem.Forwards), func(slot uint32, f *ForwardSlot) bool {
		forwards++
		expect(f.Key, forwardRef(slot))
		return true
	})
	for i := range table.mem.Flows {
		if table.mem.Flows[i].Seq&1 != 0 {
			t.Fatalf("flow slot %d is half written", i)
		}
	}
	for i := range table.mem.Forwards {
		if table.mem.Forwards[i].Seq&1 != 0 {
			t.Fatalf("forward slot %d is half written", i)
		}
	}
	s := table.Stats()
	if len(entries) != want || s.Flows != flows || s.Forwards != forwards {
		t.Fatalf("%d entries for %d keys; stats %+v for %d flows, %d forwards", len(entries), want, s, flows, forwards)
	}
	if got := flows + s.FreeFlows + table.flows.quarantined(); got != len(table.mem.Flows)-1 {
		t.Fatalf("flows: %d live, free or quarantined of %d", got, len(table.mem.Flows)-1)
	}
	if got := forwards + s.FreeForwards + table.forwards.quarantined(); got != len(table.mem.Forwards)-1 {
		t.Fatalf("forwards: %d live, free or quarantined of %d", got, len(table.mem.Forwards)-1)
	}
}
