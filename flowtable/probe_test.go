package flowtable

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"cohort/packet"
)

// TestBackupStoreSpreadsRegularKeys: connections come from hosts and ports that
// follow each other, to a few servers, and their second keys are all of a few
// addresses. Under any seed their places must be about as good as random ones: a
// search that finds nothing passes (1 + 1/(1-load)^2)/2 places in theory.
func TestBackupStoreSpreadsRegularKeys(t *testing.T) {
	const entries = 24_000
	rnd := rand.New(rand.NewPCG(5, 6))
	keys := map[string]func(i uint32) packet.FlowKey{
		"first keys": func(i uint32) packet.FlowKey {
			k := packet.FlowKey{Dst: packet.Addr{192, 0, 2, byte(i >> 12)}, SrcPort: 0x4000 | uint16(i&0x3fff), DstPort: 443, Proto: packet.ProtoTCP}
			binary.BigEndian.PutUint32(k.Src[:], 0x0a800000|i&0xfff)
			return k
		},
		"second keys": func(i uint32) packet.FlowKey {
			return packet.FlowKey{Src: packet.Addr{192, 0, 2, byte(i >> 12)}, Dst: packet.Addr{203, 0, 113, byte(16 + i&15)}, SrcPort: 443, DstPort: uint16(0x4000 + i&0x3fff), Proto: packet.ProtoTCP}
		},
	}
	for name, key := range keys {
		worst := 0.0
		for range 8 {
			var seed [10]uint64
			for i := range seed {
				seed[i] = rnd.Uint64()
			}
			s := NewBackupStore(seed, 200_000)
			for i := range uint32(entries) {
				if err := s.Put(Backup{Key: Pack(key(i)), Owner: 1}); err != nil {
					t.Fatal(err)
				}
			}
			passed, want := 0.0, 0.0
			for i := range uint32(entries) {
				k := key(entries + i)
				sh, at := s.locate(k)
				if len(sh.places) == 0 {
					continue // nothing went there, and nothing is passed
				}
				load := float64(sh.n) / float64(len(sh.places))
				want += (1 + 1/((1-load)*(1-load))) / 2
				for mask := uint32(len(sh.places) - 1); sh.tags[at&mask] != 0; at++ {
					passed++
				}
				passed++
			}
			worst = max(worst, passed/want)
		}
		t.Logf("%s: %.2f times the places of theory, under the worst of 8 seeds", name, worst)
		if worst > 2 {
			t.Errorf("%s: %.2f times as many places as random keys", name, worst)
		}
	}
}
