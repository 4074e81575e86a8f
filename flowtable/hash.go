package flowtable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"cohort/packet"
)

// ErrSeed reports a hash seed that would map all keys to one bucket.
var ErrSeed = errors.New("flowtable: hash seed has a zero multiplier")

// tagMix spreads the tag over the bucket number (TAG_MIX in bpf/layout.h).
const tagMix = 0x9e3779b1

// NewSeed draws a hash seed from r, which must be unpredictable
// (crypto/rand.Reader in a node): who knows the seed can fill a bucket.
func NewSeed(r io.Reader) ([10]uint64, error) {
	var raw [80]byte
	if _, err := io.ReadFull(r, raw[:]); err != nil {
		return [10]uint64{}, fmt.Errorf("flowtable: hash seed: %w", err)
	}
	var seed [10]uint64
	for i := range seed {
		seed[i] = binary.LittleEndian.Uint64(raw[8*i:])
	}
	return seed, checkSeed(seed)
}

func checkSeed(seed [10]uint64) error {
	for i, s := range seed {
		if s == 0 && i != 0 && i != 5 {
			return ErrSeed
		}
	}
	return nil
}

// Hash returns the two hashes of a key: h1 chooses the first bucket, the tag
// the distance to the second one; the tag is also what an index entry stores
// to reject other keys without touching their slots, and is never 0.
//
// It is the keyed multilinear hash (Lemire and Kaser, "Strongly universal
// string hashing is fast"): four multiplications a hash, and no way to find
// colliding keys without the seed. XDP computes the same from
// control.hash_seed.
func (t *Table) Hash(k packet.FlowKey) (h1, tag uint32) { return hashKey(&t.seed, &k) }

func hashKey(s *[10]uint64, k *packet.FlowKey) (h1, tag uint32) {
	w0 := uint64(binary.LittleEndian.Uint32(k.Src[:]))
	w1 := uint64(binary.LittleEndian.Uint32(k.Dst[:]))
	w2 := uint64(k.SrcPort) | uint64(k.DstPort)<<16
	w3 := uint64(k.Proto) | uint64(k.Zone)<<8
	h1 = uint32((s[0] + s[1]*w0 + s[2]*w1 + s[3]*w2 + s[4]*w3) >> 32)
	tag = uint32((s[5] + s[6]*w0 + s[7]*w1 + s[8]*w2 + s[9]*w3) >> 32)
	if tag == 0 {
		tag = 1
	}
	return h1, tag
}

// locate is the hash of a BackupStore, which XDP need not compute, of a key in its
// direction: one multilinear sum, all bits of which are mixed then (the finalizer of
// MurmurHash3). The connections of a cluster follow each other in addresses and ports, and
// the shards and buckets of what is to be nearly full must differ by chance only.
func locate(s *[10]uint64, k *tuple, proto, zone uint8) locator {
	return mix(s, binary.BigEndian.Uint32(k.src[:]), binary.BigEndian.Uint32(k.dst[:]), k.srcPort, k.dstPort, proto, zone)
}

// locateEither is the same for both directions of a key: that of the canonical one
// (packet.FlowKey.Canonical).
func locateEither(s *[10]uint64, k *tuple, proto, zone uint8) locator {
	src, dst, srcPort, dstPort := binary.BigEndian.Uint32(k.src[:]), binary.BigEndian.Uint32(k.dst[:]), k.srcPort, k.dstPort
	if src > dst || src == dst && srcPort > dstPort {
		src, dst, srcPort, dstPort = dst, src, dstPort, srcPort
	}
	return mix(s, src, dst, srcPort, dstPort, proto, zone)
}

func mix(s *[10]uint64, src, dst uint32, srcPort, dstPort uint16, proto, zone uint8) locator {
	h := s[0] + s[1]*uint64(src) + s[2]*uint64(dst) + s[3]*(uint64(srcPort)|uint64(dstPort)<<16) + s[4]*(uint64(proto)|uint64(zone)<<8)
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return locator(h>>32)&^0xff | locator(max(uint8(h>>24), 1))
}

// otherBucket returns the second choice of an entry in bucket b. It is its own
// inverse, so an entry can be displaced without looking at its key.
func otherBucket(b, tag, mask uint32) uint32 { return b ^ (tag*tagMix|1)&mask }
