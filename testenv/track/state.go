package track

// State decides whether one next hop is alive. The zero value is unusable; see
// NewState. It is not safe for concurrent use.
type State struct {
	losses  int // in a row that make it dead
	answers int // in a row that make it alive
	run     int // results in a row that contradict alive
	alive   bool
}

// NewState returns a hop that counts as alive until proven dead: a router
// starts with its configured routes.
func NewState(losses, answers int) *State {
	return &State{losses: losses, answers: answers, alive: true}
}

// Alive returns the present judgement.
func (s *State) Alive() bool { return s.alive }

// Result takes the fate of one probe, in order, and reports whether the
// judgement changed.
func (s *State) Result(answered bool) (changed bool) {
	if answered == s.alive {
		s.run = 0
		return false
	}
	s.run++
	need := s.losses
	if answered {
		need = s.answers
	}
	if s.run < need {
		return false
	}
	s.alive, s.run = answered, 0
	return true
}
