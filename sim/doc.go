// Package sim runs whole nodes (node/core: membership, ownership, flow table
// and the link's protocol) on a virtual clock and a virtual network, with
// clients and servers that talk through them, and breaks things at random
// moments (DESIGN 8.2).
//
// Everything follows from one seed: the same seed gives the same run, event by
// event, so a violation is reported as a number that replays it. What the
// kernel does for a real node (the XDP fast path, the routers' choice of next
// hop, the VXLAN link) is modelled in small: fastpath.go, router.go and
// network.go say how.
//
// After every step the invariants of invariant.go hold: one owner (FR1), the
// copy is never at the owner (FR3), no protected connection is lost (FR11),
// claims resolve (FR14), nothing is left behind (FR15), the last healthy node
// keeps its cluster (EL9).
package sim
