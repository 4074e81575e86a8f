package flowtable

import "math/bits"

// What the places of a BackupStore, and its index of second keys, have in common: buckets
// of eight places, of which each key has the choice of two, and a byte a place that tells
// most keys apart. The tags of a bucket are one word, and the tags of all buckets lie
// beside each other: they are about thirty times as dense as what they stand for, so that a
// search that finds nothing, as most do, ends in the cache, however large the store is.

const bucketPlaces = 8

// locator is all that the place of a key follows from: 24 bits that choose the shard and
// the first bucket in it, and the tag, 1 to 255, which leads from either bucket to the
// other. It stays the same while the entry moves and its shard grows.
type locator uint32

const homeBits = 24

func (l locator) tag() uint8 { return uint8(l) }

// in returns the shard of n, and what the bucket in it follows from.
func (l locator) in(n int) (shard, within uint32) {
	at := uint64(l>>8) * uint64(n)
	return uint32(at >> homeBits), uint32(at) & (1<<homeBits - 1)
}

// tags are those of a shard's buckets; 0 = the place is free.
type tags []uint64

const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

// matches has the highest bit of every byte that equals tag.
func matches(word uint64, tag uint8) uint64 {
	x := word ^ uint64(tag)*lowBits
	return ^(x&^highBits + ^uint64(highBits) | x | ^uint64(highBits))
}

// next returns the number of the lowest byte in what matches returned.
func next(m uint64) uint32 { return uint32(bits.TrailingZeros64(m)) / 8 }

// first returns the bucket where what a locator has within a shard begins.
func (t tags) first(within uint32) uint32 {
	return uint32(uint64(within) * uint64(len(t)) >> homeBits)
}

// other returns the second choice of what has this tag in bucket b. It is its own
// inverse, so what is displaced need not be looked at. Now and then it is b itself.
func (t tags) other(b uint32, tag uint8) uint32 {
	n := uint32(len(t))
	sum := uint32(uint64(uint32(tag)*tagMix) * uint64(n) >> 32)
	if sum < b {
		sum += n
	}
	return sum - b
}

// hits are the places of what may be looked for: those with its tag in its two buckets.
type hits struct {
	tags      tags
	m         uint64 // of bucket b, those that are left
	b, second uint32
	tag       uint8
}

// seek begins a search. There must be buckets.
func (t tags) seek(within uint32, tag uint8) hits {
	b := t.first(within)
	return hits{tags: t, m: matches(t[b], tag), b: b, second: t.other(b, tag), tag: tag}
}

func (h *hits) next() (place uint32, ok bool) {
	for h.m == 0 {
		if h.b == h.second {
			return 0, false
		}
		h.b = h.second
		h.m = matches(h.tags[h.b], h.tag)
	}
	place = h.b*bucketPlaces + next(h.m)
	h.m &= h.m - 1
	return place, true
}

func (t tags) at(place uint32) uint8 {
	return uint8(t[place/bucketPlaces] >> (place % bucketPlaces * 8))
}

func (t tags) set(place uint32, tag uint8) {
	shift := place % bucketPlaces * 8
	t[place/bucketPlaces] = t[place/bucketPlaces]&^(0xff<<shift) | uint64(tag)<<shift
}

// move is a displacement. The caller moves what the tags stand for.
type move struct{ from, to uint32 }

// rooms searches for free places. It is memory that is used again.
type rooms struct {
	nodes [maxRooms]searchNode
	moves [maxRooms]move
}

// maxRooms bounds the buckets that one search looks at: 2 + 16 + 128 and a few more,
// which finds a place up to a load of 0.98.
const maxRooms = 192

// find returns a free place for what has this tag and begins in bucket b1, and in which
// order what must be moved for that, tags too; false when there is none nearby. The
// shortest chain never passes a bucket twice: the first visit would have found the same
// free place.
func (r *rooms) find(t tags, b1 uint32, tag uint8) (place uint32, moves []move, ok bool) {
	b2 := t.other(b1, tag)
	for _, b := range [2]uint32{b1, b2} {
		if m := matches(t[b], 0); m != 0 {
			return b*bucketPlaces + next(m), nil, true
		}
	}
	r.nodes[0], r.nodes[1] = searchNode{bucket: b1, parent: -1}, searchNode{bucket: b2, parent: -1}
	for n, end := 0, 2; n < end; n++ {
		from := r.nodes[n].bucket
		for j := range uint32(bucketPlaces) {
			to := t.other(from, t.at(from*bucketPlaces+j))
			if m := matches(t[to], 0); m != 0 {
				place, moves = r.chain(n, from*bucketPlaces+j, to*bucketPlaces+next(m))
				return place, moves, true
			}
			if end < maxRooms {
				r.nodes[end] = searchNode{bucket: to, parent: int16(n), entry: int8(j)}
				end++
			}
		}
	}
	return 0, nil, false
}

// chain is the way from the place from, of node n, to a free one, and back to where the
// search began.
func (r *rooms) chain(n int, from, to uint32) (free uint32, moves []move) {
	for i := 0; ; i++ {
		r.moves[i] = move{from, to}
		node := &r.nodes[n]
		if node.parent < 0 {
			return from, r.moves[:i+1]
		}
		n = int(node.parent)
		from, to = r.nodes[n].bucket*bucketPlaces+uint32(node.entry), from
	}
}

// carry moves tags.
func (t tags) carry(m move) {
	t.set(m.to, t.at(m.from))
	t.set(m.from, 0)
}

// Numbers of buckets in a shard, of 28 bytes a place, that fill pages or size classes of
// the allocator. Larger ones are a page larger each.
var shardSteps = [...]int{1, 2, 4, 9, 18, 36, 64, shardBuckets / 2, shardBuckets}

const (
	shardBuckets = 256 // of a shard at full capacity
	pageBuckets  = 36
	maxBuckets   = 1 << 13
	maxShards    = 1 << 13

	// At full capacity a shard has so many entries on average, of 2,048 places, and
	// seldom too many: they grow one at a time, so that the longest pause of a Put
	// is the copy of one shard and not of the whole store.
	shardEntries = 1905
)

// mostBuckets is how many a shard of n may grow to. If one more finds no room with so
// many, too many keys have the same two, which no other number would mend.
func mostBuckets(n int) int { return min(2*(n+bucketPlaces), maxBuckets) }

// roomy reports whether a shard with so many buckets takes one more than n. One that is
// on its way to more does not become so full that the search for a place takes long; one
// of a store that is at its capacity, or half of it, has to.
func roomy(n, buckets int) bool {
	places := buckets * bucketPlaces
	if buckets < shardBuckets/2 && buckets > 1 {
		return 8*(n+1) <= 7*places
	}
	return 32*(n+1) <= 31*places+31
}

// larger is the next number of buckets.
func larger(buckets int) int {
	for _, step := range shardSteps {
		if step > buckets {
			return step
		}
	}
	return buckets + pageBuckets
}
