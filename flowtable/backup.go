package flowtable

import (
	"errors"
	"fmt"
	"unsafe"

	"cohort/packet"
)

// ErrNoAddress reports a Backup whose two addresses are 0.0.0.0, which is how
// the store marks a free place. No packet of such a connection is forwarded.
var ErrNoAddress = errors.New("flowtable: backup without addresses")

// PackedKey is a FlowKey without its padding.
type PackedKey struct {
	Src, Dst         packet.Addr
	SrcPort, DstPort uint16
	Proto, Zone      uint8
}

// Pack returns the packed form of k.
func Pack(k packet.FlowKey) PackedKey {
	return PackedKey{Src: k.Src, Dst: k.Dst, SrcPort: k.SrcPort, DstPort: k.DstPort, Proto: k.Proto, Zone: k.Zone}
}

// Unpack returns the FlowKey.
func (p PackedKey) Unpack() packet.FlowKey {
	return packet.FlowKey{Src: p.Src, Dst: p.Dst, SrcPort: p.SrcPort, DstPort: p.DstPort, Proto: p.Proto, Zone: p.Zone}
}

func (p PackedKey) reverse() PackedKey {
	p.Src, p.Dst, p.SrcPort, p.DstPort = p.Dst, p.Src, p.DstPort, p.SrcPort
	return p
}

// Canonical is packet.FlowKey.Canonical.
func (p PackedKey) Canonical() (packet.FlowKey, bool) { return p.Unpack().Canonical() }

// Backup is what a node keeps of a connection that another node owns, as its
// director or its backup owner. 32 bytes.
type Backup struct {
	Key         PackedKey // of the initiator's direction
	Owner       uint8     // node id; of an orphan (Flags), of the last one, 0 = unknown
	Incarnation uint8     // low byte of the owner's incarnation tag
	Gen         uint32    // ownership generation that was granted
	State       uint8     // TCPState
	In, Out     uint8     // logical interfaces of the initiator and the responder
	Flags       uint8
	Rule        uint16
	Timeout     uint16 // idle timeout, seconds
	Confirmed   uint32 // tick of the owner's last confirmation
}

// 32 bytes a backup (SPEC, DESIGN 3).
const _ = uint(32-unsafe.Sizeof(Backup{})) + uint(unsafe.Sizeof(Backup{})-32)

func (b *Backup) free() bool { return b.Key.Src == packet.Addr{} && b.Key.Dst == packet.Addr{} }

// Shards of less than a thousand entries each: they grow one at a time, so the
// longest pause of a Put is the copy of one shard and not of the whole store.
const (
	shardEntries = 820 // on average at full capacity: 0.8 of 1024 places
	shardStart   = 8   // places of a shard's first allocation
	shardPlaces  = 1 << 16
	maxShards    = 1 << 15
)

// BackupStore holds Backups by connection: both directions of a key find the
// same entry. Open addressing with linear probing and without tombstones, at
// most 7/8 full, in pointer-free memory. It grows shard by shard, each doubling
// in one go (some tens of microseconds at most), up to its capacity, and does not shrink.
//
// It belongs to one goroutine. Pointers from Get are valid until the next Put,
// Delete or Scan. Join and Part move nothing.
type BackupStore struct {
	seed     [10]uint64
	shards   []shard
	capacity int
	n        int
	joined   int
	places   int
	last     looked
	other    lookedOther
	pairs    pairs
}

// looked is the newest search of a store. Role logic asks for a connection, decides,
// and then stores or removes it: the second search of the same connection is spared.
type looked struct {
	mine, reverse PackedKey
	shard         *shard
	i             int
	tag           uint8
	found, valid  bool
}

// A shard's tags say which places are in use and tell most keys apart: they are 32
// times as dense as the places, so that a search that finds nothing, as most do, ends
// in the cache, however large the store is. tagJoined is no part of that.
type shard struct {
	places []Backup // a power of two
	tags   []uint8  // beside places; 0 = free
	others []tuple  // beside places; nil until an entry has another key
	deltas []uint32 // beside places; nil until an entry has shifted sequence numbers
	n      int
}

// tuple is the other key of an entry, which has the same protocol and zone.
type tuple struct {
	src, dst         packet.Addr
	srcPort, dstPort uint16
}

// 12 bytes more for every place of a shard in which connections are translated.
const _ = uint(12-unsafe.Sizeof(tuple{})) + uint(unsafe.Sizeof(tuple{})-12)

// NewBackupStore makes an empty store that refuses more than capacity entries.
// The seed is one of NewSeed; it need not be the table's.
func NewBackupStore(seed [10]uint64, capacity int) *BackupStore {
	shards := min(capacity/shardEntries+1, maxShards)
	s := &BackupStore{seed: seed, capacity: capacity, shards: make([]shard, max(shards, 1))}
	s.pairs.shards = make([]pairShard, len(s.shards))
	return s
}

// Len returns the number of entries.
func (s *BackupStore) Len() int { return s.n }

// Cap returns how many entries it takes.
func (s *BackupStore) Cap() int { return s.capacity }

