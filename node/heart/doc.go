// Package heart is the process that beats for a node in the fast profile (SPEC
// HL7): package cluster/pulse decides, this one has the socket, the clock, the
// memory that both processes share, and the life of the process.
//
// The daemon starts it as a second process of the same program (Arg), and it ends
// when the daemon does: at once, because the socket between them is closed then.
// It is not a thread, because a thread of a Go program has to have the scheduler's
// leave to run, and stands still with all others while the garbage collector stops
// the world; on a busy machine that was 230 ms, and 0.1 ms for a process (see
// docs/membership.md).
//
// What the two say to each other is in memory, one word each, so that neither
// waits for the other: the daemon writes when its event loop went round last, up to
// when the membership permits to forward, and which life it is; the heart writes
// what it has heard, and renews the lease itself. Keys go over the socket.
package heart
