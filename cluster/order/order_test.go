package order

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"cohort/ccl/wire"
	"cohort/packet"
)

var seed = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// view has members fw-01..fw-n with ids 1..n, without those in gone.
func view(n int, gone ...wire.NodeID) *wire.View {
	v := &wire.View{Term: 1, Epoch: 1}
next:
	for i := 1; i <= n; i++ {
		for _, g := range gone {
			if g == wire.NodeID(i) {
				continue next
			}
		}
		v.Members = append(v.Members, wire.Member{ID: wire.NodeID(i), Name: fmt.Sprintf("fw-%02d", i)})
	}
	return v
}

func randomKey(r *rand.Rand) packet.FlowKey {
	a, b := r.Uint64(), r.Uint64()
	k := packet.FlowKey{SrcPort: uint16(b), DstPort: uint16(b >> 16), Proto: packet.ProtoTCP}
	for i := range 4 {
		k.Src[i], k.Dst[i] = byte(a>>(8*i)), byte(a>>(32+8*i))
	}
	if b>>63 == 1 {
		k.Proto = packet.ProtoUDP
	}
	return k
}

func TestFR2_EachNodeDirectsItsShare(t *testing.T) {
	const tuples = 1_000_000
	var sizes []int
	orders := make([]*Order, 17)
	for n := 2; n <= 16; n++ {
		if raceEnabled && n > 4 && n < 16 {
			continue // no goroutines here, and ten times slower
		}
		orders[n] = New(seed, view(n))
		sizes = append(sizes, n)
	}
	var count [17][17]int
	r := rand.New(rand.NewPCG(1, 2))
	for range tuples {
		k := randomKey(r)
		for _, n := range sizes {
			count[n][orders[n].Director(k)]++
		}
	}
	for _, n := range sizes {
		want := float64(tuples) / float64(n)
		for id := 1; id <= n; id++ {
			if dev := float64(count[n][id])/want - 1; dev > 0.02 || dev < -0.02 {
				t.Errorf("n=%d: node %d directs %d tuples, %+.2f %% off", n, id, count[n][id], dev*100)
			}
		}
	}
}

// Clients of one service differ in few bits; that must not skew the shares.
func TestFR2_SequentialTuplesAreSharedToo(t *testing.T) {
	const n = 16
	o := New(seed, view(n))
	var count [n + 1]int
	tuples := 0
	for host := range 16 {
		for port := 1024; port < 65536; port++ {
			k := packet.FlowKey{
				Src: packet.Addr{10, 0, 0, byte(host)}, Dst: packet.Addr{192, 0, 2, 1},
				SrcPort: uint16(port), DstPort: 443, Proto: packet.ProtoTCP,
			}
			count[o.Director(k)]++
			tuples++
		}
	}
	for id := 1; id <= n; id++ {
		if dev := float64(count[id])*n/float64(tuples) - 1; dev > 0.02 || dev < -0.02 {
			t.Errorf("node %d: %+.2f %% off its share", id, dev*100)
		}
	}
}

// One node less (or, read backwards, one more) moves its own tuples, at most
// 1.1/n of all, and every one of them to the node that was second.
func TestFR2_FR11_OnlyTheTuplesOfTheNodeThatWentMove(t *testing.T) {
	const tuples = 200_000
	for _, n := range []int{2, 3, 4, 8, 16} {
		for _, gone := range []wire.NodeID{1, wire.NodeID(n/2 + 1), wire.NodeID(n)} {
			before, after := New(seed, view(n)), New(seed, view(n, gone))
			r := rand.New(rand.NewPCG(uint64(n), uint64(gone)))
			moved := 0
			for range tuples {
				k := randomKey(r)
				first, second := before.Two(k)
				now := after.Director(k)
				want := first
				if first == gone {
					want = second
					moved++
				}
				if now != want {
					t.Fatalf("n=%d gone=%d %v: order was %d, %d, director is now %d", n, gone, k, first, second, now)
				}
			}
			if limit := 1.1 / float64(n) * tuples; float64(moved) > limit {
				t.Errorf("n=%d gone=%d: %d tuples moved, limit %.0f", n, gone, moved, limit)
			}
		}
	}
}

