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
//	Forward  sent on: as owner, or over the CCL to the owner or a director
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
// Then Ethernet, IPv4, and the index. A packet that has an entry is judged
// completely before its first byte is changed. IPv6 leaves at once: to the host if
// it is for the node or of its link, else it is dropped.
//
// What comes after a miss costs established traffic nothing. First, is the
// destination a translated address (steer.h)? Then the port says which unit the
// packet belongs to, and it goes to the unit's director, with no query and no
// entry (FR6). Is it an address of the node's own? Then the host gets it. All
// else goes to Go.
//
// # Order of decisions on the control link
//
// The headers must be those of a living member of this view. Then the index, as
// above. A packet that meets a forward entry goes to Go: its sender believed
// that this node owns the connection. One exception: it is addressed to a unit
// that this node directs, where its sender had to send it. That is relayed to
// the owner, if the owner is alive and not the sender. Each relaying costs a hop
// of CCL_MAX_HOPS, so nodes that disagree about owner and director cannot keep a
// packet between them. What arrives here is never steered.
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
