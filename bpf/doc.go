// Package bpf holds the XDP programs and their generated bindings, and nothing
// of ours besides: loading, pinning and meaning belong to dataplane.
//
// # Programs
//
// xdp_data runs on every data interface, xdp_ccl on the cluster control link.
// Both are a list of stages (stages.h). A stage looks at the one struct packet
// and either settles the packet with an Outcome or lets the next stage look.
// There is one exit, which counts the outcome, and each packet has exactly one:
//
//	Pass     to the host: ARP, its own addresses, what no router forwards
//	Forward  sent on: as owner, or to the owner over the CCL
//	Punt     to Go over AF_XDP, with a struct punt in the metadata
//	Drop     gone, for a reason that has a name and a sentence
//
// The programs decide nothing that Go did not decide before: they read what Go
// wrote (layout.h) and write counters and time stamps. They never allocate,
// move or free an entry. Whatever they cannot settle goes to Go unchanged: with
// its time to live, addresses and length as they came, behind an Ethernet
// header (without addresses if it came over the CCL).
//
// # Order of decisions on a data interface
//
// Lease and view first: without them nothing passes, ARP and ping included.
// Then Ethernet, IPv4, and the index. The node's own addresses come after a
// miss, so that an entry wins (a translated connection ends at an address of
// ours) and established traffic does not pay for the check. A packet that has
// an entry is judged completely before its first byte is changed.
//
// # What Go must know
//
// The lease and the time stamps of entries are compared with and written from
// the coarse clock: CLOCK_MONOTONIC as of the last timer tick, so a lease ends up
// to one tick (10 ms at most) late.
//
// Punt.Ref is a hint: the entry may have changed or gone since. 0 means that the
// packet was not looked up or not found; when it was not looked up, Tag is 0 too.
//
// The variable only_iface in the spec of xdp_data may be set to the logical
// interface the program will be attached to; it then saves the search in
// ifindex_to_iface, about a fifth of what a cached packet costs.
//
// # Concurrency
//
// Go may write any mapped word at any time. A slot is copied between two reads
// of its sequence word (odd while Go writes; the same for next hops), and a copy
// that changed meanwhile is not used: the packet is punted as busy. The order
// of these loads is x86's; the objects are built for amd64 only.
//
// Kernel: 6.1 or newer (multi-buffer XDP, 32 bytes of metadata).
package bpf
