// Package nat translates addresses and ports of a cluster's connections (NT1 to
// NT9). It is pure: no clock, no randomness of its own, no goroutines, no I/O.
//
// It has three parts, each in files of its own:
//
//   - Rules (compile.go, rules.go): given a new connection, what is its real
//     destination, and what source does it leave with? Immutable; asked once a
//     connection, at whatever node the first packet met.
//   - Geometry (geometry.go): the numbering of the units that the pools are cut
//     into. Immutable, the same on all nodes.
//   - Ports (ports.go, allocate.go): which of the units one node holds, and the
//     choice of a port. One goroutine.
//
// # One tuple, one node
//
// The invariant (NT4): no two live connections in the cluster share mapped
// address, protocol, mapped port, remote address and remote port. Nothing that
// is asked at the moment of allocation can promise that when the cluster may
// fall apart at the same moment. So the right to allocate is handed out before:
// a unit, a block of ports of one address, is held by at most one node, and only
// its holder allocates from it. Who holds what is the business of package
// cluster/blocks, which tells Ports by SetHeld; Ports is why this is enough:
// it gives out ports of held units only, never a key that exists here, and
// counts the uses that others make of these units, because their stubs are here
// (Use, Release).
//
// The reply key, "k1" (ReplyKey), is the tuple that must be unique: a
// connection's packets as its responder sends them. The unit of a reply key is
// arithmetic on its destination (FR6), so that any node finds the one that knows
// it. Protocols without ports have port 0; the first unit of the address stands
// for it (Geometry.UnitOf, Home).
//
// # Rules
//
// Rules are tried in their order and the first that matches decides. Static
// rules work both ways; Destination undoes them for packets that come to the
// mapped side, and answers NoXlate for an address of NAT's that nobody mapped:
// such a packet must not be routed, the routers would send it back. Existing
// connections and mappings never get here: the flow table is asked first.
//
// Hairpinning (RFC 4787 REQ-9) needs both halves: a host that uses the mapped
// address of another one on its own side gets the real destination from
// Destination, and an external source from Source, as if the packet went round
// by the outside.
//
// # Mapping and filtering
//
// The default is address-and-port-dependent for both (RFC 4787, 4.1 and 5): a
// mapped port belongs to one remote, and may serve others, of other hosts, at the
// same time. So one public address is not limited to 64,512 connections. Where
// a rule asks for endpoint-independent mapping, the port is the host's alone
// (Request.Exclusive): a mapping is a pseudo connection to 0.0.0.0:0, and while
// its reply key is in use nobody else gets the port (RFC 4787 REQ-1; REQ-3, no
// port overloading). A whole address that is lent (Dynamic, NT8) is such a
// mapping of all ports.
//
// # The choice of a port
//
// Paired pooling first (RFC 4787 REQ-2): a host has one address, by rendezvous
// hashing, the same on every node. Then the original port if it is held and
// nobody has it: free towards this remote alone would not do, for a host that
// speaks with two remotes from one port would have one mapping or two as it
// happens (RFC 4787, 4.1), and tests of NAT behaviour different results. Then a random
// unused port (RFC 6056, 3.3.1; RFC 7857 asks NATs for it) of the units in use:
// idle units are left alone, because another node may be short of them (NT3).
// Of these first those whose second keys go to the node that has the connection's copy
// (SetKeepers): one entry and one message do for both there.
// Then, and only then, a port that serves other remotes. Port parity and
// contiguity (RFC 4787 REQ-4) are not preserved.
//
// Protocols are apart (RFC 7857: mappings are protocol dependent): TCP, UDP, and
// ICMP queries, whose identifiers are their ports (RFC 5508, REQ-1).
//
// # Hold-down
//
// A tuple that is given back waits before it is given out again, two minutes by
// default (RFC 6888 REQ-8), as an exact tuple: another remote may have the port
// at once, which REQ-8 c allows for our filtering. The end of a mapping holds
// its port against all remotes, and a mapping gets no port that rests towards any
// (portrest.go): it may let all of them in. REQ-8 a lets TCP connections whose end was seen
// go without waiting: whoever calls Release decides. Hold-down is hard: a tuple
// that waits is not given out even if the pool is empty otherwise, so with one
// remote an address serves at most 64,512 connections in HoldDown. The number of
// tuples that wait is bounded (Config.HoldDownMax); beyond it the oldest wait
// ends early, and that is counted.
//
// A unit is idle, and may be handed over, when it has no use and the last
// hold-down in it is over (NT5).
//
// # Blocks per host
//
// With Pool.MaxBlocksPerHost a host takes ports only from units of its own
// (hosts.go; RFC 6888 REQ-4, RFC 7422), so one log record a block is enough (RFC
// 6888, 4). How many a host may have in the cluster is counted by the host's
// director, not here.
//
// Timeouts of connections (RFC 4787 REQ-5, RFC 5382 REQ-5, RFC 7857) are the flow
// table's; translation of ICMP errors (RFC 5508 REQ-4) is package packet's.
package nat