func TestFR2_BothDirectionsHaveOneOrder(t *testing.T) {
	o := New(seed, view(7))
	r := rand.New(rand.NewPCG(3, 4))
	for range 10_000 {
		k := randomKey(r)
		if o.Hash(k) != o.Hash(k.Reverse()) {
			t.Fatalf("%v: directions hash differently", k)
		}
	}
	// FR9: an echo request and its reply are one connection.
	req := packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{10, 0, 0, 2}, SrcPort: 77, Proto: packet.ProtoICMP}
	if o.Hash(req) != o.Hash(req.Reverse()) {
		t.Fatal("echo request and reply hash differently")
	}
}

func TestFR2_EveryFieldOfTheKeyCounts(t *testing.T) {
	o := New(seed, view(2))
	base := packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{10, 0, 0, 2}, SrcPort: 1, DstPort: 2, Proto: 6}
	seen := map[uint64]string{o.Hash(base): "base"}
	for name, change := range map[string]func(*packet.FlowKey){
		"src":   func(k *packet.FlowKey) { k.Src[3]++; k.Src[0]-- },
		"dst":   func(k *packet.FlowKey) { k.Dst[3]++ },
		"sport": func(k *packet.FlowKey) { k.SrcPort++ },
		"dport": func(k *packet.FlowKey) { k.DstPort++ },
		"proto": func(k *packet.FlowKey) { k.Proto++ },
		"zone":  func(k *packet.FlowKey) { k.Zone++ },
		"swap":  func(k *packet.FlowKey) { k.SrcPort, k.DstPort = k.DstPort, k.SrcPort },
	} {
		k := base
		change(&k)
		h := o.Hash(k)
		if other, dup := seen[h]; dup {
			t.Errorf("%s hashes like %s", name, other)
		}
		seen[h] = name
	}
}

func TestOrderFollowsNamesNotIDs(t *testing.T) {
	v := view(4)
	renumbered := &wire.View{}
	for i := len(v.Members) - 1; i >= 0; i-- {
		m := v.Members[i]
		m.ID += 10
		m.Incarnation = 99
		renumbered.Members = append(renumbered.Members, m)
	}
	a, b := New(seed, v), New(seed, renumbered)
	r := rand.New(rand.NewPCG(5, 6))
	for range 1000 {
		k := randomKey(r)
		if a.Director(k)+10 != b.Director(k) {
			t.Fatalf("%v: director %d became %d", k, a.Director(k), b.Director(k))
		}
	}
}

func TestOtherSeedOtherOrder(t *testing.T) {
	a, b := New(seed, view(16)), New([16]byte{9}, view(16))
	r := rand.New(rand.NewPCG(7, 8))
	same := 0
	for range 1600 {
		if k := randomKey(r); a.Director(k) == b.Director(k) {
			same++
		}
	}
	if same > 200 { // 100 expected by chance
		t.Fatalf("%d of 1600 directors are the same under another seed", same)
	}
}

func TestFR3_BackupIsTheFirstThatIsNotTheOwner(t *testing.T) {
	o := New(seed, view(5))
	r := rand.New(rand.NewPCG(9, 10))
	for range 1000 {
		k := randomKey(r)
		rank := o.Rank(k, nil)
		first, second := o.Two(k)
		if len(rank) != 5 || rank[0] != first || rank[1] != second || o.Director(k) != first {
			t.Fatalf("%v: rank %v, two %d %d", k, rank, first, second)
		}
		seen := map[wire.NodeID]bool{}
		for _, owner := range rank {
			seen[owner] = true
			want := first
			if owner == first {
				want = second
			}
			if got := o.Backup(k, owner); got != want {
				t.Fatalf("%v: backup of %d is %d, want %d", k, owner, got, want)
			}
		}
		if len(seen) != 5 {
			t.Fatalf("rank %v repeats a node", rank)
		}
	}
}

