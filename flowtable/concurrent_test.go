package flowtable

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"cohort/packet"
)

// xdpReader finds keys the way the XDP program does: from the shared memory
// alone, with word loads, while the writer is at work.
type xdpReader struct {
	mem  Memory
	seed [10]uint64
}

// find returns a copy of the first line of k's slot, and where it is.
func (x *xdpReader) find(k packet.FlowKey) (line [16]uint64, r Ref, ok bool) {
	mask := uint32(len(x.mem.Index) - 1)
	h1, tag := hashKey(&x.seed, &k)
	b := h1 & mask
	for _, bucket := range [2]uint32{b, otherBucket(b, tag, mask)} {
		for i := range x.mem.Index[bucket] {
			e := atomic.LoadUint64(&x.mem.Index[bucket][i])
			if e == 0 || entryTag(e) != tag || entryRef(e).IsForward() {
				continue
			}
			line, ok = x.read(entryRef(e).Slot())
			if !ok {
				return line, 0, false
			}
			f := (*FlowSlot)(unsafe.Pointer(&line))
			if f.Key[entryRef(e).Dir()] == k && f.Flags&FlowLive != 0 {
				return line, entryRef(e), true
			}
		}
	}
	return line, 0, false
}

// read copies a line between two loads of its sequence word.
func (x *xdpReader) read(slot uint32) (line [16]uint64, ok bool) {
	f := &x.mem.Flows[slot]
	before := atomic.LoadUint32(&f.Seq)
	if before&1 != 0 {
		return line, false
	}
	words := (*[16]uint64)(unsafe.Pointer(f))
	for i := range flowWords {
		if i == flowSeqWord { // two 32-bit words with their own stores
			half := (*[2]uint32)(unsafe.Pointer(&line[i]))
			half[0], half[1] = atomic.LoadUint32(&f.Seq), atomic.LoadUint32(&f.Gen)
			continue
		}
		line[i] = atomic.LoadUint64(&words[i])
	}
	return line, atomic.LoadUint32(&f.Seq) == before
}

// stampFlow makes every field of Go's line follow from the key number and gen,
// so that a reader can tell a torn line.
func stampFlow(f *FlowSlot, n, gen uint32) {
	f.Gen, f.Created, f.SeqDelta = gen, gen^n, ^gen
	f.NextHop = [2]uint16{uint16(gen), uint16(gen >> 1)}
	f.Iface = [2]uint8{uint8(gen), uint8(gen >> 3)}
	f.Rule, f.Timeout = uint16(gen+1), uint16(gen+2)
	f.Backup, f.Replication = uint8(gen+3), uint8(gen+4)
}

// While the writer inserts, updates, removes and displaces, a reader never sees
// a line that was not written as one, never the line of another key, and counts
// into a slot only while it may.
func TestConcurrentReaderNeverSeesATornLine(t *testing.T) {
	const (
		keys   = 64
		rounds = 60_000
	)
	mem := NewMemory(keys, 1)
	mem.Index = make([]Bucket, 32) // 256 entries for 130: displacement happens
	table, err := New(mem, testSeed)
	if err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var hits atomic.Uint64
	var readers sync.WaitGroup
	for range 2 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			x := xdpReader{mem: mem, seed: testSeed}
			for n := uint32(0); !done.Load(); n = (n + 1) % keys {
				key := keyN(n)
				if n&1 != 0 {
					key = key.Reverse()
				}
				line, r, ok := x.find(key)
				if !ok {
					continue
				}
				hits.Add(1)
				f := (*FlowSlot)(unsafe.Pointer(&line))
				want := flowN(n)
				stampFlow(&want, n, f.Gen)
				want.Seq, want.Flags, want.State = f.Seq, f.Flags, f.State
				if want.Key != f.Key || *(*[64]byte)(unsafe.Pointer(&want)) != *(*[64]byte)(unsafe.Pointer(f)) {
					t.Errorf("key %d: torn line %+v", n, *f)
					return
				}
				mem.Flows[r.Slot()].Account(r.Dir(), n, 100)
				mem.Flows[r.Slot()].Sent(r.Dir(), TCPAck, n, n, uint16(n))
			}
		}()
	}
	slots := map[uint32]uint32{}
	// With one processor readers find something only where the writer is interrupted.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0))))
	for i := uint32(0); i < rounds || hits.Load() == 0 && i < 100*rounds; i++ {
		n := i * 2654435761 % keys
		slot, live := slots[n]
		switch {
		case !live:
			f := flowN(n)
			stampFlow(&f, n, i)
			if slot, err = table.InsertFlow(f); err == nil {
				slots[n] = slot
			}
		case i%3 == 0:
			table.RemoveFlow(slot)
			delete(slots, n)
		default:
			table.UpdateFlow(slot, func(f *FlowSlot) { stampFlow(f, n, i) })
		}
		if i%8 == 0 {
			table.Reclaim(i) // 8 ticks a call
		}
	}
	done.Store(true)
	readers.Wait()
	if hits.Load() == 0 {
		t.Fatal("the readers found nothing: the test proves nothing")
	}
	checkConsistent(t, table)
}

