// Package node is one running node: it opens the dataplane, the control link
// and the kernel's routes, puts node/core in the middle, and runs the event
// loop. It is the only package that knows everybody.
//
// One goroutine, the loop, owns all of it: frames that XDP handed over, the
// link's datagrams, the clock and requests of the management API come to it
// one after the other, in bounded batches, so that no source starves another
// (CL5). Nothing on the way of a packet takes a lock or allocates.
//
// New builds, Run blocks until its context ends, and returns with everything
// closed. After Run the fast path stays pinned and forwards until its lease
// ends: a daemon that starts again before that takes it over (HL5).
package node
