package flowtable

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"cohort/packet"

	"pgregory.net/rapid"
)

func backupOf(e Entry, ok bool) Backup {
	if !ok {
		return Backup{}
	}
	return e.Backup()
}

func deltaOf(s *BackupStore, k packet.FlowKey) uint32 {
	e, ok := s.Get(k)
	if !ok {
		return 0
	}
	return e.SeqDelta()
}

func backupN(n uint32) Backup { return Backup{Key: Pack(keyN(n)), Owner: 2, Gen: n, Timeout: 30} }

// The store does what a map by canonical key does.
func TestBackupStoreBehavesLikeAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const capacity = 60
		store := NewBackupStore(testSeed, capacity)
		model := map[packet.FlowKey]Backup{}
		others := map[packet.FlowKey]packet.FlowKey{}
		key := func(t *rapid.T) packet.FlowKey {
			k := keyN(rapid.Uint32Range(0, 80).Draw(t, "n"))
			if rapid.Bool().Draw(t, "reply") {
				return k.Reverse()
			}
			return k
		}
		canonical := func(k packet.FlowKey) packet.FlowKey { c, _ := k.Canonical(); return c }
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				b := Backup{Key: Pack(key(t)), Owner: rapid.Byte().Draw(t, "owner"), Gen: rapid.Uint32().Draw(t, "gen")}
				k := canonical(b.Key.Unpack())
				_, known := model[k]
				other := packet.FlowKey{}
				err := error(nil)
				if rapid.Bool().Draw(t, "translated") {
					other = packet.FlowKey{Dst: packet.Addr{203, 0, 113, 1}, DstPort: rapid.Uint16Min(1).Draw(t, "mapped"), Proto: b.Key.Proto}
					err = store.PutPair(b, other)
				} else {
					err = store.Put(b)
				}
				if !known && len(model) == capacity {
					if !errors.Is(err, ErrFull) {
						t.Fatalf("entry past the capacity: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				model[k], others[k] = b, other
			},
			"delete": func(t *rapid.T) {
				k := key(t)
				_, known := model[canonical(k)]
				if store.Delete(k) != known {
					t.Fatalf("delete %v: known %v", k, known)
				}
				delete(model, canonical(k))
			},
			"scan": func(t *rapid.T) {
				drop := rapid.Uint32Range(1, 5).Draw(t, "every")
				step := rapid.IntRange(1, 20).Draw(t, "step")
				for from := uint32(0); ; {
					from = store.Scan(from, step, func(e Entry) bool {
						b := e.Backup()
						k := canonical(b.Key.Unpack())
						if b != model[k] {
							t.Fatalf("scan met %+v, want %+v", b, model[k])
						}
						if b.Gen%drop == 0 {
							delete(model, k)
							return false
						}
						return true
					})
					if from == 0 {
						break
					}
				}
				for k, b := range model {
					if b.Gen%drop == 0 {
						t.Fatalf("scan missed %v", k)
					}
				}
			},
			"": func(t *rapid.T) {
				if store.Len() != len(model) {
					t.Fatalf("%d entries, want %d", store.Len(), len(model))
				}
				for n := range uint32(81) {
					want, known := model[canonical(keyN(n))]
					for _, k := range []packet.FlowKey{keyN(n), keyN(n).Reverse()} {
						got, ok := store.Get(k)
						if ok != known || ok && got.Backup() != want {
							t.Fatalf("get %v: %+v %v, want %+v %v", k, backupOf(got, ok), ok, want, known)
						}
						if !known {
							continue
						}
						other, paired := got.Other()
						if w := others[canonical(k)]; other != w || paired != (w != packet.FlowKey{}) {
							t.Fatalf("other key of %v: %v %v, want %v", k, other, paired, w)
						}
					}
				}
			},
		})
	})
}

