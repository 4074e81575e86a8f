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

// What a director does when a translated connection ends, and when the next one begins: it
// finds, parts and deletes; asks what both keys lead to, stores and joins.
func BenchmarkBackupCloseAndClaim(b *testing.B) {
	for _, n := range storeSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := joinedStore(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
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
			}
		})
	}
}

// Entries that come and go in a store that is nearly full.
func BenchmarkBackupPutDelete(b *testing.B) {
	for _, n := range storeSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := NewBackupStore(testSeed, n)
			for i := range uint32(n) {
				if err := s.Put(benchBackup(i)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				k := spreadOver(i, n)
				if !s.Delete(keyN(k + uint32(i/n&1*n))) {
					b.Fatal("lost")
				}
				if err := s.Put(benchBackup(k + uint32((i/n+1)&1*n))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBackupByOther(b *testing.B) {
	for _, n := range storeSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := joinedStore(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if _, ok := s.ByOther(secondN(spreadOver(i, n))); !ok {
					b.Fatal("lost")
				}
			}
		})
	}
}

// The same for what is told of before, sixteen at a time.
func BenchmarkBackupExpectGet(b *testing.B) {
	for _, n := range storeSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := joinedStore(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if i%16 == 0 {
					for j := i; j < i+16; j++ {
						s.Expect(keyN(spreadOver(j, n)))
					}
				}
				if _, ok := s.Get(keyN(spreadOver(i, n))); !ok {
					b.Fatal("lost")
				}
			}
		})
	}
}

func BenchmarkBackupJoinAndPart(b *testing.B) {
	for _, n := range storeSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := joinedStore(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				k := keyN(spreadOver(i, n))
				s.Part(k)
				if !s.Join(k) {
					b.Fatal("not joined")
				}
			}
		})
	}
}