// Slots returns the number of places, used or not: what a round of Scan passes.
func (s *BackupStore) Slots() int { return s.places }

// Bytes returns the memory of all places.
func (s *BackupStore) Bytes() int {
	n := s.places*int(unsafe.Sizeof(Backup{})) + s.pairs.places*int(unsafe.Sizeof(pairRef{}))
	for i := range s.shards {
		n += len(s.shards[i].others)*int(unsafe.Sizeof(tuple{})) + len(s.shards[i].tags) + len(s.shards[i].deltas)*4
	}
	return n
}

// Get finds the entry of the connection k belongs to, given either direction.
// The caller may change everything in it but the key.
func (s *BackupStore) Get(k packet.FlowKey) (*Backup, bool) {
	if s.n == 0 {
		return nil, false // as always in a cluster of one
	}
	sh, i, ok := s.look(k)
	if !ok {
		return nil, false
	}
	return &sh.places[i], true
}

// look returns the shard of a connection, and its place there or the free place
// where it would go.
func (s *BackupStore) look(k packet.FlowKey) (sh *shard, i int, ok bool) {
	l, mine := &s.last, Pack(k)
	if l.valid && (l.mine == mine || l.reverse == mine) {
		return l.shard, l.i, l.found
	}
	sh, at := s.locate(k)
	reverse := mine.reverse()
	i, ok = sh.find(at, &mine, &reverse)
	*l = looked{mine, reverse, sh, i, tagOf(at), ok, true}
	return sh, i, ok
}

// Put adds the entry, or replaces that of the same connection, whichever
// direction it was stored under. What is joined stays so if its other key stays.
// Errors: ErrFull, ErrNoAddress.
func (s *BackupStore) Put(b Backup) error { return s.put(b, tuple{}) }

// PutPair is Put for an entry of a translated connection, whose other key it
// keeps beside: of a copy the responder's direction as received, of a stub the
// key of the connection.
func (s *BackupStore) PutPair(b Backup, other packet.FlowKey) error {
	return s.put(b, tuple{other.Src, other.Dst, other.SrcPort, other.DstPort})
}

// Other returns the key that PutPair stored beside the entry of k; false when
// there is none.
func (s *BackupStore) Other(k packet.FlowKey) (packet.FlowKey, bool) {
	sh, i, ok := s.look(k)
	if !ok || sh.others == nil || sh.others[i] == (tuple{}) {
		return packet.FlowKey{}, false
	}
	o := &sh.others[i]
	return packet.FlowKey{Src: o.src, Dst: o.dst, SrcPort: o.srcPort, DstPort: o.dstPort, Proto: k.Proto, Zone: k.Zone}, true
}

// SetSeqDelta stores beside the entry of k by how much its initiator's sequence
// numbers are shifted (FlowSlot.SeqDelta). Put begins with 0. Without an entry it
// does nothing.
func (s *BackupStore) SetSeqDelta(k packet.FlowKey, delta uint32) {
	if s.n == 0 {
		return
	}
	sh, i, ok := s.look(k)
	if !ok {
		return
	}
	if sh.deltas == nil && delta != 0 {
		sh.deltas = make([]uint32, len(sh.places)) // 4 bytes more for every place
	}
	if sh.deltas != nil {
		sh.deltas[i] = delta
	}
}

// SeqDelta returns what SetSeqDelta stored for the entry of k, 0 if nothing.
func (s *BackupStore) SeqDelta(k packet.FlowKey) uint32 {
	if sh, i, ok := s.look(k); ok && sh.deltas != nil {
		return sh.deltas[i]
	}
	return 0
}

func (s *BackupStore) put(b Backup, other tuple) error {
	if b.free() {
		return fmt.Errorf("put backup of %v: %w", b.Key.Unpack(), ErrNoAddress)
	}
	k := b.Key.Unpack()
	sh, i, ok := s.look(k)
	if ok {
		if s.joined != 0 && (sh.others == nil || sh.others[i] != other) {
			s.part(sh, i)
		}
		sh.set(i, b, other)
		return nil
	}
	if s.n >= s.capacity {
		return ErrFull
	}
	if 8*(sh.n+1) > 7*len(sh.places) {
		if len(sh.places) >= shardPlaces {
			return ErrFull
		}
		s.places -= len(sh.places)
		sh.grow(&s.seed)
		s.places += len(sh.places)
		s.last.valid, s.other.valid = false, false
		sh, i, _ = s.look(k)
	}
	sh.set(i, b, other)
	sh.tags[i] = s.last.tag
	s.last.found = true
	sh.n++
	s.n++
	return nil
}

func (sh *shard) set(i int, b Backup, other tuple) {
	sh.places[i] = b
	if sh.others == nil && other != (tuple{}) {
		sh.others = make([]tuple, len(sh.places))
	}
	if sh.others != nil {
		sh.others[i] = other
	}
	if sh.deltas != nil {
		sh.deltas[i] = 0
	}
}

// Delete removes the connection k belongs to and reports whether it was there.
func (s *BackupStore) Delete(k packet.FlowKey) bool {
	if s.n == 0 {
		return false
	}
	sh, i, ok := s.look(k)
	if ok {
		s.remove(sh, i)
	}
	return ok
}

