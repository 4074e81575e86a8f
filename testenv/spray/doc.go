// Package spray holds the small tc programs of the test network: random
// per-packet next hops (Sprayer) and the cut of one direction of a cable (Cut).
//
// They attach with clsact filters rather than tcx, so that they work on a 6.1
// kernel. A filter lives as long as its interface: closing a Sprayer or a Cut
// takes it off, deleting the interface does too.
package spray
