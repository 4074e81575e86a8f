package flowtable

import (
	"errors"
	"math/rand/v2"
	"testing"

	"cohort/packet"

	"pgregory.net/rapid"
)

// The table does what a map does, as long as nothing is refused.
func TestTableBehavesLikeAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const capacity = 24
		table, err := New(NewMemory(capacity, capacity), testSeed)
		if err != nil {
			t.Fatal(err)
		}
		model := map[packet.FlowKey]Ref{}
		gens := map[Ref]uint32{}
		now := uint32(0xfffffff0) // the tick counter wraps on the way
		number := rapid.Uint32Range(0, 40)
		t.Repeat(map[string]func(*rapid.T){
			"insert flow": func(t *rapid.T) {
				f := flowN(number.Draw(t, "n"))
				free := table.Stats().FreeFlows
				slot, err := table.InsertFlow(f)
				_, taken := model[f.Key[0]]
				_, takenReply := model[f.Key[1]]
				switch {
				case taken || takenReply:
					if !errors.Is(err, ErrExists) {
						t.Fatalf("key is taken: %v", err)
					}
				case free == 0:
					if !errors.Is(err, ErrFull) {
						t.Fatalf("no slot is free: %v", err)
					}
				case err != nil:
					t.Fatal(err)
				default:
					model[f.Key[0]], model[f.Key[1]] = flowRef(slot, 0), flowRef(slot, 1)
					gens[flowRef(slot, 0)] = f.Gen
				}
			},
			"insert forward": func(t *rapid.T) {
				f := forwardN(number.Draw(t, "n"))
				if rapid.Bool().Draw(t, "reply") {
					f.Key = f.Key.Reverse()
				}
				free := table.Stats().FreeForwards
				slot, err := table.InsertForward(f)
				_, taken := model[f.Key]
				switch {
				case taken:
					if !errors.Is(err, ErrExists) {
						t.Fatalf("key is taken: %v", err)
					}
				case free == 0:
					if !errors.Is(err, ErrFull) {
						t.Fatalf("no slot is free: %v", err)
					}
				case err != nil:
					t.Fatal(err)
				default:
					model[f.Key] = forwardRef(slot)
					gens[forwardRef(slot)] = f.Gen
				}
			},
			"update": func(t *rapid.T) {
				r := table.Lookup(keyN(number.Draw(t, "n")))
				if r == 0 {
					return
				}
				gen := rapid.Uint32().Draw(t, "gen")
				gens[r] = gen
				if r.IsForward() {
					table.UpdateForward(r.Slot(), func(f *ForwardSlot) { f.Gen = gen; f.Flags = 0 })
				} else {
					table.UpdateFlow(r.Slot(), func(f *FlowSlot) { f.Gen = gen; f.Flags = 0 })
				}
			},
			"remove": func(t *rapid.T) {
				k := keyN(number.Draw(t, "n"))
				r := table.Lookup(k)
				if r.IsForward() {
					table.RemoveForward(r.Slot())
				} else {
					table.RemoveFlow(r.Slot()) // nothing was found: slot 0, left alone
				}
				if r != 0 && !r.IsForward() {
					delete(model, k.Reverse())
				}
				delete(model, k)
				delete(gens, r)
			},
			"reclaim": func(t *rapid.T) {
				now += rapid.Uint32Range(0, 3).Draw(t, "ticks")
				table.Reclaim(now)
			},
			"restart": func(t *rapid.T) {
				again, err := New(table.mem, testSeed)
				if err != nil {
					t.Fatal(err)
				}
				table = again
			},
			"": func(t *rapid.T) {
				checkConsistent(t, table)
				for n := range uint32(41) {
					for _, k := range []packet.FlowKey{keyN(n), keyN(n).Reverse()} {
						if got := table.Lookup(k); got != model[k] {
							t.Fatalf("lookup %v = %#x, want %#x", k, got, model[k])
						}
					}
				}
				for r, gen := range gens {
					got := uint32(0)
					if r.IsForward() {
						got = table.Forward(r.Slot()).Gen
					} else {
						got = table.Flow(r.Slot()).Gen
					}
					if got != gen {
						t.Fatalf("ref %#x has generation %d, want %d", r, got, gen)
					}
				}
			},
		})
	})
}

