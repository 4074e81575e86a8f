package health

// lostAfter is how many probes in a row must fail before a target counts as lost.
const lostAfter = 3

// Targets judges the probes of one interface's targets (HL6): the interface is
// good while at least one of them answers.
type Targets struct{ failures []int }

// NewTargets believes that all of count targets answer.
func NewTargets(count int) *Targets { return &Targets{failures: make([]int, count)} }

// Probed takes the result of a probe of target i, and reports whether the
// interface's targets count as reached.
func (t *Targets) Probed(i int, answered bool) (reached bool) {
	if t.failures[i]++; answered {
		t.failures[i] = 0
	}
	return t.Reached()
}

// Reached reports whether any target answers, or there is none.
func (t *Targets) Reached() bool {
	for _, f := range t.failures {
		if f < lostAfter {
			return true
		}
	}
	return len(t.failures) == 0
}

// Forget believes again that all answer: a node that may not forward cannot know.
func (t *Targets) Forget() { clear(t.failures) }
