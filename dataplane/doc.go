// Package dataplane owns everything of a node that touches packets: the XDP
// programs and their maps (Dataplane) and the AF_XDP sockets over which XDP
// hands packets to Go (IO). It decides nothing: which packets go where is the
// caller's say.
//
// # Restart
//
// Maps and links are pinned below Config.PinDir. A daemon that dies leaves a
// fast path that forwards established connections until its lease ends and
// then drops everything (SPEC HL5). The next daemon adopts maps and links with
// their contents and replaces the programs in place, without a gap. Maps of
// another layout version or size are not interpreted: they are replaced by
// empty ones, and Adopted says so.
//
// # Concurrency
//
// Open, Close and the setters belong to one goroutine. Shared memory follows
// the contract in bpf/layout.h. Counters may be called from any goroutine. An
// IO belongs to the one goroutine that runs the event loop.
package dataplane
