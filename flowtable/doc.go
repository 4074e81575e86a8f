// Package flowtable holds the connections a node knows: the table that XDP
// reads for every packet, the TCP state machine that ages its entries, and the
// states a node keeps as backup for other owners.
//
// # The table
//
// Table is a hash index in front of two slot arrays: flows (this node is the
// owner; one slot, two directions, one shared state) and forwards (another node
// is the owner; one direction). All three live in memory given by the caller:
// mmapped BPF arrays in a node, plain slices in tests and in the simulator.
// The memory is pointer-free and layout.go fixes every byte of it, so the
// garbage collector never walks it and a restarted daemon can adopt it.
//
// The index is two-choice buckets of eight entries with bounded cuckoo
// displacement. It never loses a key and never evicts one: a table that is full
// refuses the new flow (ErrFull) and counts the refusal.
//
// # Copies
//
// BackupStore keeps what other nodes own, in the memory of Go: 29 bytes an entry, found
// by either direction of its key, and by a second key where it is joined. It too is made
// of two-choice buckets of eight, in shards that grow one at a time, up to 0.93 full. It
// never loses an entry, refuses when it is full, and has no pointers for the collector. What is
// rare about an entry is kept beside it, never cut off. It belongs to one goroutine.
//
// # Who may do what
//
// One goroutine writes (the brain); every method of Table belongs to it. XDP
// reads at any moment from any CPU, without locks, and writes only the second
// cache line of a flow slot and the tail of a forward slot. What makes that
// safe:
//
//   - An index entry is one 64-bit word, stored atomically. Displacement stores
//     the copy first and clears the original after it, so an entry is in two
//     places for a moment and never in none. A reader that looked at the second
//     place before and at the first place after still misses: a spurious miss,
//     which sends the packet to Go, where Lookup is exact.
//   - The words of a slot that Go owns are rewritten under Seq: odd while they
//     change. A reader copies them between two loads of Seq and uses the copy
//     only if both were equal and even; otherwise it treats it as a miss.
//   - A slot dies by losing FlowLive under Seq, before its index entries go, and
//     is not reused until Reclaim has seen a grace period pass: an XDP program
//     that found the slot just before may still be counting into it. The period
//     is the kernel's own (Grace), so it is exact however long a CPU stands still.
//   - The words that XDP writes are read through the atomic accessors in
//     counters.go and never through the fields.
//
// # Dying in the middle
//
// Each operation takes effect at one store, and New repairs what a killed
// writer left around it: see adopt.go.
package flowtable
