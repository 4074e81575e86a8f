package dataplane

import "fmt"

// Drop says why the slow path did not send or deliver a packet; Sent is
// success. Every packet that IO drops has exactly one reason (MG5).
type Drop uint8

// Reasons. Numbers are not stored anywhere; names are labels of metrics.
const (
	Sent          Drop = iota
	DropLease          // the lease is over or the node is fenced (HL5)
	DropNextHop        // the next hop is not valid
	DropTooBig         // larger than the MTU towards the next hop or of the CCL
	DropMember         // the member is not alive, is this node, or does not exist
	DropHops           // the packet has crossed the CCL too often
	DropPort           // no socket serves the interface it is to leave by
	DropQueueFull      // the transmit ring is full although the kernel was asked to empty it
	DropNoFrame        // no memory left to send from
	DropNoJumbo        // more large packets at once than IOConfig.Jumbos, or more of them held than half of that
	DropMalformed      // XDP handed over what is no IPv4 packet, or without its header
	DropHoldFull       // more packets held than IOConfig.Hold
	numDrops
)

var dropNames = [numDrops]string{
	"sent", "lease", "next_hop", "too_big", "member", "hops", "port",
	"queue_full", "no_frame", "no_jumbo", "malformed", "hold_full",
}

// String returns the reason's name in lower case.
func (d Drop) String() string {
	if d >= numDrops {
		return fmt.Sprintf("drop_%d", uint8(d))
	}
	return dropNames[d]
}
