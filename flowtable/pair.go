package flowtable

import (
	"unsafe"

	"cohort/packet"
)

// An entry of a translated connection that is both its copy and what the responder's
// key leads to is found by either key. The second way in is an index of its own, which
// says where the search for the entry begins, and not where the entry is: that moves
// as others come and go, and the index need not follow.

// pairs is the index of a store's joined entries, by the hash of their other key, in
// shards that grow one at a time like those of the store.
type pairs struct {
	shards []pairShard
	places int
}

type pairShard struct {
	refs []pairRef // a power of two; linear probing without tombstones
	n    int
}

// pairRef is one joined entry. Hash is that of its other key, which its place in the
// index follows from; at is where its own search begins: shard<<atBits | place.
type pairRef struct {
	hash, at uint32
}

// 8 bytes a place.
const _ = uint(8-unsafe.Sizeof(pairRef{})) + uint(unsafe.Sizeof(pairRef{})-8)

// atBits has room for a place of the largest shard, and the rest for a shard.
const atBits = 16

const _ = uint(1<<atBits-shardPlaces) + uint(1<<(32-atBits)-maxShards-1)

// noPair is a free place of the index. No store has so many shards.
const noPair = ^uint32(0)

// Join lets the entry of k be found by its other key as well, as that is, in its own
// direction only (ByOther), until it is removed, gets another other key, or Part. It
// reports whether it is found so: not without an entry, or another key, or memory, nor
// when another entry is found by it.
func (s *BackupStore) Join(k packet.FlowKey) bool {
	sh, i, ok := s.look(k)
	if !ok || sh.others == nil || sh.others[i] == (tuple{}) {
		return false
	}
	if sh.tags[i]&tagJoined != 0 {
		return true
	}
	other := sh.otherKey(i)
	if _, _, taken := s.lookOther(other); taken || !s.pairs.add(s.pairOf(sh, i, other)) {
		return false
	}
	sh.tags[i] |= tagJoined
	s.joined++
	s.other = lookedOther{other, sh, i, true, true}
	return true
}

// Part ends what Join did.
func (s *BackupStore) Part(k packet.FlowKey) {
	if s.joined == 0 {
		return
	}
	if sh, i, ok := s.look(k); ok {
		s.part(sh, i)
	}
}

func (s *BackupStore) part(sh *shard, i int) {
	if sh.tags[i]&tagJoined == 0 {
		return
	}
	s.pairs.remove(s.pairOf(sh, i, sh.otherKey(i)))
	sh.tags[i] &^= tagJoined
	s.joined--
	s.other.valid = false
}

// Joined reports whether the entry of k is found by its other key as well.
func (s *BackupStore) Joined(k packet.FlowKey) bool {
	if s.joined == 0 {
		return false
	}
	sh, i, ok := s.look(k)
	return ok && sh.tags[i]&tagJoined != 0
}

// JoinedLen returns the number of entries that are found by two keys.
func (s *BackupStore) JoinedLen() int { return s.joined }

// ByOther returns the joined entry with this other key.
func (s *BackupStore) ByOther(other packet.FlowKey) (*Backup, bool) {
	if s.joined == 0 {
		return nil, false
	}
	sh, i, ok := s.lookOther(other)
	if !ok {
		return nil, false
	}
	return &sh.places[i], true
}

// lookedOther is the newest search by another key: role logic asks what a second key
// leads to, decides, and then stores or joins it.
type lookedOther struct {
	key          packet.FlowKey
	shard        *shard
	i            int
	found, valid bool
}

// lookOther returns where the joined entry with an other key is.
func (s *BackupStore) lookOther(other packet.FlowKey) (sh *shard, i int, ok bool) {
	if s.joined == 0 {
		return nil, 0, false
	}
	l := &s.other
	if !l.valid || l.key != other {
		*l = lookedOther{key: other, valid: true}
		l.shard, l.i, l.found = s.searchOther(&other)
	}
	return l.shard, l.i, l.found
}

