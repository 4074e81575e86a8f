package sequence

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cohort/ccl/wire"
	"cohort/packet"
)

var testSpace = New([16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})

func anyKey(r *rand.Rand) packet.FlowKey {
	u := func() (a packet.Addr) {
		x := r.Uint32()
		return packet.Addr{byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)}
	}
	return packet.FlowKey{Src: u(), Dst: u(), SrcPort: uint16(r.Uint32()), DstPort: uint16(r.Uint32()), Proto: packet.ProtoTCP}
}

// TestFR5_TheOwnerIsReadFromItsNumber for every node and any tuple.
func TestFR5_TheOwnerIsReadFromItsNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := anyKey(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "tuple"), 1)))
		isn := rapid.Uint32().Draw(t, "isn")
		node := wire.NodeID(rapid.IntRange(1, wire.MaxNodes-1).Draw(t, "node"))
		if got, ok := testSpace.Owner(k, testSpace.ISN(k, isn, node)); !ok || got != node {
			t.Fatalf("read %d, %v; want %d", got, ok, node)
		}
	})
}

// TestFR5_NumbersOfOneSYNAreKnown, whichever nodes gave them.
func TestFR5_NumbersOfOneSYNAreKnown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := anyKey(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "tuple"), 1)))
		isn := rapid.Uint32().Draw(t, "isn")
		made := testSpace.ISN(k, isn, wire.NodeID(rapid.IntRange(1, wire.MaxNodes-1).Draw(t, "node")))
		if got, ok := testSpace.Upper(k, made); !ok || got != uint16(isn>>lowBits) {
			t.Fatalf("read %x, %v of %x", got, ok, isn)
		}
		if _, ok := testSpace.Upper(k, made+1); ok {
			t.Fatal("a number of nobody has an upper half")
		}
	})
}

// TestFR5_FR11_WhatAnotherNodeGaveIsKnown from what one node gave: wherever the initiator
// began and whatever it has sent since, if it is known to a MiB how far it has come.
func TestFR5_FR11_WhatAnotherNodeGaveIsKnown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := anyKey(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "tuple"), 1)))
		isn := rapid.Uint32().Draw(t, "isn")
		first := wire.NodeID(rapid.IntRange(1, wire.MaxNodes-1).Draw(t, "first"))
		second := wire.NodeID(rapid.IntRange(0, wire.MaxNodes-1).Draw(t, "second")) // 0: it let the initiator keep its number
		by, want := testSpace.ISN(k, isn, first)-isn, uint32(0)
		if second != 0 {
			want = testSpace.ISN(k, isn, second) - isn
		}
		about := want + uint32(rapid.Int32Range(-Apart/2, Apart/2-1).Draw(t, "unknown"))
		if got, ok := testSpace.Other(k, by, about); !ok || got != want {
			t.Fatalf("%x, which node %d moved by %x, is moved by %x, %v of node %d, want %x", isn, first, by, got, ok, second, want)
		}
		if node := testSpace.Mover(k, by); node != first {
			t.Fatalf("moved by node %d, want %d", node, first)
		}
		hidden, _ := testSpace.tuple(k)
		step := uint32(stepBits + lowBits)
		nobody := by + (uint32(hidden)-by>>step)<<step // as node 0 would
		for _, move := range []uint32{0, by + 2<<lowBits, by - 2<<lowBits, nobody} {
			if got, ok := testSpace.Other(k, move, about); ok {
				t.Fatalf("by %x, where node %d moves by %x: %x", move, first, by, got)
			}
		}
		if got, ok := testSpace.Other(k, by, nobody); ok {
			t.Fatalf("node 0 moves by %x", got)
		}
	})
}

// TestFR5_AForeignNumberIsOfNobody: of a million numbers that nobody here has made,
// about one in a thousand passes, and no node is drawn more than others. Neither
// does a number count for another tuple, or under another key.
func TestFR5_AForeignNumberIsOfNobody(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	other := New([16]byte{99})
	const n = 1 << 20
	var foreign, elsewhere, stranger int
	var drawn [wire.MaxNodes]int
	for range n {
		k, isn := anyKey(r), r.Uint32()
		if node, ok := testSpace.Owner(k, isn); ok {
			foreign++
			drawn[node]++
		}
		made := testSpace.ISN(k, isn, 5)
		moved := k
		moved.DstPort++
		if _, ok := testSpace.Owner(moved, made); ok {
			elsewhere++
		}
		if _, ok := other.Owner(k, made); ok {
			stranger++
		}
	}
	for what, got := range map[string]int{"foreign numbers": foreign, "numbers of another tuple": elsewhere, "numbers under another key": stranger} {
		if got > n>>10*5/4 || got < n>>10*3/4 {
			t.Errorf("%d of %d %s count, want about %d", got, n, what, n>>10)
		}
	}
	if drawn[0] != 0 {
		t.Errorf("node 0, which is none, was read %d times", drawn[0])
	}
}

