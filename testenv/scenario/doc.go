// Package scenario holds the tests that look at a live cluster from outside:
// real daemons in namespaces between real routers, and the programs that a
// network engineer would use. Everything is played twice, with the fast path
// and without it: what a packet experiences must not depend on which half of a
// node handles it.
//
// Tests that mostly wait for the product's timers, and hold nobody to less than
// seconds, run beside one another (t.Parallel); all others have the machine alone.
package scenario
