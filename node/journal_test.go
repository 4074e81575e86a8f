package node

import (
	"cmp"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"cohort/ccl/wire"
	"cohort/cluster/blocks"
	"cohort/cluster/translate"
	"cohort/nat"
	"cohort/packet"
)

// opened opens a journal as one more process, which nobody stops before the test ends.
func opened(t *testing.T, path string, cut uint32) *unitJournal {
	t.Helper()
	j, err := openJournal(path, cut)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.close() })
	return j
}

// The journal outlives the process that wrote it, and is believed by the same
// incarnation with the same pools only (NT4).
func TestNT4_JournalOfHeldUnits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "units.held")
	const life = wire.Incarnation(77)
	j := opened(t, path, 1)
	if _, _, ok := j.held(life); ok {
		t.Error("an empty journal is believed")
	}
	j.begin(life)
	j.View(5)
	for _, u := range []int{0, 9, 32767} {
		j.Hold(u, true)
	}
	j.Hold(9, false)
	units, view, ok := opened(t, path, 1).held(life) // nobody closed the first: the process was killed
	if !ok || view != 5 || !slices.Equal(units, []int{0, 32767}) {
		t.Fatalf("held %v, view %d, %v", units, view, ok)
	}
	if _, _, ok := opened(t, path, 1).held(life + 1); ok {
		t.Error("another incarnation believes it")
	}
	if _, _, ok := opened(t, path, 2).held(life); ok {
		t.Error("it is believed although the pools are others")
	}
	opened(t, path, 2).begin(life)
	if units, _, ok := opened(t, path, 2).held(life); !ok || len(units) != 0 {
		t.Errorf("a new journal holds %v, %v", units, ok)
	}
}

// A process that is killed leaves the next one what it took of whom, so that
// what is under way to it is neither lost nor taken twice; also where a reload
// gave the units other numbers. And what it gave away in its last view. Another
// life did neither.
func TestHL5_JournalOfGives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "units.held")
	j := opened(t, path, 1)
	j.begin(77)
	j.View(5)
	j.Took(blocks.Taken{From: 63, Life: 9, Seq: 1 << 60})
	j.Took(blocks.Taken{From: 1, Life: 8, Seq: 4})
	j.Took(blocks.Taken{From: 1, Life: 8, Seq: 5})
	j.Took(blocks.Taken{From: 2, Life: 6, Seq: 9})
	j.Took(blocks.Taken{From: 2, Life: 7, Seq: 3})
	j.Hold(wire.MaxUnits-1, true)
	want := []blocks.Taken{{From: 1, Life: 8, Seq: 5}, {From: 2, Life: 7, Seq: 3}, {From: 63, Life: 9, Seq: 1 << 60}}
	next := opened(t, path, 1)
	units, _, ok := next.held(77)
	if got := next.took(); !slices.Equal(got, want) || !ok || !slices.Equal(units, []int{wire.MaxUnits - 1}) {
		t.Fatalf("took %v, held %v, %v", got, units, ok)
	}
	j.Gone(9)
	j.View(5) // once more, after a fence
	j.Gone(wire.MaxUnits - 1)
	if got := next.gone(); !slices.Equal(got, []int{9, wire.MaxUnits - 1}) {
		t.Fatalf("gave %v away", got)
	}
	j.View(6)
	if got := next.gone(); len(got) != 0 {
		t.Fatalf("gave %v away in a new view", got)
	}
	j.Gone(9)
	next.Recut(2)
	units, view, ok := next.held(77)
	if got := next.took(); !slices.Equal(got, want) || !ok || len(units) != 0 || view != 6 || len(next.gone()) != 0 {
		t.Fatalf("after other numbers: took %v, held %v, view %d, %v", got, units, view, ok)
	}
	j.Gone(9)
	j.Rest(9, 5)
	next.begin(78)
	if got := next.took(); len(got)+len(next.gone())+len(next.rests()) != 0 {
		t.Fatalf("another life took %v", got)
	}
}

// A process that takes over rests on where the one before did (NT5); a unit that was
// given up, one of another numbering, and another view's change of what was given away
// are kept apart.
func TestHL5_NT5_JournalOfRests(t *testing.T) {
	path := filepath.Join(t.TempDir(), "units.held")
	j := opened(t, path, 1)
	j.begin(77)
	j.View(5)
	for _, u := range []int{0, 9, wire.MaxUnits - 1} {
		j.Rest(u, 1e12+int64(u))
	}
	j.Rest(9, 0)
	j.View(6)
	next := opened(t, path, 1)
	want := []blocks.Rest{{Unit: 0, End: 1e12}, {Unit: wire.MaxUnits - 1, End: 1e12 + wire.MaxUnits - 1}}
	if got := next.rests(); !slices.Equal(got, want) || len(next.gone()) != 0 {
		t.Fatalf("%v rest, %v are gone", got, next.gone())
	}
	next.Recut(2)
	if got := next.rests(); len(got) != 0 {
		t.Fatalf("after other numbers %v rest", got)
	}
}