func (s *BackupStore) searchOther(other *packet.FlowKey) (sh *shard, i int, ok bool) {
	h, hash := hashKey(&s.seed, other)
	p := s.pairs.shardOf(h)
	if len(p.refs) == 0 {
		return nil, 0, false
	}
	want := tuple{other.Src, other.Dst, other.SrcPort, other.DstPort}
	mask := uint32(len(p.refs) - 1)
	for at := hash & mask; p.refs[at].at != noPair; at = (at + 1) & mask {
		if r := p.refs[at]; r.hash == hash {
			sh := &s.shards[r.at>>atBits]
			if i, ok := sh.findOther(r.at&(1<<atBits-1), &want, other.Proto, other.Zone); ok {
				return sh, i, true
			}
		}
	}
	return nil, 0, false
}

// findOther returns the place of the joined entry with an other key whose search begins
// at a place.
func (sh *shard) findOther(at uint32, want *tuple, proto, zone uint8) (i int, ok bool) {
	mask := uint32(len(sh.places) - 1)
	for at &= mask; sh.tags[at] != 0; at = (at + 1) & mask {
		if sh.tags[at]&tagJoined != 0 && sh.others[at] == *want && sh.places[at].Key.Proto == proto && sh.places[at].Key.Zone == zone {
			return int(at), true
		}
	}
	return 0, false
}

// otherKey is the other key of the entry at place i.
func (sh *shard) otherKey(i int) packet.FlowKey {
	o, k := &sh.others[i], &sh.places[i].Key
	return packet.FlowKey{Src: o.src, Dst: o.dst, SrcPort: o.srcPort, DstPort: o.dstPort, Proto: k.Proto, Zone: k.Zone}
}

// pairOf is what the index has of a joined entry, and in which of its shards.
func (s *BackupStore) pairOf(sh *shard, i int, other packet.FlowKey) (in *pairShard, r pairRef) {
	h, hash := hashKey(&s.seed, &other)
	c, _ := sh.places[i].Key.Canonical()
	mine, at := hashKey(&s.seed, &c)
	shard := uint32(uint64(mine) * uint64(len(s.shards)) >> 32)
	return s.pairs.shardOf(h), pairRef{hash, shard<<atBits | at&(1<<atBits-1)}
}

func (p *pairs) shardOf(h uint32) *pairShard {
	return &p.shards[uint64(h)*uint64(len(p.shards))>>32]
}

// add is false when there is no room.
func (p *pairs) add(in *pairShard, r pairRef) bool {
	if 8*(in.n+1) > 7*len(in.refs) {
		if len(in.refs) >= shardPlaces {
			return false
		}
		p.places -= len(in.refs)
		in.grow()
		p.places += len(in.refs)
	}
	in.put(r)
	in.n++
	return true
}

func (in *pairShard) put(r pairRef) {
	mask := uint32(len(in.refs) - 1)
	at := r.hash & mask
	for in.refs[at].at != noPair {
		at = (at + 1) & mask
	}
	in.refs[at] = r
}

func (in *pairShard) grow() {
	old := in.refs
	in.refs = make([]pairRef, max(2*len(old), shardStart))
	for i := range in.refs {
		in.refs[i].at = noPair
	}
	for _, r := range old {
		if r.at != noPair {
			in.put(r)
		}
	}
}

// remove frees the place of r and closes the gap, as shard.remove does.
func (p *pairs) remove(in *pairShard, r pairRef) {
	mask := uint32(len(in.refs) - 1)
	gap := r.hash & mask
	for in.refs[gap] != r {
		gap = (gap + 1) & mask
	}
	for j := (gap + 1) & mask; in.refs[j].at != noPair; j = (j + 1) & mask {
		if home := in.refs[j].hash & mask; (j-home)&mask >= (j-gap)&mask {
			in.refs[gap] = in.refs[j]
			gap = j
		}
	}
	in.refs[gap] = pairRef{at: noPair}
	in.n--
}
