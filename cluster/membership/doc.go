// Package membership decides who belongs to the cluster and who is its control
// node: election, heartbeats and views (SPEC EL, HL1, HL5).
//
// A Machine is the membership of one node. It is a pure state machine: messages
// and times go in, messages, views and events come out through Output. It opens
// no socket, reads no clock, starts no goroutine and uses no randomness, so a
// scenario is a text file (testdata) and a thousand random networks are a test.
//
// # The life of a node
//
//	disabled -> election -> joining -> in sync -> fenced -> (Rejoin) election
//	                \----- control node -----/
//
// A node without a cluster broadcasts election requests. It becomes control
// node when everybody has answered and nobody is better, or after ElectionWait
// without a better answer (EL1, EL2). A node that hears a control node asks it
// for admission; a better priority does not pre-empt (EL3). The control node
// checks the candidate (EL8) and publishes views: whole lists of members with a
// (term, epoch). A node applies a view only if it is newer and names this very
// incarnation (EL6); so everybody goes through a subsequence of one sequence of
// views. Views are sent to each member and repeated until its heartbeats show
// them; members pass them on to a member that lags for longer.
//
// # Terms
//
// No majority is asked: the last healthy node must go on (EL9), and both sides
// of a partition serve (EL5). Hence two nodes may open a term at the same time.
// A term therefore carries the host part of the address of the control node
// that opened it: one term has one control node, always, and (term, epoch)
// names one view, also after all nodes have begun anew: each knows the newest of its
// former lives (Config.LastTerm). Only a node that loses its state directory, or dies
// before its disk has the view, and meets nobody can repeat itself.
//
// # Death
//
// A member that was not heard for the hold time is removed. After two thirds of
// it, it is asked directly; two lost heartbeats kill nobody. A node that was
// heard last at t leaves the view at t + hold, within the time until the event
// loop runs; as its last heartbeat may be a third of the hold time old when it
// dies, that is 67 to 100 % of the hold time after its death. Those whose
// silence ends in the same tick leave by the same view. A node that returns in
// a new incarnation before that is replaced by one view.
//
// When the control node is silent, the best of those that are there takes over
// (EL4). All members that hear each other must miss it first: each tells the
// others so at once when its own hold time is over, and as all received the
// same last heartbeat, that costs one round trip. Established traffic does not
// need a control node.
//
// # Split brain
//
// Both sides serve. After the heal, the nodes of the side with the worse control
// node ask the better one for admission with the incarnation that they have,
// and go on in their own view until the common one, of a newer term, reaches
// them (EL5). Nobody loses its flow table. A side that hears, in the moment of the
// heal, that the other has gone on without it does the same, see severed.go. A side that
// may not merge (a failed check) is fenced: two sides that stay apart on one network
// must not both serve.
//
// # Links that work one way
//
// The rule: a node that hears members of a cluster never founds another one, and
// a member that others have gone on without stops, if it heard one of them.
//
//   - The control node does not hear a member: it is removed, told so by the
//     view, fenced, and stays out (joining) until its Join gets through.
//   - A member does not hear the control node, others do: its heartbeats show
//     that; after another hold time it is removed, and learns it from another
//     member. It stays out (election) as long as it hears members.
//   - The control node hears nobody, and is heard: it drops all by one view and goes
//     on alone. They see that they are more than it keeps, count it as gone, and
//     elect (EL4). Of two nodes the control node stays. See deaf.go.
//   - A control node that does not answer who asks it for admission, for two hold
//     times, does not hear it, however well it is heard and whatever its priority: who
//     hears another control node, too, asks that one. See deaf.go.
//   - A control node that hears others but is heard by nobody: the others elect.
//     It removes them and serves alone, as in a partition, and after the heal
//     the better of the two rules.
//   - Two data nodes that do not hear each other: both stay; Status shows it. If
//     the control node dies then, the one that is left behind asks to be taken
//     along for a hold time, and is fenced after it.
//
// Where all nodes hear each other there is one control node in the end. Without
// that, no two control nodes that hear each other both ways.
//
// # The configuration
//
// A view carries a checksum of the configuration that all its members run (NT7).
// Nodes say in heartbeats for which other one they are ready (Prepare). When all
// members show the present view and are ready for the same, the control node
// makes a view with it. So a configuration changes at a fence: what a node says
// under a view's tag it says under that view's configuration. Nobody applies a
// view that it is not fit for: such a node is fenced, and such a joiner refused.
//
// # The lease
//
// Others adopt the connections of a removed node. So its fast path must be silent
// by then, even if its daemon is dead or stopped (HL5). Every heartbeat allows
// the node to forward for 0.6 hold times more (LeaseUntil). The argument: let
// the last heartbeat that was sent at s be lost and the one before it, at
// s - hold/3, be heard. The others remove the node no earlier than at
// s - hold/3 + hold = s + 0.67 hold; its lease ended at s + 0.6 hold. Data frames
// do not count as heard, or a dead daemon's fast path would keep it alive. A
// process that finds that its lease has run out while it did not run is in
// doubt: it does not renew before the control node has confirmed the view (or,
// for a control node, a member; or nobody objected for a hold time), and if the
// cluster went on without it, it is fenced: flush, new incarnation, rejoin. The
// answers that count are those to a question asked after waking up; packets
// that waited in its queue are older.
//
// The lease is not tied to being heard. A node cut off from all others loses
// its membership of their view and goes on in its own, with its own connections:
// that is split brain by design, and no local clock can tell it from the death
// of all others. What the lease excludes is the one thing that a partition does
// not explain: a fast path without a mind.
//
// # The fast profile
//
// With Config.Fast, beats of a process beside the event loop say that a node lives
// (HL7, package pulse): Attended and Beat tell the machine of them. A life that
// beats is silent when they are missing, and when its loop has stood still for the
// hold time. Everything else is as without, but for the lease, which the pulse gives
// within LeaseUntil; Lapsed says that it ended against the machine's will.
//
// # Times
//
// All times are nanoseconds of one monotonic clock of the caller. After every
// input the machine must be given a Tick at Next. Time in which the caller was
// late is not counted as silence of others.
package membership
