package flowtable

import "fmt"

// pairs is the index of a store's joined entries, by the locator of their other key, in
// shards that grow one at a time like those of the store.
type pairs struct {
	shards []pairShard
	places int
}

type pairShard struct {
	tags tags
	refs []locator // of the entries, by their own keys; beside the tags
	n    int
}

// of returns the shard of an other key, and what its first bucket follows from.
func (p *pairs) of(other locator) (in *pairShard, within uint32) {
	index, within := other.in(len(p.shards))
	return &p.shards[index], within
}

// add is false when there is no room.
func (p *pairs) add(s *BackupStore, other, entry locator) bool {
	in, within := p.of(other)
	if roomy(in.n, len(in.tags)) {
		if s.putPair(in, within, other.tag(), entry) {
			in.n++
			return true
		}
	}
	for buckets := larger(len(in.tags)); buckets <= mostBuckets(in.n); buckets = larger(buckets) {
		if s.growPairs(in, buckets) && s.putPair(in, within, other.tag(), entry) {
			in.n++
			return true
		}
	}
	return false
}

func (s *BackupStore) putPair(in *pairShard, within uint32, tag uint8, entry locator) bool {
	i, moves, ok := s.rooms.find(in.tags, in.tags.first(within), tag)
	for _, m := range moves {
		in.refs[m.to] = in.refs[m.from]
		in.tags.carry(m)
	}
	if ok {
		in.tags.set(i, tag)
		in.refs[i] = entry
	}
	return ok
}

// growPairs does with a shard of the index what grow does with one of the store. The
// index has not the other keys: those of the entries say where their locators go.
func (s *BackupStore) growPairs(in *pairShard, buckets int) bool {
	s.expectPairs(in)
	larger := pairShard{tags: make(tags, buckets), refs: make([]locator, buckets*bucketPlaces)}
	for b := range uint32(len(in.tags)) {
		for used := ^matches(in.tags[b], 0) & highBits; used != 0; used &= used - 1 {
			if !s.movePair(in, &larger, b*bucketPlaces+next(used)) {
				return false
			}
		}
	}
	s.pairs.places += len(larger.refs) - len(in.refs)
	in.tags, in.refs = larger.tags, larger.refs
	return true
}

// movePair puts what the index has at place i into a larger shard. Several entries may
// have one locator, and their other keys one tag and the same buckets. Then the index has
// it as often, and each stands for another one of them. A place for which there is no
// entry has no way into the larger shard: whoever changed the entries forgot the index.
func (s *BackupStore) movePair(in, larger *pairShard, i uint32) (ok bool) {
	b, tag, entry := i/bucketPlaces, in.tags.at(i), in.refs[i]
	var of [2 * bucketPlaces]uint32
	n := 0
	h, sh := s.seek(entry)
	for at, more := h.next(); more; at, more = h.next() {
		p := &sh.places[at]
		if p.gen&joinedBit == 0 || s.locatorOf(sh, p) != entry {
			continue
		}
		other := s.otherLocatorOf(sh, p)
		if to, within := s.pairs.of(other); to == in && other.tag() == tag {
			if first := in.tags.first(within); first == b || in.tags.other(first, tag) == b {
				of[n] = within
				n++
			}
		}
	}
	which := 0
	if n > 1 {
		which = in.before(i)
	}
	if which >= n {
		panic(fmt.Sprintf("flowtable: place %d of a pair index is number %d of %d joined entries", i, which+1, n))
	}
	return s.putPair(larger, of[which], tag, entry)
}

// before counts the places before i, in its buckets, that say the same.
func (in *pairShard) before(i uint32) (n int) {
	h := hits{tags: in.tags, b: i / bucketPlaces, tag: in.tags.at(i)}
	h.m, h.second = matches(in.tags[h.b], h.tag), in.tags.other(h.b, h.tag)
	for at, ok := h.next(); ok; at, ok = h.next() {
		if at < i && in.refs[at] == in.refs[i] {
			n++
		}
	}
	return n
}

// remove removes one of the places that lead from an other key to an entry: they are
// all the same.
func (p *pairs) remove(other, entry locator) {
	in, within := p.of(other)
	h := in.tags.seek(within, other.tag())
	for i, ok := h.next(); ok; i, ok = h.next() {
		if in.refs[i] == entry {
			in.tags.set(i, 0)
			in.n--
			return
		}
	}
}
