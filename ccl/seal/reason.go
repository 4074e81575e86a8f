package seal

import "fmt"

// Reason says what became of a received datagram.
type Reason uint8

// Numbers may change; names are metric labels and do not.
const (
	Accepted     Reason = iota
	Handshake           // a challenge or a response: consumed here
	Reflected           // claims to come from ourselves
	Truncated           // shorter than header and tag
	BadVersion          // another format version or an unknown flag
	UnknownKey          // no such key id
	BadTag              // forged, mutated, or for another receiver
	Replay              // counter seen before, or too old to tell
	StaleSession        // a session that a newer one replaced
	Unproven            // a session that has not shown that it is alive
	BadHandshake        // malformed, or about a session or a challenge that is not ours
	TooManyPeers        // valid, but MaxPeers others are known
	nReasons
)

var reasonNames = [nReasons]string{
	"accepted", "handshake", "reflected", "truncated", "bad_version", "unknown_key", "bad_tag", "replay",
	"stale_session", "unproven_session", "bad_handshake", "too_many_peers",
}

// String returns the name used as a metric label.
func (r Reason) String() string {
	if r < nReasons {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason-%d", uint8(r))
}

// Counters holds a total for every Reason.
type Counters [nReasons]uint64

// Refused adds up everything that was neither accepted nor a handshake.
func (c *Counters) Refused() (n uint64) {
	for r := Reflected; r < nReasons; r++ {
		n += c[r]
	}
	return n
}

// Each calls f with every reason in order.
func (c *Counters) Each(f func(r Reason, n uint64)) {
	for r := range c {
		f(Reason(r), c[r])
	}
}
