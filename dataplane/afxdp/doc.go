// Package afxdp moves raw Ethernet frames between Go and XDP through AF_XDP
// sockets: one shared packet memory (Umem), one Socket per interface and
// queue.
//
// # Life of a frame
//
// A frame is a fixed-size chunk of the Umem and always has exactly one
// holder: the allocator, the caller, or one socket.
//
//	allocator --Fill--> socket --Receive--> caller --Transmit--> socket --Complete--> allocator
//	                                          `----- Free -----------------------------^
//
// All sockets of one Umem share it, so a frame that came in on one interface
// leaves on another without a copy.
//
// # What it promises
//
//   - Receive, Transmit, Fill, Complete and Kick do not allocate.
//   - A frame is never with two holders; freeing a frame twice panics, because
//     it would hand one connection's bytes to another.
//   - Close unmaps everything it mapped, gives a socket's frames back to the
//     allocator, and may be called twice.
//   - Packets larger than a frame come as several descriptors (RxMore), when
//     the kernel knows multi-buffer AF_XDP (6.6 and later).
//
// # What it never does
//
// It loads no program and touches no map: the caller puts Socket.FD into its
// XSKMAP. It starts no goroutine and takes no lock: a Umem and all its sockets
// belong to one goroutine.
//
// XDP metadata: what a program put in front of the packet with
// bpf_xdp_adjust_meta arrives in front of the packet in the frame too (copy
// mode copies it, zero copy leaves it there); see Umem.Meta.
package afxdp