func TestTableTakesItsWholeCapacity(t *testing.T) {
	for _, flows := range []int{1, 7, 1000, 24576, 50000} {
		forwards := flows / 2
		table := newTable(t, flows, forwards)
		for n := range uint32(flows) {
			if _, err := table.InsertFlow(flowN(n)); err != nil {
				t.Fatalf("flow %d of %d: %v (%+v)", n, flows, err, table.Stats())
			}
		}
		for n := range uint32(forwards) {
			if _, err := table.InsertForward(forwardN(uint32(flows) + n)); err != nil {
				t.Fatalf("forward %d of %d: %v", n, forwards, err)
			}
		}
		checkConsistent(t, table)
		if _, err := table.InsertFlow(flowN(1 << 30)); !errors.Is(err, ErrFull) {
			t.Fatalf("flow past the capacity: %v", err)
		}
		if s := table.Stats(); s.Full != 1 || s.FreeFlows != 0 {
			t.Fatalf("stats %+v", s)
		}
	}
}

// Displacement is what carries an index that is fuller than IndexBuckets ever
// lets it become.
func TestIndexHoldsNineTenthsByDisplacement(t *testing.T) {
	const buckets = 1024
	flows := buckets * BucketEntries * 92 / 100 / 2
	mem := NewMemory(flows, 0)
	mem.Index = make([]Bucket, buckets)
	table, err := New(mem, testSeed)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint32(flows) {
		if _, err := table.InsertFlow(flowN(n)); err != nil {
			t.Fatalf("flow %d of %d: %v", n, flows, err)
		}
	}
	checkConsistent(t, table)
	if table.Stats().Displaced == 0 {
		t.Fatal("nothing was displaced: the test proves nothing")
	}
}

func TestFullIndexRefusesAndUndoes(t *testing.T) {
	mem := NewMemory(100, 1)
	mem.Index = make([]Bucket, 2)
	table, err := New(mem, testSeed)
	if err != nil {
		t.Fatal(err)
	}
	// One entry of 16 is taken: the eighth flow has room for its reply only.
	if _, err := table.InsertForward(forwardN(1000)); err != nil {
		t.Fatal(err)
	}
	for n := range uint32(100) {
		_, err := table.InsertFlow(flowN(n))
		if n < 7 && err != nil || n >= 7 && !errors.Is(err, ErrFull) {
			t.Fatalf("flow %d into 15 entries: %v", n, err)
		}
		checkConsistent(t, table)
	}
	if s := table.Stats(); s.Flows != 7 || s.Full != 93 {
		t.Fatalf("stats %+v", s)
	}
}

func TestInsertRefusesAFlowThatIsItsOwnReply(t *testing.T) {
	table := newTable(t, 4, 4)
	k := packet.FlowKey{Src: packet.Addr{10, 0, 0, 1}, Dst: packet.Addr{10, 0, 0, 1}, SrcPort: 7, DstPort: 7, Proto: packet.ProtoUDP}
	if _, err := table.InsertFlow(FlowSlot{Key: [2]packet.FlowKey{k, k.Reverse()}}); !errors.Is(err, ErrMirror) {
		t.Fatalf("got %v", err)
	}
	checkConsistent(t, table)
}

func TestUpdateMayNotChangeAKey(t *testing.T) {
	table := newTable(t, 4, 4)
	slot, err := table.InsertFlow(flowN(1))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
		checkConsistent(t, table)
	}()
	table.UpdateFlow(slot, func(f *FlowSlot) { f.Key[1].DstPort++ })
}

func TestDeadSlotIsNotReusedWithinItsGrace(t *testing.T) {
	table := newTable(t, 1, 1)
	slot, _ := table.InsertFlow(flowN(1))
	table.RemoveFlow(slot)
	insert := func() error { _, err := table.InsertFlow(flowN(2)); return err }
	start := uint32(0xffffffff) // the tick counter wraps meanwhile
	for i, now := range []uint32{start, start, start + 1} {
		if err := insert(); !errors.Is(err, ErrFull) {
			t.Fatalf("before call %d: %v", i, err)
		}
		table.Reclaim(now)
	}
	if err := insert(); !errors.Is(err, ErrFull) {
		t.Fatalf("after one tick: %v", err)
	}
	table.Reclaim(start + 2)
	if err := insert(); err != nil {
		t.Fatalf("after two ticks: %v", err)
	}
}

