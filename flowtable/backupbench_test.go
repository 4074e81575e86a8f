package flowtable

import (
	"fmt"
	"testing"

	"cohort/packet"
)

var storeSizes = []int{1 << 10, 1 << 16, 1 << 20}

// secondN is the other key of keyN(n): its source is translated.
func secondN(n uint32) packet.FlowKey {
	k := keyN(n).Reverse()
	k.Dst = packet.Addr{203, 0, byte(n >> 24), byte(n >> 16)}
	k.DstPort = uint16(n)
	return k
}

// spreadOver is a permutation of 0..n-1, a power of two, that no cache line follows.
func spreadOver(i, n int) uint32 { return uint32(i*2654435761) & uint32(n-1) }

// fullStore has room for n entries, and has them.
func fullStore(b *testing.B, n int) *BackupStore {
	b.Helper()
	s := NewBackupStore(testSeed, n)
	for i := range uint32(n) {
		if err := s.Put(benchBackup(i)); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func joinedStore(b *testing.B, n int) *BackupStore {
	b.Helper()
	s := NewBackupStore(testSeed, n+n/8)
	for i := range uint32(n) {
		if err := s.PutPair(benchBackup(i), secondN(i)); err != nil || !s.Join(keyN(i)) {
			b.Fatal(err, "or not joined")
		}
	}
	return s
}

// benchStore measures what do does, its i-th time, with a store that fill has made for n
// entries, for each size.
func benchStore(b *testing.B, fill func(b *testing.B, n int) *BackupStore, do func(b *testing.B, s *BackupStore, i, n int)) {
	for _, n := range storeSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := fill(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				do(b, s, i, n)
			}
		})
	}
}

// What a director does when a translated connection ends, and when the next one begins: it
// finds, parts and deletes; asks what both keys lead to, stores and joins.
func BenchmarkBackupCloseAndClaim(b *testing.B) {
	benchStore(b, joinedStore, func(b *testing.B, s *BackupStore, i, n int) {
		at := spreadOver(i, n)
		k := keyN(at + uint32(i/n&1*n))
		if _, ok := s.Get(k); !ok {
			b.Fatal("lost")
		}
		s.Part(k)
		s.Delete(k)
		at += uint32((i/n + 1) & 1 * n)
		k, second := keyN(at), secondN(at)
		s.Get(k)
		s.ByOther(second)
		if err := s.PutPair(benchBackup(at), second); err != nil || !s.Join(k) {
			b.Fatal(err, "or not joined")
		}
	})
}

// Entries that come and go in a store that is nearly full.
func BenchmarkBackupPutDelete(b *testing.B) {
	benchStore(b, fullStore, func(b *testing.B, s *BackupStore, i, n int) {
		k := spreadOver(i, n)
		if !s.Delete(keyN(k + uint32(i/n&1*n))) {
			b.Fatal("lost")
		}
		if err := s.Put(benchBackup(k + uint32((i/n+1)&1*n))); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkBackupByOther(b *testing.B) {
	benchStore(b, joinedStore, func(b *testing.B, s *BackupStore, i, n int) {
		if _, ok := s.ByOther(secondN(spreadOver(i, n))); !ok {
			b.Fatal("lost")
		}
	})
}

// What is told of before, sixteen at a time.
func BenchmarkBackupExpectGet(b *testing.B) {
	benchStore(b, joinedStore, func(b *testing.B, s *BackupStore, i, n int) {
		if i%16 == 0 {
			for j := i; j < i+16; j++ {
				s.Expect(keyN(spreadOver(j, n)))
			}
		}
		if _, ok := s.Get(keyN(spreadOver(i, n))); !ok {
			b.Fatal("lost")
		}
	})
}

func BenchmarkBackupJoinAndPart(b *testing.B) {
	benchStore(b, joinedStore, func(b *testing.B, s *BackupStore, i, n int) {
		k := keyN(spreadOver(i, n))
		s.Part(k)
		if !s.Join(k) {
			b.Fatal("not joined")
		}
	})
}