// Scan visits the entries of the n places from position from on (0 starts a
// round) and returns where to go on, 0 at the end of the round. An entry whose
// visit returns false is deleted. fn may only read the store, and Join and Part. An entry that
// another one's deletion or growth moves between two calls may be visited twice in a
// round. It is missed only if a place that was free where a call stopped has been
// taken and left again meanwhile: a call stops nowhere else, which may be a few places
// after the n.
func (s *BackupStore) Scan(from uint32, n int, fn func(*Backup) bool) (next uint32) {
	if s.n == 0 {
		return 0
	}
	from = max(from, 1) - 1 // positions are counted from 1
	si, i := int(from/shardPlaces), int(from%shardPlaces)
	for ; si < len(s.shards); si, i = si+1, 0 {
		sh := &s.shards[si]
		for ; i < len(sh.places); n-- {
			if n <= 0 && (i == 0 || sh.places[i].free()) {
				return uint32(si*shardPlaces+i) + 1
			}
			if sh.tags[i] != 0 {
				mine := sh.places[i].Key
				s.last = looked{mine, mine.reverse(), sh, i, sh.tags[i] &^ tagJoined, true, true} // who is asked about what is visited
				if !fn(&sh.places[i]) {
					s.remove(sh, i) // may move another entry to i
					continue
				}
			}
			i++
		}
	}
	return 0
}

// remove frees place i of a shard. Others may move.
func (s *BackupStore) remove(sh *shard, i int) {
	s.part(sh, i)
	s.last.valid, s.other.valid = false, false
	sh.remove(i, &s.seed)
	s.n--
}

// locate returns the shard of a connection and the hash of its place within.
func (s *BackupStore) locate(k packet.FlowKey) (*shard, uint32) {
	c, _ := k.Canonical()
	h, at := hashKey(&s.seed, &c)
	return &s.shards[uint64(h)*uint64(len(s.shards))>>32], at
}

// find returns the place of a key or its reverse, or the free place where it would
// go. A shard without memory has neither and returns 0.
func (sh *shard) find(at uint32, mine, reverse *PackedKey) (i int, ok bool) {
	if len(sh.places) == 0 {
		return 0, false
	}
	tag, mask := tagOf(at), uint32(len(sh.places)-1)
	for at &= mask; ; at = (at + 1) & mask {
		switch sh.tags[at] &^ tagJoined {
		case 0:
			return int(at), false
		case tag:
			if got := &sh.places[at].Key; *got == *mine || *got == *reverse {
				return int(at), true
			}
		}
	}
}

// tagOf returns the tag of a key with this hash: bits that no place is chosen by,
// and one that says that the place is in use.
func tagOf(at uint32) uint8 { return 0x80 | uint8(at>>26) }

// tagJoined in the tag of a place says that its entry is found by its other key too.
const tagJoined = 0x40

// home returns the place where an entry's probing begins.
func (sh *shard) home(b *Backup, seed *[10]uint64) (place uint32) {
	return placeHash(seed, &b.Key) & uint32(len(sh.places)-1)
}

// remove frees place i and closes the gap: entries behind it move up unless
// that would put them in front of their home.
func (sh *shard) remove(i int, seed *[10]uint64) {
	mask := uint32(len(sh.places) - 1)
	gap := uint32(i)
	for j := (gap + 1) & mask; sh.tags[j] != 0; j = (j + 1) & mask {
		if home := sh.home(&sh.places[j], seed); (j-home)&mask >= (j-gap)&mask {
			sh.places[gap], sh.tags[gap] = sh.places[j], sh.tags[j]
			if sh.others != nil {
				sh.others[gap] = sh.others[j]
			}
			if sh.deltas != nil {
				sh.deltas[gap] = sh.deltas[j]
			}
			gap = j
		}
	}
	sh.set(int(gap), Backup{}, tuple{})
	sh.tags[gap] = 0
	sh.n--
}

func (sh *shard) grow(seed *[10]uint64) {
	old, tags, others, deltas := sh.places, sh.tags, sh.others, sh.deltas
	sh.places = make([]Backup, max(2*len(old), shardStart))
	sh.tags = make([]uint8, len(sh.places))
	if others != nil {
		sh.others = make([]tuple, len(sh.places))
	}
	if deltas != nil {
		sh.deltas = make([]uint32, len(sh.places))
	}
	mask := uint32(len(sh.places) - 1)
	// From a free place on, so that entries keep their order of probing: none that a
	// Scan has yet to visit goes on at the beginning, which that has passed (Scan).
	first := 0
	for first < len(old) && !old[first].free() {
		first++
	}
	for n := range old {
		i := (first + n) & (len(old) - 1)
		if old[i].free() {
			continue
		}
		at := sh.home(&old[i], seed)
		for sh.tags[at] != 0 {
			at = (at + 1) & mask
		}
		sh.places[at], sh.tags[at] = old[i], tags[i]
		if others != nil {
			sh.others[at] = others[i]
		}
		if deltas != nil {
			sh.deltas[at] = deltas[i]
		}
	}
}
