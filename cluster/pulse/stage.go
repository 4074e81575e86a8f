package pulse

import (
	"time"

	"cohort/ccl/wire"
)

// Stage is where a beat loses time on its way from one process to the other.
type Stage int

// The stages, in the order in which a beat passes them.
const (
	AtSender   Stage = iota // its process ran later than it wanted to
	InTransit               // from there to this node's kernel, beyond what the quickest beat of the last minute took
	AtReceiver              // from the kernel to this process
	NumStages
)

// String names a stage as status and metrics do.
func (s Stage) String() string {
	return [...]string{"sender", "transit", "receiver"}[s]
}

// Bounds are the upper ends of a Spread's buckets, nanoseconds; what is longer
// than the last one is in a bucket of its own.
var Bounds = [...]int64{1e6, 2e6, 4e6, 8e6, 16e6, 32e6, 64e6, 128e6}

// Spread is how long beats took at one stage.
type Spread struct {
	Counts [len(Bounds) + 1]uint64
	Sum    int64 // nanoseconds
	Worst  int64
}

func (s *Spread) add(took int64) {
	i := 0
	for i < len(Bounds) && took > Bounds[i] {
		i++
	}
	s.Counts[i]++
	s.Sum += took
	s.Worst = max(s.Worst, took)
}

// Quantile returns a time that the given share of the beats, 0 to 1, did not
// exceed: the upper end of the bucket, and no more than the worst.
func (s *Spread) Quantile(q float64) int64 {
	total, seen := uint64(0), uint64(0)
	for _, n := range s.Counts {
		total += n
	}
	for i, n := range s.Counts[:len(Bounds)] {
		if seen += n; n > 0 && float64(seen) >= q*float64(total) {
			return min(Bounds[i], s.Worst)
		}
	}
	return s.Worst
}

// floor is the least of the values of the last minute or two: what the clocks of
// two nodes differ by, and the shortest way between them. It follows a drift of
// the clocks, which is well below a millisecond in that time.
type floor struct {
	since        int64
	now, earlier int64
}

const floorLasts = int64(time.Minute)

// above takes a value and returns how much more it is than the least.
func (f *floor) above(at, v int64) int64 {
	switch {
	case f.since == 0:
		*f = floor{since: max(at, 1), now: v, earlier: v}
	case at-f.since >= floorLasts:
		*f = floor{since: at, now: v, earlier: f.now}
	default:
		f.now = min(f.now, v)
	}
	return v - min(f.now, f.earlier)
}

// clock accounts for the time of one beat, which arrived age before now, and, if
// it is late, for the stage that has lost most of it.
func (m *Machine) clock(now int64, p *Peer, b wire.Beat, age int64) {
	age = max(age, 0)
	sent := int64(b.Sent) * 1e3
	took := [NumStages]int64{int64(b.Late) * 1e3, p.floor.above(now, now-age-sent), age}
	for s := range took {
		m.stats.Stages[s].add(took[s])
	}
	lost := int64(0)
	if p.last != never && b.Number > p.number {
		lost = int64(b.Number-p.number) - 1
	}
	m.stats.Lost += uint64(lost)
	if p.last != never {
		gap := now - p.last
		p.Longest = max(p.Longest, gap)
		if gap > tardy {
			m.stats.Late++
			// Also an answer, which is never late, may end a silence that the sender made.
			took[AtSender] = max(took[AtSender], sent-p.sent-(lost+1)*Period)
			m.blame(took, lost)
		}
	}
	p.number, p.sent = b.Number, sent
}

// blame counts a late beat where most of the time went.
func (m *Machine) blame(took [NumStages]int64, lost int64) {
	at := AtSender
	for s := range took {
		if took[s] > took[at] {
			at = Stage(s)
		}
	}
	if lost*Period > took[at] {
		m.stats.LateLost++
	} else {
		m.stats.LateAt[at]++
	}
}
