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
// The invariants of invariant.go hold all the time: one owner (FR1), the copy is
// never at the owner (FR3), no protected connection is lost (FR11), claims
// resolve (FR14), nothing is left behind (FR15), the last healthy node keeps its
// cluster (EL9). That no two connections share a translation, and no two nodes a
// unit (NT4), is checked within every event, by the ledger.
//
// Hosts may send in fragments (fragments.go): of one datagram they take ways of their own,
// and leave with one translation (FR10).
//
// In the town (town.go) there are rules of every kind, pools that run out, and
// clients who are refused. Its oracle (oracle.go) is one node with the same rules,
// which meets the same clients; and one node is compared with the rules as a person
// reads them (book.go). And calm clusters of up to 63 nodes are held against the model
// of docs/scaling.md (scale.go).
package sim