func TestBackupStoreFillsToItsCapacity(t *testing.T) {
	for _, capacity := range []int{1, 100, 100_000} {
		store := NewBackupStore(testSeed, capacity)
		for n := range uint32(capacity) {
			if err := store.Put(backupN(n)); err != nil {
				t.Fatalf("entry %d of %d: %v", n, capacity, err)
			}
		}
		if err := store.Put(backupN(uint32(capacity))); !errors.Is(err, ErrFull) {
			t.Fatalf("entry past %d: %v", capacity, err)
		}
		if err := store.Put(backupN(0)); err != nil {
			t.Fatalf("replacing an entry of a full store: %v", err)
		}
		for n := range uint32(capacity) {
			if b, ok := store.Get(keyN(n)); !ok || b.Gen() != n {
				t.Fatalf("entry %d of %d is lost", n, capacity)
			}
		}
		deleted := 0
		for from := store.Scan(0, 100, func(Entry) bool { deleted++; return false }); from != 0; {
			from = store.Scan(from, 100, func(Entry) bool { deleted++; return false })
		}
		if store.Len() != 0 || deleted != capacity {
			t.Fatalf("%d left, %d deleted of %d", store.Len(), deleted, capacity)
		}
	}
}

func TestBackupStoreRefusesAKeyWithoutAddresses(t *testing.T) {
	store := NewBackupStore(testSeed, 10)
	if err := store.Put(Backup{Owner: 1}); !errors.Is(err, ErrNoAddress) {
		t.Fatal(err)
	}
	if _, ok := store.Get(packet.FlowKey{}); ok {
		t.Fatal("a free place was found")
	}
}

func TestBackupStoreKeepsAnEntryWithoutOwner(t *testing.T) {
	store := NewBackupStore(testSeed, 10)
	if err := store.Put(backupN(1)); err != nil {
		t.Fatal(err)
	}
	b, _ := store.Get(keyN(1))
	b.SetOwner(0, 0) // its owner died
	if b, ok := store.Get(keyN(1).Reverse()); !ok || b.Owner() != 0 || b.Gen() != 1 {
		t.Fatalf("%+v %v", backupOf(b, ok), ok)
	}
}

// benchBackup is one as there are most of: of the first generation.
func benchBackup(n uint32) Backup { return Backup{Key: Pack(keyN(n)), Owner: 2, Gen: 1, Timeout: 30} }

func BenchmarkBackupPut(b *testing.B) {
	for _, n := range []int{1 << 16, 1 << 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			store := NewBackupStore(testSeed, n)
			b.ReportAllocs()
			for i := range b.N {
				if i%n == 0 { // growth is part of the cost
					store = NewBackupStore(testSeed, n)
				}
				if err := store.Put(benchBackup(uint32(i % n))); err != nil {
					b.Fatal(err)
				}
			}
			if b.N >= n {
				for i := range n {
					if err := store.Put(benchBackup(uint32(i))); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(store.Bytes())/float64(n), "B/entry")
			}
		})
	}
}

// The longest pause that growth causes: moving one shard.
func BenchmarkBackupGrowShard(b *testing.B) {
	store := NewBackupStore(testSeed, shardEntries)
	for n := uint32(0); len(store.shards[0].tags) < 182; n++ {
		if err := store.Put(benchBackup(n)); err != nil {
			b.Fatal(err)
		}
	}
	full := store.shards[0]
	b.ResetTimer()
	for range b.N {
		store.shards[0] = full
		if !store.grow(&store.shards[0], shardBuckets) {
			b.Fatal("it does not fit")
		}
	}
}

func BenchmarkBackupGet(b *testing.B) {
	for _, n := range []int{1 << 16, 1 << 20} {
		store := NewBackupStore(testSeed, n)
		for i := range n {
			if err := store.Put(benchBackup(uint32(i))); err != nil {
				b.Fatal(err)
			}
		}
		for name, off := range map[string]uint32{"hit": 0, "miss": 1 << 24} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				found := 0
				for i := range b.N {
					if _, ok := store.Get(keyN(uint32(i*7919%n) + off)); ok {
						found++
					}
				}
				if (off == 0) != (found == b.N) {
					b.Fatal(found)
				}
			})
		}
	}
}

