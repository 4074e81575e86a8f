package flowtable

// shard is a part of a store that grows for itself.
type shard struct {
	tags     tags
	places   []place // beside the tags
	n        int
	rest     []rest
	freeRest uint32 // number of the first free one + 1; 0 = none
}

// roomFor returns a free place for what has this locator, displacing others or letting the
// shard grow; false when that is as large as it gets.
func (s *BackupStore) roomFor(sh *shard, l locator) (i uint32, ok bool) {
	_, within := l.in(len(s.shards))
	if roomy(sh.n, len(sh.tags)) {
		if i, ok = s.room(sh, within, l.tag()); ok {
			return i, true
		}
	}
	for buckets := larger(len(sh.tags)); buckets <= mostBuckets(sh.n); buckets = larger(buckets) {
		if !s.grow(sh, buckets) {
			continue
		}
		if i, ok = s.room(sh, within, l.tag()); ok {
			return i, true
		}
	}
	return 0, false
}

// room is roomFor without growth.
func (s *BackupStore) room(sh *shard, within uint32, tag uint8) (i uint32, ok bool) {
	i, moves, ok := s.rooms.find(sh.tags, sh.tags.first(within), tag)
	for _, m := range moves {
		sh.places[m.to] = sh.places[m.from]
		sh.tags.carry(m)
	}
	if len(moves) != 0 {
		s.last.valid, s.other.valid = false, false
	}
	return i, ok
}

// grow moves a shard's entries to other places, of which there are more; false and
// nothing has changed when they do not find room there.
func (s *BackupStore) grow(sh *shard, buckets int) bool {
	larger := shard{tags: make(tags, buckets), places: make([]place, buckets*bucketPlaces)}
	for i := range sh.places {
		tag := sh.tags.at(uint32(i))
		if tag == 0 {
			continue
		}
		_, within := s.locatorOf(sh, &sh.places[i]).in(len(s.shards))
		to, ok := s.room(&larger, within, tag)
		if !ok {
			return false
		}
		larger.tags.set(to, tag)
		larger.places[to] = sh.places[i]
	}
	s.places += len(larger.places) - len(sh.places)
	sh.tags, sh.places = larger.tags, larger.places
	s.last.valid, s.other.valid = false, false
	return true
}

// locatorOf is that of an entry.
func (s *BackupStore) locatorOf(sh *shard, p *place) locator {
	c := s.classOf(sh, p)
	return locateEither(&s.seed, &p.key, c.proto, c.zone)
}
