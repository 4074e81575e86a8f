package node

import (
	"testing"

	"cohort/flowtable"
	"cohort/packet"
)

// flowsTo makes a table of n flows with destinations of their own.
func flowsTo(t *testing.T, n int) *flowtable.Table {
	var seed [10]uint64
	for i := range seed {
		seed[i] = uint64(i)*0x9e3779b97f4a7c15 + 1
	}
	table, err := flowtable.New(flowtable.NewMemory(n, 1), seed)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		k := packet.FlowKey{Src: packet.Addr{10, 1, byte(i >> 8), byte(i)}, Dst: packet.Addr{192, 0, byte(i >> 8), byte(i)}, SrcPort: 1, DstPort: 2, Proto: packet.ProtoUDP}
		if _, err := table.InsertFlow(flowtable.FlowSlot{Key: [2]packet.FlowKey{k, k.Reverse()}, NextHop: [2]uint16{1, 1}}); err != nil {
			t.Fatal(err)
		}
	}
	return table
}

// stale counts the flows that do not have this next hop.
func stale(t *flowtable.Table, nh uint16) (n int) {
	t.ScanFlows(0, t.Slots(), func(_ uint32, f *flowtable.FlowSlot) bool {
		if f.NextHop != [2]uint16{nh, nh} {
			n++
		}
		return true
	})
	return n
}

// Heartbeats and the lease live in the same loop: looking up the routes of many
// flows must not hold it up (HL5).
func TestTR1_RouteChangeDoesNotHoldTheLoopUp(t *testing.T) {
	const lookup = 50_000 // ns
	table := flowsTo(t, 1000)
	now := int64(1e12)
	clock := func() int64 { return now }
	hop := func(packet.Addr) uint16 { now += lookup; return 7 }
	var r reroute
	r.start()
	for turns := 0; r.on; turns++ {
		if turns > 1000 {
			t.Fatal("the round does not end")
		}
		began := now
		r.step(table, hop, clock)
		if took := now - began; took > rerouteBudget+2*lookup {
			t.Fatalf("one turn took %d µs", took/1e3)
		}
	}
	if n := stale(table, 7); n != 0 {
		t.Fatalf("%d flows kept the old next hop", n)
	}
}

func TestTR1_RoutesThatKeepChangingReachAllFlows(t *testing.T) {
	table := flowsTo(t, 1000)
	now := int64(1e12)
	clock := func() int64 { return now }
	hop := func(packet.Addr) uint16 { now += 50_000; return 7 }
	var r reroute
	for range 400 {
		r.start()
		r.step(table, hop, clock)
	}
	if n := stale(table, 7); n != 0 {
		t.Fatalf("%d flows still have the next hop of long ago", n)
	}
	for range 400 {
		r.step(table, hop, clock)
	}
	if r.on {
		t.Error("the last round does not end")
	}
}

// A translated flow leads to the real hosts of both sides; what they know each
// other by has routes of its own, or none. A mapping is not touched.
func TestNT1_RouteChangeOfATranslatedFlow(t *testing.T) {
	table, err := flowtable.New(flowtable.NewMemory(64, 1), [10]uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	if err != nil {
		t.Fatal(err)
	}
	var (
		client, server = packet.Addr{10, 9, 9, 9}, packet.Addr{10, 8, 8, 8}
		public, front  = packet.Addr{203, 0, 113, 1}, packet.Addr{203, 0, 113, 2}
	)
	k := packet.FlowKey{Src: client, Dst: front, SrcPort: 1, DstPort: 80, Proto: packet.ProtoTCP}
	back := packet.FlowKey{Src: server, Dst: public, SrcPort: 8080, DstPort: 2, Proto: packet.ProtoTCP}
	mapping := packet.FlowKey{Src: client, SrcPort: 1, Proto: packet.ProtoUDP}
	for _, keys := range [][2]packet.FlowKey{{k, back}, {mapping, {Dst: public, DstPort: 9, Proto: packet.ProtoUDP}}} {
		if _, err := table.InsertFlow(flowtable.FlowSlot{Key: keys}); err != nil {
			t.Fatal(err)
		}
	}
	hops := map[packet.Addr]uint16{client: 3, server: 4, public: 5, front: 6}
	var r reroute
	r.start()
	for range 10 {
		r.step(table, func(a packet.Addr) uint16 { return hops[a] }, func() int64 { return 0 })
	}
	if got := table.Flow(table.Lookup(k).Slot()).NextHop; got != [2]uint16{4, 3} {
		t.Errorf("next hops %v, want those of the real server and the real client, 4 and 3", got)
	}
	if got := table.Flow(table.Lookup(mapping).Slot()).NextHop; got != [2]uint16{0, 0} {
		t.Errorf("a mapping has got next hops: %v", got)
	}
}
