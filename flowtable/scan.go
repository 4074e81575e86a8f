package flowtable

// A round of Scan passes shard after shard, and a large shard in slices: those of its
// entries whose tags begin with the same four bits. Neither changes while an entry is
// there, wherever others' coming and the growth of its shard move it.
const (
	scanSlices = 16
	scanWhole  = 128 // places of a shard that is passed at once
)

// Scan visits entries of about n places, from position from on (0 starts a round), and
// returns where to go on, 0 at the end of the round. A call passes a whole slice of a
// shard at least, of some 150 places at most as a rule. An entry whose visit returns
// false is deleted. fn must not Put. Whatever happens between the calls, a round visits
// an entry that is there all the time just once.
func (s *BackupStore) Scan(from uint32, n int, fn func(Entry) bool) (next uint32) {
	if s.n == 0 {
		return 0
	}
	from = max(from, 1) - 1 // positions are counted from 1
	slice := from % scanSlices
	for si := int(from / scanSlices); si < len(s.shards); si++ {
		for sh := &s.shards[si]; slice < scanSlices; {
			if n <= 0 {
				return uint32(si)*scanSlices + slice + 1
			}
			if places := len(sh.places); places <= scanWhole || slice == 0 && n >= places {
				s.scanSlice(sh, slice, scanSlices, fn)
				n -= places
				slice = scanSlices
			} else {
				s.scanSlice(sh, slice, slice+1, fn)
				n -= places / scanSlices
				slice++
			}
		}
		slice = 0
	}
	return 0
}

// scanSlice visits the entries of a shard that are in some of its slices.
func (s *BackupStore) scanSlice(sh *shard, from, to uint32, fn func(Entry) bool) {
	for b := range sh.tags {
		for used := ^matches(sh.tags[b], 0) & highBits; used != 0; used &= used - 1 {
			i := uint32(b)*bucketPlaces + next(used)
			tag := sh.tags.at(i) // a visit may have ended others
			if slice := uint32(tag) >> 4; tag == 0 || slice < from || slice >= to {
				continue
			}
			p := &sh.places[i]
			s.visiting(sh, i, p)
			if !fn(Entry{s, sh, p}) {
				s.remove(sh, i)
			}
		}
	}
}

// visiting prepares for questions about what is visited.
func (s *BackupStore) visiting(sh *shard, i uint32, p *place) {
	c := s.classOf(sh, p)
	s.last = looked{mine: p.key, reverse: p.key.reverse(), proto: c.proto, zone: c.zone, shard: sh, i: i, found: true, valid: true}
}
