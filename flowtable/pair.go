package flowtable

import "cohort/packet"

// An entry of a translated connection that is both its copy and what the responder's
// key leads to is found by either key. The second way in is an index of its own, which
// has the locator of the entry, and not its place: that changes as others come and go,
// and the index need not follow.

// Join lets the entry of k be found by its other key as well, as that is, in its own
// direction only (ByOther), until it is removed, gets another other key, or Part. It
// reports whether it is found so: not without an entry, or another key, or memory, nor
// when another entry is found by it.
func (s *BackupStore) Join(k packet.FlowKey) bool {
	l := s.look(k)
	if !l.found {
		return false
	}
	p := &l.shard.places[l.i]
	other, ok := Entry{s, l.shard, p}.Other()
	if !ok || p.gen&joinedBit != 0 {
		return ok
	}
	o := s.lookOther(other)
	if o.found || !s.pairs.add(s, o.locator, s.locatorOfVisit(l)) {
		return false
	}
	p.gen |= joinedBit
	s.joined++
	o.shard, o.at, o.found = l.shard, p, true
	return true
}

// locatorOfVisit is that of a search, which a Scan need not have made.
func (s *BackupStore) locatorOfVisit(l *looked) locator {
	if l.locator == 0 {
		k := l.mine.Unpack()
		l.locator = s.locate(&k)
	}
	return l.locator
}

// Part ends what Join did.
func (s *BackupStore) Part(k packet.FlowKey) {
	if s.joined == 0 {
		return
	}
	if l := s.look(k); l.found {
		s.part(l.shard, &l.shard.places[l.i])
	}
}

func (s *BackupStore) part(sh *shard, p *place) {
	if p.gen&joinedBit == 0 {
		return
	}
	c := s.classOf(sh, p)
	k, other := p.key.key(c.proto, c.zone), s.otherOf(sh, p).key(c.proto, c.zone)
	s.pairs.remove(s.locateOther(&other), s.locate(&k))
	p.gen &^= joinedBit
	s.joined--
	s.other.valid = false
}

// Joined reports whether the entry of k is found by its other key as well.
func (s *BackupStore) Joined(k packet.FlowKey) bool {
	if s.joined == 0 {
		return false
	}
	l := s.look(k)
	return l.found && l.shard.places[l.i].gen&joinedBit != 0
}

// JoinedLen returns the number of entries that are found by two keys.
func (s *BackupStore) JoinedLen() int { return s.joined }

// Other returns the key that PutPair stored beside the entry of k; false when
// there is none.
func (s *BackupStore) Other(k packet.FlowKey) (packet.FlowKey, bool) {
	if e, ok := s.Get(k); ok {
		return e.Other()
	}
	return packet.FlowKey{}, false
}

// ByOther returns the joined entry with this other key.
func (s *BackupStore) ByOther(other packet.FlowKey) (Entry, bool) {
	if s.joined == 0 {
		return Entry{}, false
	}
	if o := s.lookOther(other); o.found {
		return Entry{s, o.shard, o.at}, true
	}
	return Entry{}, false
}

// lookedOther is the newest search by another key: role logic asks what a second key
// leads to, decides, and then stores or joins it.
type lookedOther struct {
	key          PackedKey
	locator      locator
	shard        *shard
	at           *place
	found, valid bool
}

// lookOther returns the search for the joined entry with an other key.
func (s *BackupStore) lookOther(other packet.FlowKey) *lookedOther {
	o, key := &s.other, Pack(other)
	if o.valid && o.key == key {
		return o
	}
	if s.expected.n != 0 {
		s.arrive()
	}
	*o = lookedOther{key: key, locator: s.locateOther(&other), valid: true}
	want := tupleOf(&other)
	s.pairs.each(o.locator, func(l locator) bool {
		o.shard, o.at, o.found = s.findOther(l, &want, other.Proto, other.Zone)
		return !o.found
	})
	return o
}

// locateOther returns where an other key leads, in one direction.
func (s *BackupStore) locateOther(k *packet.FlowKey) locator {
	return locatorOf(&s.seed, k)
}

// findOther returns the joined entry with this locator and other key.
func (s *BackupStore) findOther(l locator, want *tuple, proto, zone uint8) (sh *shard, p *place, ok bool) {
	s.eachJoined(l, func(in *shard, at *place) bool {
		if c := s.classOf(in, at); c.proto == proto && c.zone == zone && s.otherOf(in, at) == *want {
			sh, p, ok = in, at, true
		}
		return !ok
	})
	return sh, p, ok
}

// eachJoined visits the joined entries that a locator may be of.
func (s *BackupStore) eachJoined(l locator, visit func(*shard, *place) bool) {
	index, within := l.in(len(s.shards))
	sh, tag := &s.shards[index], l.tag()
	if len(sh.tags) == 0 {
		return
	}
	first := sh.tags.first(within)
	for b, second := first, sh.tags.other(first, tag); ; b = second {
		for m := matches(sh.tags[b], tag); m != 0; m &= m - 1 {
			if p := &sh.places[b*bucketPlaces+next(m)]; p.gen&joinedBit != 0 && !visit(sh, p) {
				return
			}
		}
		if b == second {
			return
		}
	}
}
