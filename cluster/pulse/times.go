package pulse

import "time"

// Times of the fast profile (HL7), nanoseconds.
const (
	Period   = int64(50 * time.Millisecond)  // between two beats
	Deadline = 3 * Period                    // silence that means death
	Lease    = int64(80 * time.Millisecond)  // how long a beat allows its sender to forward
	MinHold  = int64(500 * time.Millisecond) // least hold time beside it

	again    = int64(15 * time.Millisecond) // between two questions to one that is silent
	worry    = 2*Period + again/2           // silence after which it is asked
	patience = Deadline + 4*again           // silence after which it is not asked any more
	ration   = int64(10 * time.Millisecond) // between two answers to one peer
	late     = int64(5 * time.Millisecond)  // a wake-up that is later is lateness
	tardy    = Period + Period/2            // between two beats: the second one is counted as late
	never    = -int64(1) << 62
)
