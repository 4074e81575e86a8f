package flowtable

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

// of returns the shard and the first bucket of an other key; false: without memory.
func (p *pairs) of(other locator) (in *pairShard, within uint32) {
	index, within := other.in(len(p.shards))
	return &p.shards[index], within
}

// each visits the entries that an other key may lead to.
func (p *pairs) each(other locator, visit func(entry locator) bool) {
	in, within := p.of(other)
	if len(in.tags) == 0 {
		return
	}
	tag, first := other.tag(), in.tags.first(within)
	for b, second := first, in.tags.other(first, tag); ; b = second {
		for m := matches(in.tags[b], tag); m != 0; m &= m - 1 {
			if !visit(in.refs[b*bucketPlaces+next(m)]) {
				return
			}
		}
		if b == second {
			return
		}
	}
}

// add is false when there is no room.
func (p *pairs) add(s *BackupStore, other, entry locator) bool {
	in, within := p.of(other)
	if places := len(in.refs); 32*(in.n+1) <= 31*places+31 {
		if s.putPair(in, within, other.tag(), entry) {
			in.n++
			return true
		}
		if 8*in.n < places {
			return false // as in BackupStore.roomFor
		}
	}
	for buckets := larger(len(in.tags)); buckets <= maxBuckets; buckets = larger(buckets) {
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
// it as often, and each stands for another one of them.
func (s *BackupStore) movePair(in, larger *pairShard, i uint32) (ok bool) {
	b, tag, entry := i/bucketPlaces, in.tags.at(i), in.refs[i]
	var of [2 * bucketPlaces]uint32
	n := 0
	s.eachJoined(entry, func(sh *shard, p *place) bool {
		c := s.classOf(sh, p)
		key, other := p.key.key(c.proto, c.zone), s.otherOf(sh, p).key(c.proto, c.zone)
		o := s.locateOther(&other)
		if o.tag() != tag || s.locate(&key) != entry {
			return true
		}
		if to, within := s.pairs.of(o); to == in {
			if first := in.tags.first(within); first == b || in.tags.other(first, tag) == b {
				of[n] = within
				n++
			}
		}
		return true
	})
	which := 0
	if n > 1 {
		which = in.before(i)
	}
	return s.putPair(larger, of[which], tag, entry)
}

// before counts the places before i, in its buckets, that say the same.
func (in *pairShard) before(i uint32) (n int) {
	b, tag := i/bucketPlaces, in.tags.at(i)
	for second := in.tags.other(b, tag); ; b = second {
		for m := matches(in.tags[b], tag); m != 0; m &= m - 1 {
			if at := b*bucketPlaces + next(m); at < i && in.refs[at] == in.refs[i] {
				n++
			}
		}
		if b == second {
			return n
		}
	}
}

// remove removes one of the places that lead from an other key to an entry: they are
// all the same.
func (p *pairs) remove(other, entry locator) {
	in, within := p.of(other)
	tag, first := other.tag(), in.tags.first(within)
	for _, b := range [2]uint32{first, in.tags.other(first, tag)} {
		for m := matches(in.tags[b], tag); m != 0; m &= m - 1 {
			if i := b*bucketPlaces + next(m); in.refs[i] == entry {
				in.tags.set(i, 0)
				in.n--
				return
			}
		}
	}
}
