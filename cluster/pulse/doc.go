// Package pulse is the liveness of the fast profile (SPEC HL7): beats every 50 ms
// and death after three that are missing, sent and judged by a process that does
// nothing else. It is pure: times go in, decisions come out.
//
// # Who says what
//
// The daemon's event loop is one Go program among others on a busy machine. The
// pulse is a process of its own, of real-time priority where the system allows it
// (why a thread of the daemon does not do: docs/membership.md). So there are two
// questions, and a beat answers both: does the node live, and how long ago did its
// event loop go round. Silence of Deadline is the death of a node. A node whose
// loop stands still is dead after the hold time, as without the fast profile.
//
// # The lease
//
// A node that others removed must not forward any more (HL5, NT4). Renew is the
// rule: with a beat sent at s the fast path may forward until s + Lease, but never
// longer than the event loop allowed when it went round last (0.6 hold times after
// its newest heartbeat). So neither a dead process nor a stuck loop forwards on:
//
//   - The node dies, or is stopped with all its processes. Let the beat at s be
//     lost and the one at s - Period be heard. The others remove it no earlier than
//     at s - Period + Deadline = s + 100 ms; its lease ended at s + 80 ms. One tick
//     of the coarse clock that XDP compares with, 10 ms at most, is inside that.
//   - Its loop is stuck at p, and its pulse is not. The lease ends at p + 0.6 hold
//     times. The others learn p from beats; the newest that they have may be a
//     Deadline old. They remove it no earlier than at p + hold - 150 ms, and from
//     MinHold up that is later.
//
// A lease that has ended is not renewed: then this process itself did not run, and
// others may have acted. The event loop gives a new one after it has asked (Grant).
//
// A node whose lease is longer than beats cover, since it was left by a daemon that
// was stopped to be started again, says so in its beats (wire.PulseHold) before it
// is: the others judge it by the hold time until a beat comes without that.
//
// # Own lateness
//
// Who does not run does not hear. A Machine measures how much later than it asked
// it was woken, and that time is not counted as silence of others; it reads all
// that waits before it judges; and silence is counted up to the moment when it had
// last read everything (Attended), not up to now.
//
// # Where the time went
//
// A beat says its number, when it left by its sender's clock, and how late; the
// receiver knows how long its kernel had it. From that a Machine keeps, for all
// beats that came, how much time they lost at each Stage, and which one made a beat
// late. It decides nothing by it.
package pulse
