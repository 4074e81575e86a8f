// Package reliable is the ordered channel of state messages between two
// members (CL7): encoded messages are packed into segments as large as a
// datagram may be, numbered, acknowledged and repeated until they arrive.
//
// A segment, big endian:
//
//	 0  kind in the lower half; 0x10 = data follow, 0x20 = bitmap follows
//	 1  instance of the sender, 4 bytes
//	 5  instance of the receiver as far as the sender knows it, 4 bytes, or 0
//	 9  last segment received in order, 4 bytes (low bits of the number)
//	13  bitmap, 8 bytes: bit i = segment (last + 2 + i) has arrived
//	 .  number of this segment, 4 bytes, when data follow
//	 .  messages (package wire)
//
// Delivery is in order and exactly once between two instances. An instance is
// one life of one end's channel; instances of an end grow. When an end learns
// that the other one started over, it starts over too and drops what it had
// queued, because nobody can tell any more how much had arrived; the caller is
// told and resynchronises (FR12).
//
// Lost segments are found by the bitmap (three later ones have arrived) or by
// a timer (RFC 6298 with 5 ms to 500 ms, doubling). A congestion window between
// 4 and 64 segments keeps a peer that cannot follow from drowning. Everything
// is bounded: 64 segments in flight, 64 waiting to be put in order, QueueBytes
// of messages in all; past that Send says ErrBacklog and the caller decides.
// Each channel stands for itself: a slow peer costs its own queue and nothing
// else.
//
// Acknowledgements ride on data; without data they wait for at most 1 ms, and
// for at most 8 segments. With Config.Pace a segment that is not full waits until
// so long after the one before, but never after a silence. Nothing is sent while receiving: segments leave in
// Flush and Tick, so that one pass of the event loop makes one batch.
//
// There is no clock, goroutine or lock in here; times are monotonic ns.
package reliable
