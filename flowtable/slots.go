package flowtable

import "math/bits"

// slots hands out the slot numbers of one array: never used ones in order, so
// that a small table stays in few pages, and reclaimed ones before those.
type slots struct {
	end   uint32   // length of the array
	grace Grace    // nil: two ticks are enough
	fresh uint32   // the lowest number never used
	live  []uint64 // bitmap: what a scan visits, so that it costs what lives and not what has lived
	free  pile

	dead    pile // died since the last Reclaim that stamped
	resting pile // died before rest began
	rest    Rest

	spare [][]uint32 // empty chunks of the piles
}

func (s *slots) available() int { return int(s.end-s.fresh) + s.free.len() }

func (s *slots) quarantined() int { return s.dead.len() + s.resting.len() }

// take returns 0 when nothing is free.
func (s *slots) take() uint32 {
	if slot, ok := s.free.pop(&s.spare); ok {
		return slot
	}
	if s.fresh >= s.end {
		return 0
	}
	s.fresh++
	return s.fresh - 1
}

// born says that a slot that was taken holds something now, until bury.
func (s *slots) born(slot uint32) {
	if s.live == nil {
		s.live = make([]uint64, s.end/64+1)
	}
	s.live[slot/64] |= 1 << (slot % 64)
}

func (s *slots) bury(slot uint32) {
	if int(slot/64) < len(s.live) {
		s.live[slot/64] &^= 1 << (slot % 64)
	}
	s.dead.push(slot, &s.spare)
}

// scan visits the live ones of the n slots from slot number from on, see
// Table.ScanFlows.
func (s *slots) scan(from uint32, n int, visit func(slot uint32) bool) (next uint32) {
	slot, fresh := max(from, 1), s.fresh
	for end := min(uint64(fresh), uint64(slot)+uint64(max(n, 0))); uint64(slot) < end; {
		word := uint64(0)
		if int(slot/64) < len(s.live) {
			word = s.live[slot/64] >> (slot % 64)
		}
		if word&1 == 0 {
			skip := 64 - slot%64 // the rest of the word, unless one of it lives
			if word != 0 {
				skip = uint32(bits.TrailingZeros64(word))
			}
			slot = uint32(min(uint64(slot)+uint64(skip), end))
			continue
		}
		slot++
		if !visit(slot - 1) {
			break
		}
	}
	if slot >= fresh {
		return 0
	}
	return slot
}

// reclaim frees what has rested long enough and lets the newly dead rest. The
// clock of a rest starts here and not at bury, so time that a caller forgot to
// pass counts for nothing.
func (s *slots) reclaim(now uint32) {
	if s.resting.len() > 0 {
		if !s.rest.over(now, s.grace) {
			return
		}
		s.free.take(&s.resting, &s.spare)
	}
	if s.dead.len() == 0 {
		return
	}
	s.resting, s.dead = s.dead, s.resting
	s.rest = beginRest(now, s.grace, false)
}
