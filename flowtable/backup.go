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
// Delete or Scan.
type BackupStore struct {
	seed     [10]uint64
	shards   []shard
	capacity int
	n        int
	places   int
}

type shard struct {
	places []Backup // a power of two
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
	return &BackupStore{seed: seed, capacity: capacity, shards: make([]shard, max(shards, 1))}
}

// Len returns the number of entries.
func (s *BackupStore) Len() int { return s.n }

// Slots returns the number of places, used or not: what a round of Scan passes.
func (s *BackupStore) Slots() int { return s.places }

// Bytes returns the memory of all places.
func (s *BackupStore) Bytes() int {
	n := s.places * int(unsafe.Sizeof(Backup{}))
	for i := range s.shards {
		n += len(s.shards[i].others)*int(unsafe.Sizeof(tuple{})) + len(s.shards[i].deltas)*4
	}
	return n
}

// Get finds the entry of the connection k belongs to, given either direction.
// The caller may change everything in it but the key.
func (s *BackupStore) Get(k packet.FlowKey) (*Backup, bool) {
	if s.n == 0 {
		return nil, false // as always in a cluster of one
	}
	sh, at := s.locate(k)
	i, ok := sh.find(at, k)
	if !ok {
		return nil, false
	}
	return &sh.places[i], true
}

// Put adds the entry, or replaces that of the same connection, whichever
// direction it was stored under. Errors: ErrFull, ErrNoAddress.
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
	sh, at := s.locate(k)
	i, ok := sh.find(at, k)
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
	sh, at := s.locate(k)
	i, ok := sh.find(at, k)
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
	sh, at := s.locate(k)
	if i, ok := sh.find(at, k); ok && sh.deltas != nil {
		return sh.deltas[i]
	}
	return 0
}

func (s *BackupStore) put(b Backup, other tuple) error {
	if b.free() {
		return fmt.Errorf("put backup of %v: %w", b.Key.Unpack(), ErrNoAddress)
	}
	k := b.Key.Unpack()
	sh, at := s.locate(k)
	i, ok := sh.find(at, k)
	if ok {
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
		i, _ = sh.find(at, k)
	}
	sh.set(i, b, other)
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
	sh, at := s.locate(k)
	i, ok := sh.find(at, k)
	if ok {
		sh.remove(i, &s.seed)
		s.n--
	}
	return ok
}

// Scan visits the entries of the n places from position from on (0 starts a
// round) and returns where to go on, 0 at the end of the round. An entry whose
// visit returns false is deleted. fn may only read the store. An entry that
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
			if !sh.places[i].free() && !fn(&sh.places[i]) {
				sh.remove(i, &s.seed) // may move another entry to i
				s.n--
				continue
			}
			i++
		}
	}
	return 0
}

// locate returns the shard of a connection and the hash of its place within.
func (s *BackupStore) locate(k packet.FlowKey) (*shard, uint32) {
	c, _ := k.Canonical()
	h, at := hashKey(&s.seed, &c)
	return &s.shards[uint64(h)*uint64(len(s.shards))>>32], at
}

// find returns the place of k, or the free place where it would go. A shard
// without memory has neither and returns 0.
func (sh *shard) find(at uint32, k packet.FlowKey) (i int, ok bool) {
	if len(sh.places) == 0 {
		return 0, false
	}
	mask := uint32(len(sh.places) - 1)
	mine, reverse := Pack(k), Pack(k.Reverse())
	for at &= mask; !sh.places[at].free(); at = (at + 1) & mask {
		if got := &sh.places[at].Key; *got == mine || *got == reverse {
			return int(at), true
		}
	}
	return int(at), false
}

// home returns the place where an entry's probing begins.
func (sh *shard) home(b *Backup, seed *[10]uint64) uint32 {
	c, _ := b.Key.Canonical()
	_, at := hashKey(seed, &c)
	return at & uint32(len(sh.places)-1)
}

// remove frees place i and closes the gap: entries behind it move up unless
// that would put them in front of their home.
func (sh *shard) remove(i int, seed *[10]uint64) {
	mask := uint32(len(sh.places) - 1)
	gap := uint32(i)
	for j := (gap + 1) & mask; !sh.places[j].free(); j = (j + 1) & mask {
		if (j-sh.home(&sh.places[j], seed))&mask >= (j-gap)&mask {
			sh.places[gap] = sh.places[j]
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
	sh.n--
}

func (sh *shard) grow(seed *[10]uint64) {
	old, others, deltas := sh.places, sh.others, sh.deltas
	sh.places = make([]Backup, max(2*len(old), shardStart))
	if others != nil {
		sh.others = make([]tuple, len(sh.places))
	}
	if deltas != nil {
		sh.deltas = make([]uint32, len(sh.places))
	}
	mask := uint32(len(sh.places) - 1)
	for i := range old {
		if old[i].free() {
			continue
		}
		at := sh.home(&old[i], seed)
		for !sh.places[at].free() {
			at = (at + 1) & mask
		}
		sh.places[at] = old[i]
		if others != nil {
			sh.others[at] = others[i]
		}
		if deltas != nil {
			sh.deltas[at] = deltas[i]
		}
	}
}