// TestFR5_NumbersCannotBeForeseen: whatever the initiator counts by, half of the
// bits differ between tuples, and between numbers of one tuple the lower ones do.
func TestFR5_NumbersCannotBeForeseen(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 5))
	const n = 1 << 16
	tuples, next := 0, 0
	for range n {
		k := anyKey(r)
		l := k
		l.DstPort ^= 1
		tuples += bits.OnesCount32(testSpace.ISN(k, 1000, 3) ^ testSpace.ISN(l, 1000, 3))
		next += bits.OnesCount32((testSpace.ISN(k, 1000, 3) ^ testSpace.ISN(k, 1000+1<<lowBits, 3)) & lowMask)
	}
	if mean := float64(tuples) / n; mean < 15.8 || mean > 16.2 {
		t.Errorf("%.2f of 32 bits differ between tuples", mean)
	}
	if mean := float64(next) / n; mean < lowBits/2-.2 || mean > lowBits/2+.2 {
		t.Errorf("%.2f of %d lower bits differ between numbers of one tuple", mean, lowBits)
	}
}

// TestFR5_OrderOfAnInitiatorsNumbersStays: RFC 6528's numbers of one tuple grow, and
// a responder in TIME-WAIT looks at that (RFC 9293, 3.10.7.4).
func TestFR5_OrderOfAnInitiatorsNumbersStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := anyKey(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "tuple"), 1)))
		isn := rapid.Uint32().Draw(t, "isn")
		later := isn + rapid.Uint32Range(2<<lowBits, 1<<31-2<<lowBits).Draw(t, "after")
		if a, b := testSpace.ISN(k, isn, 7), testSpace.ISN(k, later, 7); int32(b-a) <= 0 {
			t.Fatalf("%d and %d became %d and %d", isn, later, a, b)
		}
	})
}

// TestFR14_NumbersOfTwoNodesAreFarApart, whatever the tuple, and far from the number
// that the initiator has: a SYN that another node repeats does not fall into the window
// that the responder has opened for the first, and what it acknowledges of one is not
// taken for the other's.
func TestFR14_NumbersOfTwoNodesAreFarApart(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 7))
	least := uint32(1 << 31)
	for range 1 << 12 {
		k, isn := anyKey(r), r.Uint32()
		made := []uint32{isn}
		for node := wire.NodeID(1); node < wire.MaxNodes; node++ {
			made = append(made, testSpace.ISN(k, isn, node))
		}
		slices.Sort(made)
		for i, n := range made {
			least = min(least, made[(i+1)%len(made)]-n)
		}
	}
	if least < Apart {
		t.Errorf("two numbers of one SYN are %d apart, want %d", least, Apart)
	}
}

// TestFR5_AnyMoveIsAsLikely: what a node adds to the upper half is any of those that keep
// it from others, of each as often.
func TestFR5_AnyMoveIsAsLikely(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 11))
	const n, moves = 1 << 20, 1<<16 - 2*edge<<nodeBits
	drawn := make([]int, 1<<16)
	for range n {
		drawn[testSpace.moved(anyKey(r), 9)]++
	}
	possible, chi := 0, 0.0
	for move, got := range drawn {
		if in := move & (1<<stepBits - 1); in < edge || in >= 1<<stepBits-edge {
			if got != 0 {
				t.Fatalf("moved by %d", move)
			}
			continue
		}
		possible++
		d := float64(got) - float64(n)/moves
		chi += d * d / (float64(n) / moves)
	}
	// The mean of chi is the number of moves, its deviation the root of twice that: 350.
	if possible != moves || chi > moves+8*350 {
		t.Errorf("%d moves, want %d; chi squared %.0f", possible, moves, chi)
	}
}

func TestISNDoesNotAllocate(t *testing.T) {
	k := anyKey(rand.New(rand.NewPCG(8, 9)))
	if n := testing.AllocsPerRun(100, func() { testSpace.Owner(k, testSpace.ISN(k, 1, 2)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzOwner: whatever a responder acknowledges, what is read is a node, and it is
// one that may have chosen that number.
func FuzzOwner(f *testing.F) {
	f.Add(uint32(0x0a000001), uint32(0xc0000250), uint16(443), uint16(40000), uint32(1))
	f.Fuzz(func(t *testing.T, src, dst uint32, sport, dport uint16, isn uint32) {
		k := packet.FlowKey{
			Src: packet.Addr{byte(src >> 24), byte(src >> 16), byte(src >> 8), byte(src)}, SrcPort: sport,
			Dst: packet.Addr{byte(dst >> 24), byte(dst >> 16), byte(dst >> 8), byte(dst)}, DstPort: dport, Proto: packet.ProtoTCP,
		}
		node, ok := testSpace.Owner(k, isn)
		if !ok {
			return
		}
		if node == 0 || node >= wire.MaxNodes {
			t.Fatalf("node %d", node)
		}
		shift := testSpace.moved(k, node)
		if own := uint32(uint16(isn>>lowBits)-shift) << lowBits; testSpace.ISN(k, own, node) != isn {
			t.Fatalf("%d is said to be of node %d, which makes %d", isn, node, testSpace.ISN(k, own, node))
		}
	})
}
