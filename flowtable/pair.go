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
	if o.found || !s.pairs.add(s, o.locator, s.locatorOf(l.shard, p)) {
		return false
	}
	p.gen |= joinedBit
	s.joined++
	o.shard, o.at, o.found = l.shard, p, true
	return true
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
	s.pairs.remove(s.otherLocatorOf(sh, p), s.locatorOf(sh, p))
	p.gen &^= joinedBit
	s.joined--
	s.other.valid = false
}

// JoinedLen returns the number of entries that are found by two keys.
func (s *BackupStore) JoinedLen() int { return s.joined }

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
	key          tuple
	proto, zone  uint8
	locator      locator
	shard        *shard
	at           *place
	found, valid bool
}

// lookOther returns the search for the joined entry with an other key.
func (s *BackupStore) lookOther(other packet.FlowKey) *lookedOther {
	o, key := &s.other, tupleOf(&other)
	if o.valid && o.key == key && o.proto == other.Proto && o.zone == other.Zone {
		return o
	}
	if s.expected.n != 0 {
		s.arrive()
	}
	*o = lookedOther{key: key, proto: other.Proto, zone: other.Zone, valid: true}
	o.locator = locate(&s.seed, &key, other.Proto, other.Zone)
	in, within := s.pairs.of(o.locator)
	if len(in.tags) == 0 {
		return o
	}
	h := in.tags.seek(within, o.locator.tag())
	for i, ok := h.next(); ok && !o.found; i, ok = h.next() {
		s.findOther(in.refs[i], o)
	}
	return o
}

// findOther looks for the joined entry with an other key among those with this locator.
func (s *BackupStore) findOther(l locator, o *lookedOther) {
	h, sh := s.seek(l)
	for i, ok := h.next(); ok; i, ok = h.next() {
		p := &sh.places[i]
		if p.gen&joinedBit == 0 || s.otherOf(sh, p) != o.key {
			continue
		}
		if c := s.classOf(sh, p); c.proto == o.proto && c.zone == o.zone {
			o.shard, o.at, o.found = sh, p, true
			return
		}
	}
}

// seek begins a search for the entry with a locator, which is there.
func (s *BackupStore) seek(l locator) (hits, *shard) {
	index, within := l.in(len(s.shards))
	sh := &s.shards[index]
	return sh.tags.seek(within, l.tag()), sh
}

// otherLocatorOf is that of an entry's other key.
func (s *BackupStore) otherLocatorOf(sh *shard, p *place) locator {
	c, other := s.classOf(sh, p), s.otherOf(sh, p)
	return locate(&s.seed, &other, c.proto, c.zone)
}