// Without the first k nodes, the rest keep their relative order.
func TestRankSurvivesLosses(t *testing.T) {
	all := New(seed, view(9))
	less := New(seed, view(9, 2, 5, 9))
	r := rand.New(rand.NewPCG(11, 12))
	for range 1000 {
		k := randomKey(r)
		var want []wire.NodeID
		for _, id := range all.Rank(k, nil) {
			if id != 2 && id != 5 && id != 9 {
				want = append(want, id)
			}
		}
		if got := less.Rank(k, nil); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v: %v, want %v", k, got, want)
		}
	}
}

// A node that drains is as good as gone where two others are left; else it is better
// than nobody.
func TestEL10_DrainingNodesComeLast(t *testing.T) {
	v := view(5)
	v.Draining = 1<<2 | 1<<4
	o, without := New(seed, v), New(seed, view(5, 2, 4))
	r := rand.New(rand.NewPCG(5, 6))
	for range 10_000 {
		k := randomKey(r)
		first, second := o.Two(k)
		if f, s := without.Two(k); f != first || s != second {
			t.Fatalf("first %d and second %d, without those that drain %d and %d", first, second, f, s)
		}
		all := o.Rank(k, nil)
		if rest := without.Rank(k, nil); len(all) != 5 || !slices.Equal(all[:3], rest) {
			t.Fatalf("rank %v, without those that drain %v", all, rest)
		}
	}
	for _, c := range []struct {
		draining uint64
		first    wire.NodeID // 0: any
	}{{1 << 1, 2}, {1 << 2, 1}, {1<<1 | 1<<2, 0}} {
		v := view(2)
		v.Draining = c.draining
		k := randomKey(r)
		first, second := New(seed, v).Two(k)
		if c.first != 0 && first != c.first || first == 0 || second == 0 || first == second {
			t.Fatalf("of two, with %b draining: %d, then %d", c.draining, first, second)
		}
	}
}

func TestFewNodes(t *testing.T) {
	k := packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Proto: packet.ProtoUDP}
	for _, o := range []*Order{New(seed, nil), New(seed, &wire.View{}), {}} {
		if f, s := o.Two(k); f != 0 || s != 0 || o.Backup(k, 1) != 0 || o.Director(k) != 0 || len(o.Rank(k, nil)) != 0 || o.Len() != 0 {
			t.Error("an order of nobody names somebody")
		}
	}
	one := New(seed, view(1))
	if f, s := one.Two(k); f != 1 || s != 0 {
		t.Errorf("alone: %d, %d", f, s)
	}
	if b := one.Backup(k, 1); b != 0 { // FR3: n = 1 is unprotected
		t.Errorf("alone: backup %d", b)
	}
	if full := New(seed, view(63)); full.Len() != 63 || len(full.Rank(k, nil)) != 63 {
		t.Error("63 nodes do not fit")
	}
}

func TestNoAllocation(t *testing.T) {
	o := New(seed, view(16))
	k := randomKey(rand.New(rand.NewPCG(13, 14)))
	buf := make([]wire.NodeID, 0, wire.MaxNodes)
	if n := testing.AllocsPerRun(100, func() {
		first, _ := o.Two(k)
		o.Backup(k, first)
		buf = o.Rank(k, buf)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkTwo(b *testing.B) {
	for _, n := range []int{2, 4, 16, 63} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			o := New(seed, view(n))
			k := randomKey(rand.New(rand.NewPCG(15, 16)))
			b.ReportAllocs()
			var sink wire.NodeID
			for b.Loop() {
				k.SrcPort++
				first, second := o.Two(k)
				sink += first + second
			}
			_ = sink
		})
	}
}

func BenchmarkRank(b *testing.B) {
	o := New(seed, view(16))
	k := randomKey(rand.New(rand.NewPCG(15, 16)))
	buf := make([]wire.NodeID, 0, wire.MaxNodes)
	b.ReportAllocs()
	for b.Loop() {
		k.SrcPort++
		buf = o.Rank(k, buf)
	}
}
