package pulse

import "time"

// Times of the fast profile (HL7), nanoseconds.
const (
	Period   = int64(50 * time.Millisecond)  // between two beats
	Deadline = 3*Period + grace              // silence that means death
	Lease    = int64(90 * time.Millisecond)  // how long a beat allows its sender to forward
	MinHold  = int64(500 * time.Millisecond) // least hold time beside it
	grace    = int64(10 * time.Millisecond)  // for the third beat to arrive
	worry    = 2*Period + grace              // silence after which a node is asked to answer
	again    = int64(20 * time.Millisecond)  // between two such questions
	patience = Deadline + 4*again            // silence after which nobody is asked any more
	ration   = int64(10 * time.Millisecond)  // between two answers to one peer
	late     = int64(5 * time.Millisecond)   // a wake-up that is later is lateness
	tardy    = Period + Period/2             // between two beats: the second one is counted as late
	never    = -int64(1) << 62
)
