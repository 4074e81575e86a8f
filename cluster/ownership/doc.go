// Package ownership decides, for every packet the fast path could not settle,
// which node owns its connection, and keeps that answer the same on all nodes
// while they come and go.
//
// One Core is the role logic of one node: owner, director, backup owner and
// forwarder (SPEC FR). It is a pure state machine: packets, messages, views
// and ticks go in; verdicts, messages and table entries come out. It reads no
// clock, starts no goroutine and is not safe for concurrent use: one goroutine
// (the node's event loop, or the simulator) calls it.
//
// The promises:
//
//   - A connection has one owner. Its director answers the question "who owns
//     it" by compare-and-set: the first claim wins and every later one is sent
//     to the winner (FR1, FR7, FR14).
//   - The copy of the state lives at the first node of the director order that
//     is not the owner. That is the director, unless the director owns the
//     connection itself (FR3). When the owner dies, the first node in the new
//     order is exactly the one with the copy (FR11).
//   - Ownership carries a generation. A takeover adds one, a claim with a lower
//     generation loses, so a node that was away cannot win back what others
//     have adopted.
//   - A director that has not yet heard every owner since the last change of
//     view parks questions instead of inventing answers.
//   - With durability sync what begins or confirms a connection leaves when
//     another node has the state, or after a bounded wait, counted (FR13).
//   - A member that drains gives what it owns to who holds the copies, and
//     owns nothing new (EL10).
//   - An owner lends established connections to the nodes where their packets
//     enter, under a lease. It lets no port go while a lease may run (DESIGN 5,
//     NT4; lend.go is the owner's side, delegate.go the other, renewal.go both).
//   - It knows of every connection whether its copy was acknowledged (MG9).
//   - Nothing waits for ever: held packets, parked questions and entries whose
//     owner is dead all have deadlines (FR15).
//
// What it never does: touch packet bytes, resolve routes or neighbours, or
// judge policy; those are behind Router and Policy.
package ownership
