// Package traffic makes load through a topology and says what became of it:
// TCP and UDP exchanges, pings, a download, a pool of mostly idle connections,
// and real programs (curl, ssh, ping, iperf3).
//
// Everything is bounded by its numbers, its time-outs and its context, and
// everything a function started has ended when it (or Close) returns. Content
// is checked byte by byte: a connection that delivers wrong bytes has failed.
//
// A stall is the longest time a connection waited for the next sign of life
// from the other side: connecting, a round trip, or a gap in a stream.
package traffic
