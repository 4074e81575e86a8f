package flowtable

import (
	"fmt"
	"strings"
	"testing"

	"cohort/packet"

	"pgregory.net/rapid"
)

// A joined entry is found by its other key, in its direction, for as long as it is
// there and has that key: whatever is put, deleted, scanned and grows around it.
func TestNT4_AJoinedEntryIsFoundByBothKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const capacity = 900 // two shards
		store := NewBackupStore(testSeed, capacity)
		type entry struct {
			b      Backup
			other  packet.FlowKey
			joined bool
		}
		model := map[uint32]entry{}
		by := map[packet.FlowKey]uint32{} // joined entries
		second := func(n uint16) packet.FlowKey {
			if n == 0 {
				return packet.FlowKey{}
			}
			return packet.FlowKey{Src: packet.Addr{192, 0, 2, 1}, Dst: packet.Addr{203, 0, 113, 1}, SrcPort: 80, DstPort: n, Proto: packet.ProtoTCP}
		}
		part := func(n uint32) {
			if e := model[n]; e.joined {
				delete(by, e.other)
				e.joined = false
				model[n] = e
			}
		}
		put := func(t *rapid.T, n uint32, mapped uint16) {
			b, other := backupN(n), second(mapped)
			put := func() error { return store.Put(b) }
			if other != (packet.FlowKey{}) {
				put = func() error { return store.PutPair(b, other) }
			}
			if err := put(); err != nil {
				t.Fatal(err)
			}
			e := model[n]
			if e.other != other {
				part(n)
				e.joined = false
			}
			e.b, e.other = b, other
			model[n] = e
		}
		join := func(t *rapid.T, n uint32) {
			e, known := model[n]
			_, taken := by[e.other]
			want := known && e.other != packet.FlowKey{} && (e.joined || !taken)
			if got := store.Join(e.b.Key.Unpack()); got != want {
				t.Fatalf("join %d: %v, want %v", n, got, want)
			}
			if want {
				e.joined = true
				by[e.other], model[n] = n, e
			}
		}
		asked := uint16(0)
		at := rapid.Uint32Range(0, 120)
		mapped := rapid.Uint16Range(0, 150)
		t.Repeat(map[string]func(*rapid.T){
			"put":  func(t *rapid.T) { put(t, at.Draw(t, "n"), mapped.Draw(t, "mapped")) },
			"join": func(t *rapid.T) { join(t, at.Draw(t, "n")) },
			"many": func(t *rapid.T) {
				for n := range uint32(60) {
					put(t, n, uint16(n)+1)
					join(t, n)
				}
			},
			"part": func(t *rapid.T) {
				n := at.Draw(t, "n")
				store.Part(keyN(n).Reverse())
				part(n)
			},
			"delete": func(t *rapid.T) {
				n := at.Draw(t, "n")
				store.Delete(keyN(n))
				part(n)
				delete(model, n)
			},
			"scan": func(t *rapid.T) {
				every := rapid.Uint32Range(2, 5).Draw(t, "every")
				store.Scan(0, 1<<20, func(e Entry) bool {
					n := e.Gen()
					switch {
					case n%every == 0:
						part(n)
						delete(model, n)
						return false
					case n%every == 1:
						store.Part(e.Key().Unpack())
						part(n)
					}
					return true
				})
			},
			"": func(t *rapid.T) {
				if store.Len() != len(model) || store.JoinedLen() != len(by) {
					t.Fatalf("%d entries, %d joined, want %d, %d", store.Len(), store.JoinedLen(), len(model), len(by))
				}
				for n, e := range model {
					if got, ok := store.Get(keyN(n)); !ok || got.Joined() != e.joined {
						t.Fatalf("entry %d joined: %v", n, !e.joined)
					}
				}
				check := func(m uint16) {
					n, want := by[second(m)]
					got, ok := store.ByOther(second(m))
					if ok != want || ok && got.Backup() != model[n].b {
						t.Fatalf("by other key %d: %+v, %v, want entry %d, %v", m, backupOf(got, ok), ok, n, want)
					}
				}
				check(asked) // first: the store remembers its newest search
				for m := range uint16(151) {
					check(m)
					if _, ok := store.ByOther(second(m).Reverse()); ok {
						t.Fatalf("found by the reverse of other key %d", m)
					}
				}
				var joined []uint16
				for m := range uint16(151) {
					if _, ok := by[second(m)]; ok {
						joined = append(joined, m)
					}
				}
				if asked = 0; len(joined) > 0 {
					asked = rapid.SampledFrom(joined).Draw(t, "asked")
				}
				check(asked)
			},
		})
	})
}

