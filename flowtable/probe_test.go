package flowtable

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"testing"

	"cohort/packet"
)

// TestBackupStoreSpreadsRegularKeys: connections come from hosts and ports that
// follow each other, to a few servers, and their second keys are all of a few
// addresses. Under any seed their places must be about as good as random ones: the
// shards are filled as far, and a search that finds nothing meets another key's entry
// as seldom, in theory once for each 255 that are in its two buckets.
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
		worst, most := 0.0, 0.0
		for range 8 {
			var seed [10]uint64
			for i := range seed {
				seed[i] = rnd.Uint64()
			}
			s := NewBackupStore(seed, entries)
			for i := range uint32(entries) {
				if err := s.Put(Backup{Key: Pack(key(i)), Owner: 1}); err != nil {
					t.Fatal(err)
				}
			}
			met, want := 0.0, 0.0
			for i := range uint32(entries) {
				k := key(entries + i)
				tuple := tupleOf(&k)
				l := locateEither(&s.seed, &tuple, k.Proto, k.Zone)
				index, within := l.in(len(s.shards))
				in := s.shards[index].tags
				for _, b := range [2]uint32{in.first(within), in.other(in.first(within), l.tag())} {
					met += float64(bits.OnesCount64(matches(in[b], l.tag())))
					want += float64(bits.OnesCount64(^matches(in[b], 0)&highBits)) / 255
				}
			}
			worst, most = max(worst, met/want), max(most, float64(s.Bytes())/entries)
		}
		t.Logf("%s: %.2f times the entries of theory are met, %.1f bytes an entry, under the worst of 8 seeds", name, worst, most)
		if worst > 1.5 || most > 33 {
			t.Errorf("%s: %.2f times as many entries are met as by random keys, %.1f bytes an entry", name, worst, most)
		}
	}
}