func TestScanWalksInSteps(t *testing.T) {
	table := newTable(t, 100, 0)
	for n := range uint32(50) {
		if _, err := table.InsertFlow(flowN(n)); err != nil {
			t.Fatal(err)
		}
	}
	var visited []uint32
	calls := 0
	for next := uint32(0); ; {
		calls++
		next = table.ScanFlows(next, 7, func(slot uint32, f *FlowSlot) bool {
			visited = append(visited, slot)
			table.RemoveFlow(slot)
			return slot%10 != 0 // an early end continues behind its slot
		})
		if next == 0 {
			break
		}
	}
	if len(visited) != 50 || table.Stats().Flows != 0 {
		t.Fatalf("visited %d slots, %d flows left", len(visited), table.Stats().Flows)
	}
	if calls < 8 {
		t.Fatalf("50 slots in %d calls of at most 7", calls)
	}
}

func TestRefNamesKindSlotAndDirection(t *testing.T) {
	for _, slot := range []uint32{1, 12345, MaxSlots - 1} {
		for dir := range 2 {
			if r := flowRef(slot, dir); r.IsForward() || r.Slot() != slot || r.Dir() != dir {
				t.Errorf("flow ref %#x of %d/%d", r, slot, dir)
			}
		}
		if r := forwardRef(slot); !r.IsForward() || r.Slot() != slot || r.Dir() != 0 {
			t.Errorf("forward ref %#x of %d", r, slot)
		}
	}
}

func TestTicksCompareAcrossTheWrap(t *testing.T) {
	before, after := TickOf(1<<52-1), TickOf(1<<52)
	if before != 0xffffffff || after != 0 {
		t.Fatalf("ticks %#x %#x", before, after)
	}
	if Since(after, before) != 1 || Since(before, after) != -1 {
		t.Fatal("differences must be signed")
	}
	if got := Ticks(1); got != 954 {
		t.Fatalf("a second is %d ticks", got)
	}
}

// The table's operations allocate nothing once its slices have grown.
func TestOperationsDoNotAllocate(t *testing.T) {
	table := newTable(t, 1000, 10)
	now := uint32(0)
	for n := range uint32(400) {
		table.InsertFlow(flowN(n))
	}
	cycle := func() {
		slot, err := table.InsertFlow(flowN(777))
		if err != nil {
			t.Fatal(err)
		}
		table.UpdateFlow(slot, func(f *FlowSlot) { f.State++ })
		if table.Lookup(keyN(777)).Slot() != slot {
			t.Fatal("lost")
		}
		table.RemoveFlow(slot)
		now += 2
		table.Reclaim(now)
	}
	for range 1000 {
		cycle()
	}
	if n := testing.AllocsPerRun(1000, cycle); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// TestScanMeetsWhatLives: in a table in which slots died and were born again, in
// steps of any size, a scan meets every live slot once and no other.
func TestScanMeetsWhatLives(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	table := newTable(t, 700, 700)
	live, forwards := map[uint32]bool{}, map[uint32]bool{}
	now, n := uint32(0xfffffff0), uint32(0)
	for range 60 {
		for range rnd.IntN(60) {
			n++
			if slot, err := table.InsertFlow(flowN(n)); err == nil {
				live[slot] = true
			}
			if slot, err := table.InsertForward(ForwardSlot{Key: keyN(1<<20 + n), Owner: 2}); err == nil {
				forwards[slot] = true
			}
		}
		for slot := range live {
			if rnd.IntN(3) == 0 {
				table.RemoveFlow(slot)
				delete(live, slot)
			}
		}
		for slot := range forwards {
			if rnd.IntN(2) == 0 {
				table.RemoveForward(slot)
				delete(forwards, slot)
			}
		}
		now += 4
		table.Reclaim(now)
		step := 1 + rnd.IntN(200)
		for _, c := range []struct {
			want map[uint32]bool
			scan func(from uint32, met func(uint32)) uint32
		}{
			{live, func(from uint32, met func(uint32)) uint32 {
				return table.ScanFlows(from, step, func(s uint32, f *FlowSlot) bool { met(s); return f == table.Flow(s) })
			}},
			{forwards, func(from uint32, met func(uint32)) uint32 {
				return table.ScanForwards(from, step, func(s uint32, f *ForwardSlot) bool { met(s); return f == table.Forward(s) })
			}},
		} {
			met := map[uint32]int{}
			for from := c.scan(0, func(s uint32) { met[s]++ }); from != 0; {
				from = c.scan(from, func(s uint32) { met[s]++ })
			}
			for s := range c.want {
				if met[s] != 1 {
					t.Fatalf("slot %d lives and was met %d times", s, met[s])
				}
			}
			if len(met) != len(c.want) {
				t.Fatalf("%d slots met, %d live", len(met), len(c.want))
			}
		}
	}
}