// steppedReader performs xdpReader.read one load at a time, so that a test
// decides what the writer does between any two of them.
type steppedReader struct {
	slot   *FlowSlot
	line   [16]uint64 // only the first half is read
	before uint32
	step   int
}

// advance makes one load. It returns the line when a read ended well.
func (r *steppedReader) advance() *FlowSlot {
	words := (*[16]uint64)(unsafe.Pointer(r.slot))
	switch step := r.step; {
	case step == 0:
		if r.before = r.slot.Seq; r.before&1 != 0 {
			return nil // try again
		}
	case step <= flowWords:
		r.line[step-1] = words[step-1]
	default:
		r.step = 0
		if r.slot.Seq != r.before {
			return nil
		}
		return (*FlowSlot)(unsafe.Pointer(&r.line))
	}
	r.step++
	return nil
}

// Readers of every speed, from one load to several whole reads between two
// stores of the writer, interleaved with every kind of write.
func TestReaderAtAnySpeedNeverSeesATornLine(t *testing.T) {
	table := newTable(t, 1, 1)
	slot := table.Flow(1)
	type running struct {
		steppedReader
		every, loads int
	}
	var readers []*running
	for every := 1; every <= 30; every++ { // slower than the writer
		readers = append(readers, &running{steppedReader{slot: slot}, every, 1})
	}
	for loads := 2; loads <= 30; loads++ { // faster
		readers = append(readers, &running{steppedReader{slot: slot}, 1, loads})
	}
	stores, good := 0, 0
	table.afterStore = func() {
		stores++
		for _, r := range readers {
			if stores%r.every != 0 {
				continue
			}
			for range r.loads {
				f := r.advance()
				if f == nil || f.Flags&FlowLive == 0 {
					continue
				}
				good++
				n := f.Gen & 1
				want := flowN(n)
				stampFlow(&want, n, f.Gen)
				want.Seq, want.Flags, want.State = f.Seq, f.Flags, f.State
				if *(*[64]byte)(unsafe.Pointer(&want)) != *(*[64]byte)(unsafe.Pointer(f)) {
					t.Fatalf("%d loads every %d stores: torn line %+v", r.loads, r.every, *f)
				}
			}
		}
	}
	for i := range uint32(500) {
		n := i & 1 // another key in the same slot every time
		f := flowN(n)
		stampFlow(&f, n, 8*i+n)
		if _, err := table.InsertFlow(f); err != nil {
			t.Fatal(err)
		}
		for u := range i % 4 {
			table.UpdateFlow(1, func(f *FlowSlot) { stampFlow(f, n, 8*i+2*u+n) })
		}
		table.RemoveFlow(1)
		table.Reclaim(4 * i)
		table.Reclaim(4*i + graceTicks)
	}
	if good < 1000 {
		t.Fatalf("only %d reads succeeded", good)
	}
}

// A reader that looks while an entry is displaced may miss it, but the entry is
// in the index at every moment.
func TestDisplacementNeverTakesAnEntryOut(t *testing.T) {
	mem := NewMemory(1000, 0)
	mem.Index = make([]Bucket, 64)
	table, err := New(mem, testSeed)
	if err != nil {
		t.Fatal(err)
	}
	x := xdpReader{mem: mem, seed: testSeed}
	inserted := uint32(0)
	table.afterStore = func() {
		for i := range inserted {
			if _, _, ok := x.find(keyN(i)); !ok {
				t.Fatalf("flow %d cannot be found while flow %d is inserted", i, inserted)
			}
		}
	}
	for err == nil {
		if _, err = table.InsertFlow(flowN(inserted)); err == nil {
			inserted++
		}
	}
	if s := table.Stats(); !errors.Is(err, ErrFull) || s.Displaced < 10 || inserted < 64*BucketEntries/2*9/10 {
		t.Fatalf("%v after %d flows: %+v", err, inserted, s)
	}
}
