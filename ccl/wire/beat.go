package wire

import "fmt"

// Beat says that its sender's process lives and how long ago its event loop last
// went round: the fast profile (HL7). It is broadcast every 50 ms under a session
// and on a port of its own, by a process that has nothing else to do.
type Beat struct {
	Life  Incarnation // of the sender
	Stale uint32      // milliseconds since its event loop went round last
	Flags PulseFlags

	// For whoever wants to know where a late beat lost its time.
	Number uint32 // of the beats to all since its process began; a beat to one node repeats the newest
	Sent   uint64 // microseconds, by the sender's own clock, which starts anywhere: only differences mean anything
	Late   uint32 // microseconds between when it was due and Sent; of an answer 0
}

// PulseFlags are what a Beat says with a bit.
type PulseFlags uint8

// The flags of a Beat.
const (
	PulseAsk  PulseFlags = 0x01 // the receiver is asked to answer with a beat at once
	PulseHold PulseFlags = 0x02 // silence is to be judged by the hold time until a beat without this: the sender's lease is longer than beats cover
)

// Type implements Message.
func (Beat) Type() Type { return TypeBeat }

// DecodeBeat reads the only message of a datagram of beats. It allocates nothing
// for a valid one. Errors are those of Decode; another type or something behind
// the beat is ErrValue.
func DecodeBeat(b []byte) (Beat, error) {
	t, body, rest, err := split(b)
	switch {
	case err != nil:
		return Beat{}, fmt.Errorf("wire: %v: %w", t, err)
	case t != TypeBeat || len(rest) != 0:
		return Beat{}, fmt.Errorf("wire: %v: not one beat: %w", t, ErrValue)
	}
	r := reader{b: body}
	m := r.beat()
	if err := r.end(); err != nil {
		return Beat{}, fmt.Errorf("wire: %v: %w", t, err)
	}
	return m, nil
}

func (r *reader) beat() Beat {
	return Beat{
		Life: Incarnation(r.u64()), Stale: r.gen(), Flags: PulseFlags(r.u8()),
		Number: r.gen(), Sent: r.uvarint(1<<64 - 1), Late: r.gen(),
	}
}