// What a translated connection takes at the node that keeps both its copy and its second
// key, in bytes of a full store.
func TestDESIGN8_BytesOfACopyThatIsAlsoAStub(t *testing.T) {
	const n = 1 << 18
	store := func(join bool) int {
		s := NewBackupStore(testSeed, n)
		for i := range uint32(n) {
			second := keyN(i).Reverse()
			second.Dst = packet.Addr{203, 0, byte(i >> 24), byte(i >> 16)}
			second.DstPort = uint16(i)
			if err := s.PutPair(benchBackup(i), second); err != nil {
				t.Fatal(err)
			}
			if join && !s.Join(keyN(i)) {
				t.Fatal("not joined")
			}
		}
		return s.Bytes()
	}
	one, both := store(false), store(true)
	t.Logf("%.1f bytes with one key, %.1f with both", float64(one)/n, float64(both)/n)
	if one > 32*n || both > 38*n {
		t.Errorf("want 32 and 38 at most")
	}
}

// A store remembers its newest search by another key, and forgets it when the entry may
// have moved: as others come, for whom a shard grows, and go, behind whom gaps close.
func TestNT4_TheNewestSearchByAnotherKeyIsForgottenWhenEntriesMove(t *testing.T) {
	const n = 40
	other := func(i uint32) packet.FlowKey {
		return packet.FlowKey{Src: packet.Addr{192, 0, 2, 1}, Dst: packet.Addr{203, 0, 113, 1}, SrcPort: 443, DstPort: uint16(1000 + i), Proto: packet.ProtoTCP}
	}
	ask := func(s *BackupStore, i uint32, when string) {
		t.Helper()
		if e, ok := s.ByOther(other(i)); !ok || e.Backup() != backupN(i) || !same(s, e) {
			t.Fatalf("%s: entry %d by its other key: %+v, %v", when, i, backupOf(e, ok), ok)
		}
	}
	for asked := range uint32(n) {
		for gone := range uint32(n) {
			s := NewBackupStore(testSeed, 1000)
			for i := range uint32(n) {
				if err := s.PutPair(backupN(i), other(i)); err != nil {
					t.Fatal(err)
				}
				if i != gone && !s.Join(keyN(i)) {
					t.Fatal("not joined")
				}
				if i >= asked && asked != gone && gone != 0 {
					ask(s, asked, "it is there")
				}
			}
			if asked == gone {
				continue
			}
			ask(s, asked, "all are there")
			s.Delete(keyN(gone))
			ask(s, asked, "one has gone")
			for i := range uint32(n) {
				_ = s.Put(backupN(n + i)) // the shard grows
				ask(s, asked, "one has come")
			}
		}
	}
}

// same reports whether an entry is what its own key leads to.
func same(s *BackupStore, e Entry) bool {
	by, ok := s.Get(e.Key().Unpack())
	return ok && by == e
}

// A place of the index for which no entry is joined cannot be moved when its shard grows:
// that is said, instead of putting it where nobody looks for it.
func TestPairIndex_APlaceWithoutAnEntryIsNotMoved(t *testing.T) {
	s := NewBackupStore(testSeed, 1000)
	for i := range uint32(40) {
		if err := s.PutPair(backupN(i), secondN(i)); err != nil || !s.Join(keyN(i)) {
			t.Fatal(err, "or not joined")
		}
	}
	grow := func(in *pairShard) (said any) {
		defer func() { said = recover() }()
		if !s.growPairs(in, larger(len(in.tags))) {
			t.Fatal("not grown")
		}
		return nil
	}
	for i := range s.pairs.shards {
		if said := grow(&s.pairs.shards[i]); said != nil {
			t.Fatalf("each has its entry: %v", said)
		}
	}
	l := s.look(keyN(7))
	p := &l.shard.places[l.i]
	in, _ := s.pairs.of(s.otherLocatorOf(l.shard, p))
	p.gen &^= joinedBit
	said := fmt.Sprint(grow(in))
	if !strings.HasPrefix(said, "flowtable: place ") || !strings.HasSuffix(said, "of a pair index is number 1 of 0 joined entries") {
		t.Errorf("an entry that the index has is not joined: %s", said)
	}
}