// Blocks of hosts are believed under the numbers that they were written with; a reload
// tells them anew, in its own time (NT6, NT7). Another life has none.
func TestHL5_NT6_JournalOfHosts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "units.held")
	j := opened(t, path, 1)
	j.begin(77)
	a, b := packet.Addr{10, 0, 0, 1}, packet.Addr{10, 0, 0, 2}
	j.Own(0, a)
	j.Own(9, b)
	j.Own(wire.MaxUnits-1, a)
	j.Own(9, packet.Addr{})
	j.View(6)
	want := []translate.Own{{Unit: 0, Host: a}, {Unit: wire.MaxUnits - 1, Host: a}}
	if got := opened(t, path, 1).own(); !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	j.Owns(2, []translate.Own{{Unit: 3, Host: b}})
	if got := opened(t, path, 1).own(); len(got) != 0 {
		t.Errorf("%v by other numbers", got)
	}
	j.Recut(2) // what is held comes later than whose it is
	if got := opened(t, path, 2).own(); !slices.Equal(got, []translate.Own{{Unit: 3, Host: b}}) {
		t.Errorf("after a reload: %v", got)
	}
	j.begin(78)
	if got := opened(t, path, 2).own(); len(got) != 0 {
		t.Errorf("another life: %v", got)
	}
	j.Own(4, a)
	if got := opened(t, path, 2).own(); len(got) != 1 {
		t.Errorf("the numbers of a new life are not believed: %v", got)
	}
}

// Keys that wait in hold-down wait on in the next process, as many of the newest as there
// is room for, also under other numbers, and no longer than the clock says (NT5, HL5, RFC
// 6888 REQ-8).
func TestHL5_NT5_JournalOfHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "units.held")
	rules, err := nat.Compile(nat.Config{Pools: []nat.Pool{{Name: "egress", Addresses: []packet.Addr{{203, 0, 113, 10}}}}})
	if err != nil {
		t.Fatal(err)
	}
	g := rules.Geometry()
	ports := func() *nat.Ports {
		p := nat.NewPorts(g, 100, rand.New(rand.NewPCG(1, 2)))
		p.SetHeld(0, true)
		return p
	}
	to := packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 1030, DstPort: 53, Proto: packet.ProtoUDP}
	k1 := nat.ReplyKey(to, packet.Addr{203, 0, 113, 10}, 1030)
	j := opened(t, path, 1)
	j.begin(77)
	first := ports()
	first.SetHoldJournal(j)
	first.Use(k1)
	first.Release(1000, k1, true)
	first.Use(k1)
	first.Release(1001, k1, false) // this one rests no longer

	wants := func(now int64, resting bool) {
		t.Helper()
		p := ports()
		p.RestoreHolds(now, opened(t, path, 1).holds())
		if p.Idle(now, 0) == resting {
			t.Errorf("at %d: idle %v", now, !resting)
		}
		_, port, r := p.Allocate(now, nat.Request{To: to, Host: to.Src, Prefer: 1030}, nil)
		if r != nat.Allocated || (port == 1030) == resting {
			t.Errorf("at %d: port %d, %v", now, port, r)
		}
		other := to
		other.Dst[3]++
		if _, port, r := p.Allocate(now, nat.Request{To: other, Host: to.Src, Prefer: 1030}, nil); r != nat.Allocated || port != 1030 {
			t.Errorf("at %d: port %d towards another remote, %v", now, port, r)
		}
	}
	wants(1050, true)
	wants(1100, false)
	j.Recut(2)
	wants(1050, true)
	back := ports() // a clock that went back makes nothing wait for longer than a hold-down
	if back.RestoreHolds(10, opened(t, path, 1).holds()); back.Idle(109, 0) || !back.Idle(110, 0) {
		t.Errorf("idle %v and %v, want to wait until 110", back.Idle(109, 0), back.Idle(110, 0))
	}

	// The ring goes round, and the next process goes on where this one was.
	for i := range holdPlaces + 10 {
		j.Wait(k1, 2000+int64(i))
	}
	next := opened(t, path, 1)
	if got := next.holds(); len(got) != holdPlaces || next.next != 10+1 {
		t.Fatalf("%d keys, the next place is %d", len(got), next.next)
	}
	k2 := k1
	k2.DstPort, k2.Zone = 9, 3
	next.Wait(k2, 1<<40)
	got := next.holds()
	oldest := slices.MinFunc(got, func(a, b nat.Hold) int { return cmp.Compare(a.End, b.End) })
	newest := slices.MaxFunc(got, func(a, b nat.Hold) int { return cmp.Compare(a.End, b.End) })
	if oldest.End != 2000+11 || newest != (nat.Hold{Key: k2, End: 1 << 40}) {
		t.Errorf("oldest %d, newest %+v", oldest.End, newest)
	}
	next.begin(78)
	if got := next.holds(); len(got) != 0 {
		t.Errorf("another life waits for %d keys", len(got))
	}
}
