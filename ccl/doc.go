// Package ccl is the cluster control link: how members talk.
//
// From bottom to top: a Link is the kernel's VXLAN device and a UDP socket on
// it (CL1, CL2); package seal authenticates datagrams and proves that their
// sender is alive (CL4); package reliable orders and repeats state messages
// (CL7); package wire is their format. An Endpoint joins the last three without
// any I/O, so that the daemon and the simulator run the same code. A Prober
// proves on join that full-sized packets cross (CL3).
//
// Messages come in two ways. Send is reliable and ordered for one peer;
// Datagram may be lost and goes to one peer or to all. Messages of the
// membership class (wire.Type.Control) have their own reliable channel and
// their own socket, and are sent before any state message (CL5).
//
// Forwarded data frames are not handled here: XDP takes them off the same
// VXLAN before the kernel sees them. docs/ccl.md has the byte tables.
//
// All times are monotonic nanoseconds passed in by the caller. One goroutine
// owns an Endpoint and its Link.
package ccl
