package flowtable

// graceTicks is how long a slot rests after Reclaim first saw it dead. An XDP
// program that found the slot before it died runs for microseconds; two ticks
// are at least one millisecond, whatever the phase.
const graceTicks = 2

// slots hands out the slot numbers of one array: never used ones in order, so
// that a small table stays in few pages, and reclaimed ones before those.
type slots struct {
	end   uint32 // length of the array
	fresh uint32 // the lowest number never used
	free  pile

	dead    pile // died since the last Reclaim that stamped
	resting pile // died before stamp
	stamp   uint32

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

func (s *slots) bury(slot uint32) { s.dead.push(slot, &s.spare) }

// reclaim frees what has rested long enough and lets the newly dead rest. The
// clock of a rest starts here and not at bury, so time that a caller forgot to
// pass counts for nothing.
func (s *slots) reclaim(now uint32) {
	if s.resting.len() > 0 {
		if Since(now, s.stamp) < graceTicks {
			return
		}
		s.free.take(&s.resting, &s.spare)
	}
	s.resting, s.dead = s.dead, s.resting
	s.stamp = now
}
