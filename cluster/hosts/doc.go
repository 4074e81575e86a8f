// Package hosts counts the port blocks of inside hosts for the whole cluster
// (NT6, RFC 6888 REQ-4). In a pool with max_blocks_per_host a host gets ports
// only from blocks that are its own, and its connections may meet every node,
// each of which takes blocks for it from its own. So one node, the host's
// director by rendezvous hashing, grants them one by one and knows the sum.
//
// With a new view there may be another director. Every node says how many
// blocks each host has there before it ends its re-registration round, and the
// director answers nobody before all have (Settled): the sum is exact for the
// members of the view. The blocks of a node that has left do not count: nobody
// allocates from them any more. Two sides of a partition count apart.
//
// The package is pure: no clock, no goroutines; one goroutine calls it.
package hosts
