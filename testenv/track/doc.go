// Package track is what a router knows of its next hops: it pings each of them
// and says when one is dead and when it is back. It stands for the BFD session
// or the IP SLA tracker of a real router.
//
// The pure parts are State, one hop's counter of losses and answers, and rounds,
// which says when a probe can be judged. Tracker runs the probes in a router's namespace and calls OnChange; it decides
// nothing else, so a test can tell the router's detection time from the
// cluster's by the events' timestamps.
package track
