package flowtable

import (
	"errors"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

var errKilled = errors.New("killed")

// killAfter runs op and kills it after its n-th store into the shared memory;
// it reports whether op would have made more.
func killAfter(table *Table, n int, op func()) (killed bool) {
	table.afterStore = func() {
		if n--; n == 0 {
			panic(errKilled)
		}
	}
	defer func() {
		table.afterStore = nil
		if r := recover(); r != nil {
			if r != errKilled {
				panic(r)
			}
			killed = true
		}
	}()
	op()
	return false
}

const crowd = 228

// crowdedTable has an index at 0.9 load.
func crowdedTable(t *testing.T) *Table {
	t.Helper()
	mem := NewMemory(240, 8)
	mem.Index = make([]Bucket, 64)
	table, err := New(mem, testSeed)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint32(crowd) {
		if _, err := table.InsertFlow(flowN(n)); err != nil {
			t.Fatal(err)
		}
	}
	return table
}

// findDisplacer returns the number of a flow for which crowdedTable has to
// move entries.
func findDisplacer(t *testing.T) uint32 {
	t.Helper()
	for n := uint32(5000); n < 6000; n++ {
		table := crowdedTable(t)
		before := table.Stats().Displaced
		if _, err := table.InsertFlow(flowN(n)); err == nil && table.Stats().Displaced >= before+2 {
			return n
		}
	}
	t.Fatal("no flow needs displacement")
	return 0
}

// Whatever store the writer dies after, a new one finds a consistent table with
// every other flow in it, and the interrupted operation done or not done.
func TestAdoptAfterCrashAtEveryStore(t *testing.T) {
	const target = 1000
	displacer := findDisplacer(t)
	ops := []struct {
		name    string
		prepare func(*Table)
		run     func(*Table)
		done    func(*Table) bool // what holds after the whole operation
		whole   func(*Table) bool // what holds wherever it was interrupted
	}{
		{
			name: "insert flow",
			run:  func(t *Table) { t.InsertFlow(flowN(target)) },
			done: func(t *Table) bool { return t.Lookup(keyN(target)) != 0 },
		},
		{
			name:    "remove flow",
			prepare: func(t *Table) { t.InsertFlow(flowN(target)) },
			run:     func(t *Table) { t.RemoveFlow(t.Lookup(keyN(target)).Slot()) },
			done:    func(t *Table) bool { return t.Lookup(keyN(target)) == 0 },
		},
		{
			name:    "update flow",
			prepare: func(t *Table) { t.InsertFlow(flowN(target)) },
			run: func(t *Table) {
				t.UpdateFlow(t.Lookup(keyN(target)).Slot(), func(f *FlowSlot) { f.Gen, f.Backup = 7, 7 })
			},
			done: func(t *Table) bool { return t.Flow(t.Lookup(keyN(target)).Slot()).Backup == 7 },
			whole: func(t *Table) bool {
				f := t.Flow(t.Lookup(keyN(target)).Slot())
				return f == nil || (f.Gen == 7) == (f.Backup == 7)
			},
		},
		{
			name: "insert flow that displaces",
			run:  func(t *Table) { t.InsertFlow(flowN(displacer)) },
			done: func(t *Table) bool { return t.Lookup(keyN(displacer)) != 0 },
		},
		{
			name: "insert forward",
			run:  func(t *Table) { t.InsertForward(forwardN(target)) },
			done: func(t *Table) bool { return t.Lookup(keyN(target)).IsForward() },
		},
		{
			name:    "remove forward",
			prepare: func(t *Table) { t.InsertForward(forwardN(target)) },
			run:     func(t *Table) { t.RemoveForward(t.Lookup(keyN(target)).Slot()) },
			done:    func(t *Table) bool { return t.Lookup(keyN(target)) == 0 },
		},
		{
			name:    "update forward",
			prepare: func(t *Table) { t.InsertForward(forwardN(target)) },
			run: func(t *Table) {
				t.UpdateForward(t.Lookup(keyN(target)).Slot(), func(f *ForwardSlot) { f.Gen, f.Owner = 9, 9 })
			},
			done: func(t *Table) bool { return t.Forward(t.Lookup(keyN(target)).Slot()).Owner == 9 },
			whole: func(t *Table) bool {
				f := t.Forward(t.Lookup(keyN(target)).Slot())
				return f == nil || (f.Gen == 9) == (f.Owner == 9)
			},
		},
	}
	for _, op := range ops {
		t.Run(op.name, func(t *testing.T) {
			for n := 1; ; n++ {
				table := crowdedTable(t)
				if op.prepare != nil {
					op.prepare(table)
				}
				killed := killAfter(table, n, func() { op.run(table) })
				again, err := New(table.mem, testSeed)
				if err != nil {
					t.Fatal(err)
				}
				checkConsistent(t, again)
				for i := range uint32(crowd) {
					if again.Lookup(keyN(i)) == 0 || again.Lookup(keyN(i).Reverse()) == 0 {
						t.Fatalf("killed after store %d: flow %d was lost", n, i)
					}
				}
				if op.whole != nil && !op.whole(again) {
					t.Fatalf("killed after store %d: half an update is left", n)
				}
				if c := again.Stats().Adopted.Conflicts; c != 0 {
					t.Fatalf("killed after store %d: %d conflicts", n, c)
				}
				if !killed {
					if n < 4 {
						t.Fatalf("%d stores: the operation did nothing", n-1)
					}
					if !op.done(again) {
						t.Fatal("the whole operation had no effect")
					}
					return
				}
			}
		})
	}
}

// Memory of any content is adopted without a panic and into a consistent table.
func TestAdoptAnyMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mem := NewMemory(12, 12)
		table, err := New(mem, testSeed)
		if err != nil {
			t.Fatal(err)
		}
		for n := range uint32(6) {
			table.InsertFlow(flowN(n))
			table.InsertForward(forwardN(100 + n))
		}
		index := unsafe.Slice((*byte)(unsafe.Pointer(&mem.Index[0])), len(mem.Index)*int(unsafe.Sizeof(Bucket{})))
		flows := unsafe.Slice((*byte)(unsafe.Pointer(&mem.Flows[0])), len(mem.Flows)*int(unsafe.Sizeof(FlowSlot{})))
		forwards := unsafe.Slice((*byte)(unsafe.Pointer(&mem.Forwards[0])), len(mem.Forwards)*int(unsafe.Sizeof(ForwardSlot{})))
		for _, area := range [][]byte{index, flows, forwards} {
			for range rapid.IntRange(0, 8).Draw(t, "hits") {
				area[rapid.IntRange(0, len(area)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "value")
			}
		}
		again, err := New(mem, testSeed)
		if err != nil {
			t.Fatal(err)
		}
		for n := range uint32(200) { // and it stays usable
			again.InsertFlow(flowN(n))
			again.RemoveFlow(again.Lookup(keyN(n)).Slot())
			again.Reclaim(2 * n)
		}
	})
}

