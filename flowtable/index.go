package flowtable

import (
	"unsafe"

	"cohort/packet"
)

// The index: which slot holds a key. An entry is tag<<32 | ref.

// maxSearch bounds the buckets that one insertion looks at. Two-choice buckets
// of eight stay within depth 2 (2 + 16 + 128 buckets) up to a load of 0.95;
// IndexBuckets keeps it below 0.75.
const maxSearch = 256

func makeEntry(tag uint32, r Ref) uint64 { return uint64(tag)<<32 | uint64(r) }

func entryTag(e uint64) uint32 { return uint32(e >> 32) }

func entryRef(e uint64) Ref { return Ref(e) }

// Lookup returns where k is, or 0. It is exact: the writer sees its own index.
func (t *Table) Lookup(k packet.FlowKey) Ref {
	r, _ := t.locate(&k)
	return r
}

// home is where the index has, or would have, a key.
type home struct{ b1, b2, tag uint32 }

func (t *Table) home(k *packet.FlowKey) home {
	h1, tag := hashKey(&t.seed, k)
	b := h1 & t.mask
	return home{b, otherBucket(b, tag, t.mask), tag}
}

// Expect begins to load what Lookup of the key with these hashes will read. A
// caller that has a batch of packets calls it for all of them first: their cache
// misses, the larger part of a lookup in a large table, then pass together. XDP
// has computed the hashes; wrong ones only cost time.
func (t *Table) Expect(h1, tag uint32) {
	b := h1 & t.mask
	touch(unsafe.Pointer(&t.mem.Index[b][0]))
	touch(unsafe.Pointer(&t.mem.Index[otherBucket(b, tag, t.mask)][0]))
}

// locate is Lookup that also says where a key that is not there would go.
func (t *Table) locate(k *packet.FlowKey) (Ref, home) {
	h := t.home(k)
	second := &t.mem.Index[h.b2]
	touch(unsafe.Pointer(&second[0])) // a new key is in neither bucket: both cache misses begin together
	if r := t.findKey(&t.mem.Index[h.b1], h.tag, k); r != 0 {
		return r, h
	}
	return t.findKey(second, h.tag, k), h
}

func (t *Table) findKey(bucket *Bucket, tag uint32, k *packet.FlowKey) Ref {
	for _, e := range bucket {
		if entryTag(e) == tag && e != 0 {
			r := t.resolve(entryRef(e))
			if got := t.keyOf(r); got != nil && *got == *k {
				return r
			}
		}
	}
	return 0
}

// resolve returns the forward slot that the index leads to by way of a delegation, and
// every other Ref as it is; 0 when the two do not know each other.
func (t *Table) resolve(r Ref) Ref {
	if !r.IsForward() || r.Dir() == 0 {
		return r
	}
	d := t.DelegationAt(r.Slot())
	if d == nil || d.Flags&FlowLive == 0 || d.Seq&1 != 0 {
		return 0
	}
	if f := t.Forward(d.Forward); f == nil || f.Flags&FlowDelegated == 0 || f.Delegation != r.Slot() {
		return 0
	}
	return forwardRef(d.Forward)
}

// keyOf returns the key that a Ref stands for, nil if its slot is dead or out
// of range.
func (t *Table) keyOf(r Ref) *packet.FlowKey {
	if r.IsForward() {
		if f := t.Forward(r.Slot()); f != nil && f.Flags&FlowLive != 0 && r.Dir() == 0 {
			return &f.Key
		}
		return nil
	}
	if f := t.Flow(r.Slot()); f != nil && f.Flags&FlowLive != 0 {
		return &f.Key[r.Dir()]
	}
	return nil
}

// link adds the entry of a key that is not in the index.
func (t *Table) link(h home, r Ref) bool {
	bucket, i, ok := t.room(h.b1, h.b2)
	if ok {
		t.store64(&t.mem.Index[bucket][i], makeEntry(h.tag, r))
	}
	return ok
}

// unlink removes the entry of k. Missing entries are no error: a killed writer
// may have left them out.
func (t *Table) unlink(k packet.FlowKey, r Ref) {
	h := t.home(&k)
	e := makeEntry(h.tag, r)
	for _, bucket := range [2]uint32{h.b1, h.b2} {
		for i := range &t.mem.Index[bucket] {
			if t.mem.Index[bucket][i] == e {
				t.store64(&t.mem.Index[bucket][i], 0)
			}
		}
	}
}

// redirect makes the entry of k lead elsewhere.
func (t *Table) redirect(k packet.FlowKey, from, to Ref) {
	h := t.home(&k)
	e := makeEntry(h.tag, from)
	for _, bucket := range [2]uint32{h.b1, h.b2} {
		for i := range &t.mem.Index[bucket] {
			if t.mem.Index[bucket][i] == e {
				t.store64(&t.mem.Index[bucket][i], makeEntry(h.tag, to))
				return
			}
		}
	}
}

// freeEntry returns a free place in bucket b, or -1.
func (t *Table) freeEntry(b uint32) int {
	for i, e := range &t.mem.Index[b] {
		if e == 0 {
			return i
		}
	}
	return -1
}

// room returns a free place in one of the two buckets. The first choice is
// preferred even when the second is emptier: most lookups then end after one
// cache line.
func (t *Table) room(b1, b2 uint32) (bucket uint32, i int, ok bool) {
	if i := t.freeEntry(b1); i >= 0 {
		return b1, i, true
	}
	if i := t.freeEntry(b2); i >= 0 {
		return b2, i, true
	}
	return t.displace(b1, b2)
}

// searchNode is a bucket reached by moving entry `entry` of the parent's bucket.
type searchNode struct {
	bucket uint32
	parent int16 // -1 for the two choices themselves
	entry  int8
}

// displace searches breadth first for the shortest chain of moves that frees a
// place in b1 or b2, and carries it out from its far end: each entry is copied
// to its other bucket before its old place is cleared. The shortest chain never
// visits a bucket twice: the first visit would have found the same free place.
func (t *Table) displace(b1, b2 uint32) (bucket uint32, i int, ok bool) {
	nodes := append(t.search[:0], searchNode{bucket: b1, parent: -1})
	if b2 != b1 {
		nodes = append(nodes, searchNode{bucket: b2, parent: -1})
	}
	for n := 0; n < len(nodes); n++ {
		from := nodes[n].bucket
		for j, e := range &t.mem.Index[from] {
			to := otherBucket(from, entryTag(e), t.mask)
			if free := t.freeEntry(to); free >= 0 {
				bucket, i = t.moveChain(nodes, n, j, to, free)
				return bucket, i, true
			}
			if len(nodes) < maxSearch {
				nodes = append(nodes, searchNode{bucket: to, parent: int16(n), entry: int8(j)})
			}
		}
	}
	return 0, 0, false
}

// moveChain moves entry j of node n to (to, free), then its parent's entry into
// the freed place, and so on; it returns the place that is free in the end.
func (t *Table) moveChain(nodes []searchNode, n, j int, to uint32, free int) (bucket uint32, i int) {
	for {
		from := nodes[n].bucket
		t.store64(&t.mem.Index[to][free], t.mem.Index[from][j])
		t.store64(&t.mem.Index[from][j], 0)
		t.displaced++
		to, free, j = from, j, int(nodes[n].entry)
		if nodes[n].parent < 0 {
			return to, free
		}
		n = int(nodes[n].parent)
	}
}
