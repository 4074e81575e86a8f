// Package packet reads and rewrites IPv4 packets where they lie.
//
// A Packet is a set of offsets and header values over a caller's buffer. It is
// made once per goroutine and parsed again for every packet: nothing here
// allocates, and nothing trusts a length that a packet claims. What cannot be
// parsed is refused by name (Reject), because every drop has exactly one reason
// (MG5).
//
// Rewriting keeps checksums right by differences (RFC 1624) and never by
// recomputation, so a packet that was damaged before it came here is still
// recognised as damaged by its receiver.
//
// FlowKey (key.go) is the tuple everything else is found by; its layout is
// shared with XDP. The package imports nothing of Cohort.
package packet
