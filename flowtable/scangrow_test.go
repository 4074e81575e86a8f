package flowtable

import (
	"math/rand/v2"
	"testing"
)

// A round of Scan visits just once what is there all the time, whatever comes and goes
// between its calls, is displaced by that, and grows; and deletes what it is told to.
func TestBackupScanVisitsOnceWhatStays(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 60 {
		var seed [10]uint64
		for i := range seed {
			seed[i] = rng.Uint64() | 1
		}
		const stay = 2000
		s := NewBackupStore(seed, 8000)
		for n := range uint32(stay) {
			if err := s.Put(backupN(n)); err != nil {
				t.Fatal(err)
			}
		}
		moved, grown := map[uint32]Entry{}, s.places
		for n := range uint32(stay) {
			moved[n], _ = s.Get(keyN(n))
		}
		seen := map[PackedKey]int{}
		coming, calls := uint32(stay), 0
		for at := uint32(0); ; calls++ {
			at = s.Scan(at, 1+rng.IntN(100), func(e Entry) bool {
				seen[e.Key()]++
				return e.Gen() < stay || e.Gen()%3 != 0
			})
			if at == 0 {
				break
			}
			for range rng.IntN(200) {
				if n := coming; coming < 7900 {
					if err := s.Put(backupN(n)); err != nil {
						t.Fatal(err)
					}
					coming++
				}
				s.Delete(keyN(stay + rng.Uint32N(coming-stay+1)))
			}
		}
		elsewhere := 0
		for n := range uint32(stay) {
			if got := seen[Pack(keyN(n))]; got != 1 {
				t.Fatalf("round %d: entry %d of %d was visited %d times in %d calls", round, n, stay, got, calls)
			}
			if e, ok := s.Get(keyN(n)); ok && e != moved[n] {
				elsewhere++
			}
		}
		if elsewhere == 0 || s.places == grown || calls < 10 {
			t.Fatalf("%d entries were moved, %d places of %d came, %d calls", elsewhere, s.places-grown, grown, calls)
		}
		for k, n := range seen {
			if n > 1 {
				t.Fatalf("round %d: %v was visited %d times", round, k, n)
			}
		}
	}
}

// A visit may end what is visited later.
func TestBackupScanVisitsNothingThatHasEnded(t *testing.T) {
	const n = 5000
	s := NewBackupStore(testSeed, n)
	for i := range uint32(n) {
		if err := s.Put(backupN(i)); err != nil {
			t.Fatal(err)
		}
	}
	gone, visited := map[uint32]bool{}, 0
	s.Scan(0, 1<<20, func(e Entry) bool {
		if gone[e.Gen()] {
			t.Fatalf("entry %d has ended", e.Gen())
		}
		visited++
		for _, other := range []uint32{e.Gen() ^ 1, (e.Gen() + 777) % n} {
			if other != e.Gen() && other < n && s.Delete(keyN(other)) {
				gone[other] = true
			}
		}
		return true
	})
	if visited+len(gone) < n || s.Len() != n-len(gone) {
		t.Fatalf("%d visited, %d ended, %d left of %d", visited, len(gone), s.Len(), n)
	}
}
