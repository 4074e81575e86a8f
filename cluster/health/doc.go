// Package health decides what of a node has failed, and when a node that is out of
// its cluster tries to come back (SPEC HL2, HL3, HL6).
//
// Monitor watches data interfaces: a failure counts when it has lasted for the
// debounce time, and is no reason to remove the node for a while after it joined.
// Whether the node goes is not decided here but by the control node, which knows
// what others have (cluster/membership).
//
// Ladder is what happens to a node that is out: for each cause a number of
// attempts, with pauses between them that may grow; after the last one the node
// stays out until an operator lets it join. It never gives up silently: Status
// says the cause, the attempt and the time of the next one.
//
// Both are pure: times are nanoseconds of the caller's clock, nothing is read,
// started or locked. One event loop owns them.
package health
