package health

import (
	"fmt"
	"time"

	"cohort/ccl/wire"
)

// Schedule is how a node that is out for one cause tries to come back.
type Schedule struct {
	Attempts  int           // 0: none, by hand only; Forever: without end
	Interval  time.Duration // before the first attempt
	Variation int           // each further pause is this many times the last one; 1-3
	AtOnce    bool          // do not wait, unless the last attempt is more recent than that
}

// Forever is Schedule.Attempts without end.
const Forever = -1

// check refuses schedules that cannot work.
func (s *Schedule) check() error {
	switch {
	case s.Attempts < Forever:
		return fmt.Errorf("%d attempts", s.Attempts)
	case s.Attempts != 0 && s.Interval <= 0:
		return fmt.Errorf("an interval of %v", s.Interval)
	case s.Variation < 1 || s.Variation > 3:
		return fmt.Errorf("variation %d is not in 1-3", s.Variation)
	}
	return nil
}

// Schedules has one Schedule for each cause.
type Schedules [wire.NumCauses]Schedule

// Defaults are those of HL3. A node that was fenced tries at once, but not twice in
// 5 s.
func Defaults() Schedules {
	byHand := Schedule{Variation: 1}
	return Schedules{
		wire.CauseNode:      {Attempts: Forever, Interval: 5 * time.Second, Variation: 1, AtOnce: true},
		wire.CauseInterface: {Attempts: 3, Interval: 5 * time.Minute, Variation: 2},
		wire.CauseLink:      {Attempts: Forever, Interval: 5 * time.Minute, Variation: 1},
		wire.CauseFirstLink: byHand,
		wire.CauseOperator:  byHand,
		wire.CauseInternal:  byHand,
	}
}

// Phase is where on the ladder a node is.
type Phase uint8

// The phases.
const (
	On       Phase = iota // clustering, or on its way: the ladder has nothing to do
	Waiting               // out, until the next attempt
	Disabled              // out, until an operator lets it join
)

// String is the word that commands show.
func (p Phase) String() string { return [...]string{"on", "waiting", "disabled"}[p] }

// Ladder decides when a node that is out tries to come back.
type Ladder struct {
	plans   Schedules
	settled time.Duration // of membership, after which the ladder begins at its foot again

	phase   Phase
	cause   wire.Cause
	why     string
	since   int64
	attempt int   // made for this cause since it began
	next    int64 // Waiting: the next one
	last    int64 // the last one
	joined  int64 // inf: not a member
}

// NewLadder makes the ladder of a node that is on its way into its cluster. A
// node that has been a member for settled, and falls out again, begins at the foot
// of its ladder.
func NewLadder(plans Schedules, settled time.Duration) (*Ladder, error) {
	for c := range plans {
		if err := plans[c].check(); err != nil {
			return nil, fmt.Errorf("health: schedule of %s: %w", CauseName(wire.Cause(c)), err)
		}
	}
	return &Ladder{plans: plans, settled: settled, joined: inf, last: -inf}, nil
}

// Out says that the node is out of its cluster, or could not get in.
func (l *Ladder) Out(now int64, cause wire.Cause, why string) {
	if cause >= wire.NumCauses {
		cause = wire.CauseNode
	}
	if cause != l.cause || l.joined != inf && now-l.joined >= int64(l.settled) {
		l.attempt = 0
	}
	l.cause, l.why, l.since, l.joined = cause, why, now, inf
	l.plan(now)
}

// Failed says that an attempt came to nothing before the node even asked anybody:
// what had failed is still broken.
func (l *Ladder) Failed(now int64, why string) {
	l.why = why
	l.plan(now)
}

// plan sets the time of the next attempt, or ends them.
func (l *Ladder) plan(now int64) {
	s := &l.plans[l.cause]
	if s.Attempts != Forever && l.attempt >= s.Attempts {
		l.phase, l.next = Disabled, inf
		return
	}
	pause := int64(s.Interval)
	for i := 0; i < l.attempt && pause < int64(24*time.Hour); i++ {
		pause *= int64(s.Variation)
	}
	l.phase, l.next = Waiting, now+pause
	if s.AtOnce {
		l.next = max(now, l.last+pause)
	}
}

// Due reports whether it is time for an attempt, and counts it. The caller tries to
// join; Out or Failed follow if that fails, Joined if not.
func (l *Ladder) Due(now int64) bool {
	if l.phase != Waiting || now < l.next {
		return false
	}
	l.attempt++
	l.phase, l.last, l.next = On, now, inf
	return true
}

// Joined says that the node is a member.
func (l *Ladder) Joined(now int64) {
	if l.joined == inf {
		l.phase, l.joined = On, now
	}
}

// Enable begins anew, by an operator's decision: the node is on its way.
func (l *Ladder) Enable() { l.phase, l.attempt, l.joined, l.next, l.why = On, 0, inf, inf, "" }

// LadderStatus is where a node is on its ladder.
type LadderStatus struct {
	Phase    Phase
	Cause    wire.Cause
	Why      string
	Since    int64 // when it fell out
	Attempt  int   // made so far
	Attempts int   // allowed; Forever, 0 = none
	Next     int64 // Waiting: when the next one is due
}

// Status reports the ladder. Cause, Why and Since mean something unless Phase is On
// and Attempt 0.
func (l *Ladder) Status() LadderStatus {
	return LadderStatus{l.phase, l.cause, l.why, l.since, l.attempt, l.plans[l.cause].Attempts, l.next}
}

// CauseName is the word for a cause in texts and commands.
func CauseName(c wire.Cause) string {
	names := [...]string{"node failure", "data interface", "control link", "control link at the first join", "operator", "internal error"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("cause-%d", c)
}
