// Package campaign proves on real daemons in real namespaces what the design
// promises of a whole cluster: connections complete when every packet meets a
// random node, and none is lost when a node, a daemon or a role dies.
//
// Its tests are a short slice by default. Flags make them the whole proof and
// write what was measured:
//
//	go test ./testenv/campaign                       the slice, part of make test, two tests at a time
//	make campaign                                    full size, results in docs/results
//	make campaign RUN=TestFR11 ROUNDS=20             a part of it
//
// Losses are failures; times are only reported, because a machine that runs
// clients, routers, nodes and servers on its few CPUs measures itself too.
//
// The tools here:
//
//   - Streams are UDP flows with sequence numbers: every lost packet is counted
//     in its direction, and gaps are measured in milliseconds. TCP cannot do
//     that: its retransmission timer doubles, so it notices the end of a gap
//     late.
//   - Talks are TCP connections that exchange a block every interval, verify
//     its content and know their stalls and retransmissions.
//   - Openers begin short connections all the time, from the same few ports at
//     several clients, and keep the fate of each; Paths are the nodes that the
//     routers saw each of them meet.
//   - Arrivals begin connections all the time and keep them, so that some were
//     opened a moment before whatever happens; Removals are who left the views,
//     by the histories of all nodes; a Failure is a row of the table of them.
//   - Holders are who holds which block of a NAT pool, by the word of all nodes.
//   - A Census is who holds which connection in which role on all nodes.
//   - Counters reads what XDP counted out of the kernel, also when the daemon
//     that loaded it is dead.
package campaign