func TestAdoptWithAnotherSeedRebuildsTheIndex(t *testing.T) {
	table := newTable(t, 100, 100)
	for n := range uint32(100) {
		table.InsertFlow(flowN(n))
		table.InsertForward(forwardN(1000 + n))
	}
	seed := testSeed
	for i := range seed {
		seed[i] ^= 0x5555555555555555
	}
	again, err := New(table.mem, seed)
	if err != nil {
		t.Fatal(err)
	}
	checkConsistent(t, again)
	want := Adopted{Flows: 100, Forwards: 100, StaleEntries: 300, Relinked: 300}
	if got := again.Stats().Adopted; got != want {
		t.Fatalf("adopted %+v, want %+v", got, want)
	}
}

func TestNewRefusesUnusableMemory(t *testing.T) {
	good := NewMemory(4, 4)
	bad := map[string]Memory{
		"no index":             {Flows: good.Flows, Forwards: good.Forwards},
		"one bucket":           {Index: good.Index[:1], Flows: good.Flows, Forwards: good.Forwards},
		"not a power of two":   {Index: make([]Bucket, 3), Flows: good.Flows, Forwards: good.Forwards},
		"no flow slots at all": {Index: good.Index, Forwards: good.Forwards},
	}
	for name, mem := range bad {
		if _, err := New(mem, testSeed); !errors.Is(err, ErrMemory) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(good, [10]uint64{}); !errors.Is(err, ErrSeed) {
		t.Errorf("zero seed: %v", err)
	}
}

func TestIndexStaysThreeQuartersFullAtMost(t *testing.T) {
	for _, c := range []struct{ flows, forwards, want int }{
		{0, 0, 2}, {6, 0, 2}, {7, 0, 4}, {0, 12, 2}, {0, 13, 4}, {1 << 20, 1 << 20, 1 << 19}, {10_000_000, 0, 1 << 22},
	} {
		got := IndexBuckets(c.flows, c.forwards)
		if got != c.want {
			t.Errorf("%d flows, %d forwards: %d buckets, want %d", c.flows, c.forwards, got, c.want)
		}
		if load := float64(2*c.flows+c.forwards) / float64(got*BucketEntries); load > 0.75 {
			t.Errorf("%+v: load %v", c, load)
		}
	}
}
