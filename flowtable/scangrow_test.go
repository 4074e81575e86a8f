package flowtable

import (
	"math/rand/v2"
	"testing"

	"cohort/packet"
)

// A shard that grows between two calls of Scan hides no entry from the rest of the
// round, also not one whose search goes on at the shard's beginning.
func TestBackupScanMissesNothingThatGrowthMoves(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	key := func() packet.FlowKey {
		return packet.FlowKey{Src: packet.Addr{10, byte(rng.Uint32()), byte(rng.Uint32()), 1}, Dst: packet.Addr{192, 0, 2, 1}, SrcPort: uint16(rng.Uint32()), DstPort: 80, Proto: packet.ProtoTCP}
	}
	for round := range 20000 {
		var seed [10]uint64
		for i := range seed {
			seed[i] = rng.Uint64() | 1
		}
		s := NewBackupStore(seed, 800)
		for s.n < 7 {
			if err := s.Put(Backup{Key: Pack(key())}); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[PackedKey]bool{}
		visit := func(b *Backup) bool { seen[b.Key] = true; return true }
		at := s.Scan(0, 1+rng.IntN(4), visit)
		if at == 0 {
			continue
		}
		want := []PackedKey{}
		for _, b := range s.shards[0].places {
			if !b.free() {
				want = append(want, b.Key)
			}
		}
		if err := s.Put(Backup{Key: Pack(key())}); err != nil || len(s.shards[0].places) != 16 {
			t.Fatal(err, "it has not grown")
		}
		for at != 0 {
			at = s.Scan(at, 3, visit)
		}
		for _, k := range want {
			if !seen[k] {
				t.Fatalf("round %d: %v is missed", round, k)
			}
		}
	}
}
