package flowtable

import (
	"fmt"
	"unsafe"

	"cohort/packet"
)

// BackupStore holds Backups by connection: both directions of a key find the same
// entry. Places of 28 bytes in buckets of eight (tags), in pointer-free memory, 0.93 of
// them in use when it is full. It grows shard by shard, some two thousand entries at a
// time at most, up to its capacity, and does not shrink.
//
// It belongs to one goroutine. Only Put and PutPair move entries.
type BackupStore struct {
	seed     [10]uint64
	shards   []shard
	capacity int
	n        int
	joined   int
	beside   int // entries with a rest
	places   int
	classes  classes
	last     looked
	other    lookedOther
	pairs    pairs
	rooms    rooms
	expected expected
}

// looked is the newest search of a store. Role logic asks for a connection, decides,
// and then stores or removes it: the second search of the same connection is spared.
type looked struct {
	mine, reverse tuple
	proto, zone   uint8
	locator       locator
	shard         *shard
	i             uint32
	found, valid  bool
}

// NewBackupStore makes an empty store that refuses more than capacity entries.
// The seed is one of NewSeed; it need not be the table's.
func NewBackupStore(seed [10]uint64, capacity int) *BackupStore {
	shards := min((capacity+shardEntries-1)/shardEntries, maxShards)
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

// Bytes returns all memory that grows with the entries.
func (s *BackupStore) Bytes() int {
	n := s.classes.bytes() + s.pairs.places*PairBytes
	n += len(s.shards) * int(unsafe.Sizeof(shard{})+unsafe.Sizeof(pairShard{}))
	for i := range s.shards {
		sh := &s.shards[i]
		n += cap(sh.places)*placeBytes + cap(sh.tags)*bucketPlaces + cap(sh.rest)*RestBytes
	}
	return n
}

// Beside returns how many entries take RestBytes more than others, and how often that
// was because there are too many combinations of what entries share.
func (s *BackupStore) Beside() (entries int, unshared uint64) { return s.beside, s.classes.refused }

// Get finds the entry of the connection k belongs to, given either direction.
func (s *BackupStore) Get(k packet.FlowKey) (Entry, bool) {
	if s.n == 0 {
		return Entry{}, false // as always in a cluster of one
	}
	l := s.look(k)
	if !l.found {
		return Entry{}, false
	}
	return Entry{s, l.shard, &l.shard.places[l.i]}, true
}

// look returns the search for a connection.
func (s *BackupStore) look(k packet.FlowKey) *looked {
	l, mine := &s.last, tupleOf(&k)
	if l.valid && (l.mine == mine || l.reverse == mine) && l.proto == k.Proto && l.zone == k.Zone {
		return l
	}
	if s.expected.n != 0 {
		s.arrive()
	}
	*l = looked{mine: mine, reverse: mine.reverse(), proto: k.Proto, zone: k.Zone, valid: true}
	l.locator = locateEither(&s.seed, &mine, k.Proto, k.Zone)
	index, within := l.locator.in(len(s.shards))
	l.shard = &s.shards[index]
	l.i, l.found = s.find(l, within)
	return l
}

// find returns the place of what is looked for.
func (s *BackupStore) find(l *looked, within uint32) (i uint32, ok bool) {
	sh := l.shard
	if len(sh.tags) == 0 {
		return 0, false
	}
	h := sh.tags.seek(within, l.locator.tag())
	for i, ok = h.next(); ok; i, ok = h.next() {
		p := &sh.places[i]
		if p.key != l.mine && p.key != l.reverse {
			continue
		}
		if c := s.classOf(sh, p); c.proto == l.proto && c.zone == l.zone {
			return i, true
		}
	}
	return 0, false
}

// Put adds the entry, or replaces that of the same connection, whichever
// direction it was stored under. What is joined stays so if its other key stays.
// Errors: ErrFull, ErrNoAddress.
func (s *BackupStore) Put(b Backup) error { return s.put(&b, tuple{}) }

// PutPair is Put for an entry of a translated connection, whose other key it
// keeps beside: of a copy the responder's direction as received, of a stub the
// key of the connection.
func (s *BackupStore) PutPair(b Backup, other packet.FlowKey) error {
	return s.put(&b, tupleOf(&other))
}

func (s *BackupStore) put(b *Backup, other tuple) error {
	k := b.Key.Unpack()
	if k.Src == (packet.Addr{}) && k.Dst == (packet.Addr{}) {
		return fmt.Errorf("put backup of %v: %w", k, ErrNoAddress)
	}
	l := s.look(k)
	if l.found {
		p := &l.shard.places[l.i]
		if p.gen&joinedBit != 0 && s.otherOf(l.shard, p) != other {
			s.part(l.shard, p)
		}
		s.release(l.shard, p)
		s.fill(l.shard, p, b, &other, p.gen&joinedBit)
		return nil
	}
	if s.n >= s.capacity {
		return ErrFull
	}
	i, ok := s.roomFor(l.shard, l.locator)
	if !ok {
		return ErrFull
	}
	l.shard.tags.set(i, l.locator.tag())
	s.fill(l.shard, &l.shard.places[i], b, &other, 0)
	l.i, l.found, l.valid = i, true, true
	l.shard.n++
	s.n++
	return nil
}

// SetSeqDelta is Entry.SetSeqDelta of the entry of k. Without one it does nothing.
func (s *BackupStore) SetSeqDelta(k packet.FlowKey, delta uint32) {
	if e, ok := s.Get(k); ok {
		e.SetSeqDelta(delta)
	}
}

// Delete removes the connection k belongs to and reports whether it was there.
func (s *BackupStore) Delete(k packet.FlowKey) bool {
	if s.n == 0 {
		return false
	}
	l := s.look(k)
	if !l.found {
		return false
	}
	s.remove(l.shard, l.i)
	return true
}

// remove frees place i of a shard.
func (s *BackupStore) remove(sh *shard, i uint32) {
	p := &sh.places[i]
	s.part(sh, p)
	s.release(sh, p)
	sh.tags.set(i, 0)
	if s.last.shard == sh && s.last.i == i {
		s.last.found, s.last.valid = false, s.last.locator != 0
	}
	sh.n--
	s.n--
}
