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
		touch((*uint64)(unsafe.Pointer(f)))
		touch((*uint64)(unsafe.Add(unsafe.Pointer(f), 64)))
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
				touch((*uint64)(unsafe.Pointer(f)))
				touch((*uint64)(unsafe.Add(unsafe.Pointer(f), unsafe.Sizeof(*f)/2)))
			}
			return
		}
	}
}

// Expect begins to load what a search for k will read.
func (s *BackupStore) Expect(k packet.FlowKey) {
	if s.n == 0 {
		return
	}
	sh, at := s.locate(k)
	if len(sh.places) == 0 {
		return
	}
	at &= uint32(len(sh.places) - 1)
	touch((*uint64)(unsafe.Pointer(&sh.tags[at&^7]))) // there are eight tags at least
	touch((*uint64)(unsafe.Pointer(&sh.places[at])))
	if sh.others != nil {
		touch((*uint64)(unsafe.Pointer(&sh.others[at])))
	}
}

// ExpectOther does the same for ByOther.
func (s *BackupStore) ExpectOther(other packet.FlowKey) {
	if s.joined == 0 {
		return
	}
	h, hash := hashKey(&s.seed, &other)
	if p := s.pairs.shardOf(h); len(p.refs) != 0 {
		touch((*uint64)(unsafe.Pointer(&p.refs[hash&uint32(len(p.refs)-1)])))
	}
}
