// Package order says which nodes are responsible for a connection: its
// director order (FR2).
//
// Every node computes the same order from the same view, so nobody has to be
// asked. The director is the first of the order; the backup owner is the first
// that is not the owner (FR3). When the first node dies, the second becomes the
// first for every key: the survivor that already holds the state is the one
// that is asked next (FR11).
//
// # Why rendezvous hashing of each key, and not a slot table
//
// Each node scores each key with a hash of (key, node name); the highest score
// is first. A table of slots, each ranked once per view, would make a lookup
// cheaper, but FR2 asks that every node directs within 2 % of 1/n. Slots fall
// to nodes like tuples do, at random: with 2^16 slots and 16 nodes a node has
// 4,096 slots with a standard deviation of 1.5 %, so that the largest of 16
// deviates by about 3 %. A table that is balanced by force (bounded loads)
// meets 2 %, but then moves more than 1.1/n of the tuples when a node comes or
// goes. Scoring each key has only the sampling noise of the traffic itself and
// moves exactly the share of the node that came or went. It costs two
// multiplications a node: a pass over 16 nodes costs about as much as one cache
// miss into a table.
//
// Scores depend on the member's name, not on its id or its incarnation: a node
// that restarts, or gets another id, stays responsible for the same keys.
//
// A member that drains (wire.View.Draining, EL10) comes after all that do not: it
// is responsible for nothing new, but keeps a copy rather than nobody. To the
// others' order among themselves it makes no difference, as if it had left.
//
// The hash is SipHash under a key derived from the cluster key: a stranger
// cannot choose tuples that all fall to one director.
//
// The package never asks for the time, never blocks and never allocates after
// New.
package order
