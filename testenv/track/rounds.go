package track

import "time"

// rounds are the probes of a Tracker, one round after the other, and what they say of
// its hops: no socket and no clock. A round begins, its probes are sent, answers are
// noted, and it is judged when each probe has had the interval to be answered in. It is
// not safe for concurrent use.
type rounds struct {
	cfg      Config
	states   []*State
	streak   []int // answered probes of a hop in a row
	judged   int   // rounds
	seq      uint16
	answered []bool    // hop's answer to probe seq
	left     time.Time // when the last probe of the round had; zero when there is none to judge
}

func newRounds(cfg Config, hops int) *rounds {
	r := &rounds{cfg: cfg, streak: make([]int, hops), answered: make([]bool, hops)}
	for range hops {
		r.states = append(r.states, NewState(cfg.Losses, cfg.Answers))
	}
	return r
}

// begin returns the sequence number of the next round's probes. An answer to another
// round's counts no longer.
func (r *rounds) begin() (seq uint16) {
	r.seq++
	clear(r.answered)
	r.left = time.Time{}
	return r.seq
}

// sent says that all probes of the round had been sent at this time.
func (r *rounds) sent(at time.Time) { r.left = at }

// due is when the round can be judged.
func (r *rounds) due() time.Time { return r.left.Add(r.cfg.Interval) }

// answer notes a hop's answer to the probe with this number.
func (r *rounds) answer(hop int, seq uint16) {
	if seq == r.seq {
		r.answered[hop] = true
	}
}

// judge ends the round if every answer to it that came in its time has been noted: all
// that came before read are. It returns the hops whose judgement has changed. A round
// that is not due, or not sent, or has ended, says nothing.
func (r *rounds) judge(read time.Time) (changed []int, ended bool) {
	if r.left.IsZero() || read.Before(r.due()) {
		return nil, false
	}
	r.left = time.Time{}
	r.judged++
	for i, s := range r.states {
		r.streak[i]++
		if !r.answered[i] {
			r.streak[i] = 0
		}
		if s.Result(r.answered[i]) {
			changed = append(changed, i)
		}
	}
	return changed, true
}

// steadySince reports whether all hops are alive and have answered, in rounds after this
// one, so many probes in a row that what was lost earlier makes no difference.
func (r *rounds) steadySince(round int) bool {
	need := max(r.cfg.Losses, r.cfg.Answers)
	steady := r.judged-round >= need
	for i, s := range r.states {
		steady = steady && s.Alive() && r.streak[i] >= need
	}
	return steady
}