// TestBackupStoreRemembersNothingWrong: a store that is asked for a connection and
// changed at once, at the same connection or a neighbour, answers like a map.
func TestBackupStoreRemembersNothingWrong(t *testing.T) {
	const keys = 600 // several shards, which grow
	rnd := rand.New(rand.NewPCG(1, 2))
	store, model := NewBackupStore(testSeed, 2*keys), map[uint32]Backup{}
	last := uint32(0)
	for step := range 300_000 {
		n := last // most often the connection of the step before
		if rnd.IntN(3) == 0 {
			n = rnd.Uint32N(keys)
		}
		last = n
		k := keyN(n)
		if rnd.IntN(2) == 0 {
			k = k.Reverse()
		}
		switch rnd.IntN(6) {
		case 0, 1:
			b := Backup{Key: Pack(k), Gen: uint32(step)}
			if err := store.Put(b); err != nil {
				t.Fatal(err)
			}
			model[n] = b
		case 2:
			_, known := model[n]
			if store.Delete(k) != known {
				t.Fatalf("step %d: delete of %d, known %v", step, n, known)
			}
			delete(model, n)
		case 3:
			if step%64 != 0 {
				break
			}
			store.Scan(0, 1<<20, func(e Entry) bool { return e.Gen()%7 != 0 })
			for n, b := range model {
				if b.Gen%7 == 0 {
					delete(model, n)
				}
			}
		default:
			want, known := model[n]
			if got, ok := store.Get(k); ok != known || ok && got.Backup() != want {
				t.Fatalf("step %d: %d is %+v %v, want %+v %v", step, n, backupOf(got, ok), ok, want, known)
			}
		}
	}
}

// TestFR5_ACopyKeepsTheShift of its connection through growth and the deletion of
// others, and loses it with the next Put.
func TestFR5_ACopyKeepsTheShift(t *testing.T) {
	s := NewBackupStore(testSeed, 5000)
	key := func(i int) packet.FlowKey {
		return packet.FlowKey{Src: packet.Addr{10, 0, byte(i >> 8), byte(i)}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: uint16(i), DstPort: 80, Proto: packet.ProtoTCP}
	}
	const n = 3000
	for i := range n {
		if err := s.Put(Backup{Key: Pack(key(i)), Owner: 1}); err != nil {
			t.Fatal(err)
		}
		if i%3 != 0 {
			s.SetSeqDelta(key(i), uint32(i)+7)
		}
	}
	for i := 0; i < n; i += 5 {
		s.Delete(key(i))
	}
	for i := range n {
		want := uint32(i) + 7
		if i%3 == 0 || i%5 == 0 {
			want = 0
		}
		if got := deltaOf(s, key(i).Reverse()); got != want {
			t.Fatalf("entry %d: %d, want %d", i, got, want)
		}
	}
	if err := s.Put(Backup{Key: Pack(key(1)), Owner: 2}); err != nil || deltaOf(s, key(1)) != 0 {
		t.Errorf("%v; a new entry begins with %d", err, deltaOf(s, key(1)))
	}
}

// Copies come to an end while others are being walked: those that stay are all
// visited, however small the slices are.
func TestScanInSlicesMissesNothingThatStays(t *testing.T) {
	for trial := range uint32(200) {
		const entries = 700
		s := NewBackupStore(testSeed, entries)
		for i := range uint32(entries) {
			if err := s.Put(Backup{Key: Pack(keyN(trial*entries + i)), Owner: 1}); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[PackedKey]bool{}
		var last PackedKey
		for at := s.Scan(0, 1, func(e Entry) bool { last = e.Key(); seen[last] = true; return true }); at != 0; {
			s.Delete(last.Unpack()) // has been visited
			at = s.Scan(at, 1, func(e Entry) bool { last = e.Key(); seen[last] = true; return true })
		}
		if len(seen) != entries {
			t.Fatalf("trial %d: %d of %d entries visited", trial, len(seen), entries)
		}
	}
}
