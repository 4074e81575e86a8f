package line

import (
	"fmt"
	"time"
)

// Fault says what one direction of a Line does to frames. The zero value is a
// perfect cable.
type Fault struct {
	Loss      int // of 1,000 frames
	Duplicate int // of 1,000 frames: they arrive twice, each copy with its own jitter

	// Each frame takes Delay and a random part of Jitter, drawn for every frame
	// anew: so frames overtake each other.
	Delay, Jitter time.Duration

	MTU int // larger IP packets are lost without a word; 0 = none is too large

	// Rate is bytes of Ethernet frames a second, 0 = no limit. Frames wait in a
	// queue for Queue of them (0 = 64), large or small, and are lost when it is full.
	// With Classes there is a queue for each DSCP class selector (the upper three
	// bits of the IPv4 TOS), the highest is served first, as a switch does that
	// trusts DSCP. What is not IPv4 is in the lowest.
	Rate    int
	Queue   int
	Classes bool

	Cut bool // nothing crosses

	// Flapping: the line is up for Up, then down for Down, and so on from the
	// moment of Set. Down 0 = it does not flap.
	Up, Down time.Duration
}

func (f *Fault) check() error {
	switch {
	case f.Loss < 0 || f.Loss > 1000 || f.Duplicate < 0 || f.Duplicate > 1000:
		return fmt.Errorf("line: loss %d, duplicates %d of 1000", f.Loss, f.Duplicate)
	case f.Delay < 0 || f.Jitter < 0 || f.Up < 0 || f.Down < 0:
		return fmt.Errorf("line: negative time in %+v", *f)
	case f.MTU < 0 || f.Rate < 0 || f.Queue < 0:
		return fmt.Errorf("line: negative size in %+v", *f)
	}
	return nil
}

// room is how many frames of a class may wait.
func (f *Fault) room() int {
	if f.Queue > 0 {
		return f.Queue
	}
	return 64
}

// down reports whether nothing crosses at a time after Set.
func (f *Fault) down(since int64) bool {
	if f.Cut {
		return true
	}
	period := int64(f.Up + f.Down)
	return f.Down > 0 && since%period >= int64(f.Up)
}

// Counters of one direction since the Line was made. Frames = Lost + TooBig +
// Down + Full + those that arrived once; Delivered counts duplicates too.
type Counters struct {
	Frames     uint64 // that entered
	Lost       uint64 // by chance
	Duplicated uint64
	TooBig     uint64 // than MTU
	Down       uint64 // while cut or flapping
	Full       uint64 // no room in the queue
	Overtaken  uint64 // delivered after a frame that had entered later
	Delivered  uint64
	Failed     uint64 // delivered, but the interface did not take it
}
