// Package core is one whole node without its I/O: membership, ownership, flow
// table and the link's protocol, wired together. The daemon puts AF_XDP, a
// VXLAN socket and a real clock around it; the simulator a virtual network and
// virtual time. Both run the same code.
//
// A Core belongs to one goroutine. It reads no clock: every entry point takes
// the time in nanoseconds of a monotonic clock.
package core
