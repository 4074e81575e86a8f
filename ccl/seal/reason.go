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
	BadVersion          // another version of the header or an unknown flag
	UnknownKey          // no such key id
	BadTag              // forged, mutated, or for another receiver
	Replay              // counter seen before, or too old to tell
	StaleSession        // a session that a newer one replaced
	Unproven            // a session that has not shown that it is alive
	BadHandshake        // malformed, or about a session or a challenge that is not ours
	TooManyPeers        // valid, but MaxPeers others are known
	OtherFormat         // valid, but its payload is written in another version of the format (EL8)
	NumReasons          // how many there are
)

var reasonNames = [NumReasons]string{
	"accepted", "handshake", "reflected", "truncated", "bad_version", "unknown_key", "bad_tag", "replay",
	"stale_session", "unproven_session", "bad_handshake", "too_many_peers", "other_format",
}

var reasonTexts = [NumReasons]string{
	"it was taken", "it was a part of a handshake",
	"it claims to come from this node itself", "it is shorter than its headers", "it has another version of the header or an unknown flag",
	"it is sealed under a key that this node does not have", "it is forged, mutated, for another node, or sealed under another key",
	"it was seen before", "it is of a life of its sender that is over", "its sender has not yet shown that it is alive: the first of every start",
	"its part of a handshake is malformed, or not about this node", "more nodes speak than can be",
	"its sender has the key, and speaks another version of the messages",
}

// Describe says in words why a datagram was refused.
func (r Reason) Describe() string { return reasonTexts[r%NumReasons] }

// String returns the name used as a metric label.
func (r Reason) String() string {
	if r < NumReasons {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason-%d", uint8(r))
}

// Counters holds a total for every Reason.
type Counters [NumReasons]uint64

// Refused adds up everything that was neither accepted nor a handshake.
func (c *Counters) Refused() (n uint64) {
	for r := Reflected; r < NumReasons; r++ {
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
