package flowtable

import (
	"unsafe"

	"cohort/packet"
)

// A table or a store that is larger than the caches answers a question with one cache
// miss or more, one after the other. A caller that has a batch of packets or messages
// says of each what it will ask, before it asks about the first: then they pass
// together. Nothing here waits for memory that it was not told of before, and wrong
// expectations only cost time.

// ExpectKey is Expect of a key.
func (t *Table) ExpectKey(k packet.FlowKey) { t.Expect(t.Hash(k)) }

// ExpectSlot is Expect of a flow slot.
func (t *Table) ExpectSlot(slot uint32) {
	if f := t.Flow(slot); f != nil {
		touch(unsafe.Pointer(f))
		touch(unsafe.Add(unsafe.Pointer(f), 64))
	}
}

// ExpectFlow begins to load the slot that the index has for the key with these hashes,
// if it is a flow. Call it after Expect, which has begun to load the index.
func (t *Table) ExpectFlow(h1, tag uint32) {
	b := h1 & t.mask
	for _, bucket := range [2]uint32{b, otherBucket(b, tag, t.mask)} {
		for _, e := range &t.mem.Index[bucket] {
			if entryTag(e) != tag || e == 0 || entryRef(e).IsForward() {
				continue
			}
			if f := t.Flow(entryRef(e).Slot()); f != nil {
				touch(unsafe.Pointer(f))
				touch(unsafe.Add(unsafe.Pointer(f), unsafe.Sizeof(*f)/2))
			}
			return
		}
	}
}

// expected are searches that a store has been told of and that have not begun. Where their
// entries are is in the tags, which are being loaded: so the entries follow when
// somebody asks, or when there are more than it has room for.
type expected struct {
	of [16]locator
	n  int
}

// Expect begins to load what a search for k will read.
func (s *BackupStore) Expect(k packet.FlowKey) {
	if s.n == 0 {
		return
	}
	key := tupleOf(&k)
	l := locateEither(&s.seed, &key, k.Proto, k.Zone)
	index, within := l.in(len(s.shards))
	t := s.shards[index].tags
	if len(t) == 0 {
		return
	}
	b := t.first(within)
	touch(unsafe.Pointer(&t[b]))
	touch(unsafe.Pointer(&t[t.other(b, l.tag())]))
	if s.expected.n == len(s.expected.of) {
		s.arrive()
	}
	s.expected.of[s.expected.n] = l
	s.expected.n++
}

// arrive begins to load the entries of what is expected.
func (s *BackupStore) arrive() {
	for _, l := range s.expected.of[:s.expected.n] {
		s.expectPlace(l)
	}
	s.expected.n = 0
}

// expectPlace begins to load the entry with a locator, or the place where it would be put.
func (s *BackupStore) expectPlace(l locator) {
	index, within := l.in(len(s.shards))
	sh := &s.shards[index]
	if len(sh.tags) == 0 {
		return
	}
	b, tag := sh.tags.first(within), l.tag()
	m := matches(sh.tags[b], tag)
	if m == 0 {
		second := sh.tags.other(b, tag)
		if m = matches(sh.tags[second], tag); m != 0 {
			b = second
		} else if m = matches(sh.tags[b], 0); m == 0 {
			b = second
		}
	}
	p := &sh.places[b*bucketPlaces+next(m|1<<63)]
	touch(unsafe.Pointer(p))
	touch(unsafe.Add(unsafe.Pointer(p), placeBytes-1)) // it may begin in one line and end in the next
}

// ExpectOther does the same for ByOther, but the entry.
func (s *BackupStore) ExpectOther(other packet.FlowKey) {
	if s.joined == 0 {
		return
	}
	key := tupleOf(&other)
	o := locate(&s.seed, &key, other.Proto, other.Zone)
	in, within := s.pairs.of(o)
	if len(in.tags) == 0 {
		return
	}
	b := in.tags.first(within)
	touch(unsafe.Pointer(&in.tags[b]))
	touch(unsafe.Pointer(&in.tags[in.tags.other(b, o.tag())]))
	touch(unsafe.Pointer(&in.refs[b*bucketPlaces]))
}

// expectPairs begins to load the entries that a shard of the index leads to: all tags
// first, and then what they say is there.
func (s *BackupStore) expectPairs(in *pairShard) {
	for i, l := range in.refs {
		if in.tags.at(uint32(i)) != 0 {
			index, within := l.in(len(s.shards))
			t := s.shards[index].tags
			touch(unsafe.Pointer(&t[t.first(within)]))
		}
	}
	for i, l := range in.refs {
		if in.tags.at(uint32(i)) != 0 {
			s.expectPlace(l)
		}
	}
}
