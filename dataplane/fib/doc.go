// Package fib answers "where does a packet for this address go": it turns the
// kernel's routes and neighbours into the nexthop entries that XDP reads.
//
// The kernel is the authority (SPEC TR1), so any routing daemon works: it is
// asked with RTM_GETROUTE, and its answers are remembered in a bounded cache
// until routes change; a neighbour's state is followed by netlink. An entry of
// the shared array stands for one neighbour on one data interface. It is valid
// exactly while the kernel holds a usable hardware address for it and the link
// is up; everything XDP finds invalid comes back to Go.
//
// # Answers by prefix
//
// The table keeps the set of all prefixes by which the kernel tells addresses
// apart: those of the routes of all tables, of the rules' destinations, and a few
// that Linux treats specially. They are read at start and after a loss of events;
// events add to them. Two addresses with the same longest prefix in the set are
// covered by the same routes and rules, so one answer serves both. A prefix whose
// last route is gone stays until the next read: that only divides finer.
//
// The kernel can be ahead of its events. An answer is therefore taken for its
// prefix only if no event is waiting (events are received with the table locked,
// so none is between the socket and the table) and if the route in it is no more
// specific than the prefix. What is left is the moment, some microseconds, in
// which the kernel already answers by a new blackhole route or a new rule with a
// destination but has not sent the event: an answer of that moment serves the
// rest of its prefix until the event comes, which makes all answers void.
//
// An answer that does not follow from the route alone is kept for one address
// (see load.chosen). While the set is not complete, or too large, all are.
//
// # Keeping neighbours
//
// The kernel sees none of the traffic, so it neither resolves nor refreshes
// neighbours for us. Both are asked for in one way: RTM_NEWNEIGH with NTF_USE,
// which tells the kernel "a packet was just sent there". It creates the entry
// if there is none and starts ARP, or moves a STALE one to DELAY and PROBE. A
// stale neighbour that has an entry is asked at once, a failed one when the
// next packet looks for it, at most once a second. (A UDP send to the discard
// port would do the same, but needs a usable source address, passes the host's
// packet filter, and reaches the neighbour.) Permanent entries are never
// touched: NTF_USE would take the permanence away. For the same reason a
// neighbour the table has not heard of is only ever created (NLM_F_EXCL).
//
// # Concurrency
//
// Every method may be called from any goroutine. One goroutine follows
// netlink and updates entries at once, without waiting for the event loop;
// Changed tells that there is something to Take. The table is the only writer
// of the nexthop array.
//
// An entry's number is never given to another neighbour while a flow may still
// hold it: Collect frees numbers, and asks about each of them. It must be called
// before they run out: a scan of a network takes one for every address.
package fib
