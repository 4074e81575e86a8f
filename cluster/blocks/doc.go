// Package blocks keeps which node may allocate from which unit of translation:
// a port block of a PAT pool's address, or an address of a one-to-one pool
// (NT2, NT3, NT4, NT8). Units are numbers; package nat knows what they mean.
//
// A Machine is one node's part. It is a pure state machine: views, messages,
// times and questions go in; messages and SetHeld come out. It asks nobody for
// the time and starts no goroutine; one goroutine calls it.
//
// # The promise
//
// At any instant at most one life of one node in the world may allocate from a
// unit: its holder (NT4). There is no majority and no allocator: a unit is a
// thing that is passed from hand to hand, and a side of a partition has what its
// members had in their hands. What may be in the hands of somebody who is not
// there is frozen, until it is certain that it is not.
//
// And the other way round: when everybody is back, or an operator has said that
// the rest is over (Forget), every unit is with its target again, and targets
// are fair: of 126 blocks four nodes hold 31, 31, 32 and 32.
//
// # How a unit moves
//
//	        give                        took
//	held --------> limbo of the giver --------> held by the receiver
//	  ^               |  |
//	  +---------------+  +---> nobody's: the receiver's life is over
//	   not taken in a                |
//	   view that is past             v
//	held <--------------------- thawed by the unit's director
//
// Target. Every node computes from the view which node should hold each unit
// (sharer): rendezvous hashing under bounds. Exactly equal shares cost some
// moves: without one of four nodes 29 % of the units have another target
// instead of 25 %, without one of sixteen 19 % instead of 6 %. Only idle units
// move.
//
// Return. In a unit that another node should have, connections begin only where
// there is no room in others (Ports.SetLeased): so it is idle when those that are in
// it have ended, whatever load goes on, and is given to its target. Connections that
// last keep it for as long.
//
// Give. A holder passes idle units to their target, or to whom asks because it
// is short of ports (Want). It stops allocating, writes that down, and sends.
// Gives to one life of a node are numbered, and repeated; the receiver takes
// each number once, in turn, and only in the view in which it was sent. So when
// the receiver speaks in a later view, the number that it took last says of each
// give whether it was taken or never will be. Nothing else ends the limbo of a
// unit as ours: not seeing that the receiver does not have it, for it may have
// passed it on.
//
// Thaw. A unit that nobody has is brought back by its director, the first of
// its rendezvous order, when
//
//  1. the view has every node that was ever a member (the roster), but for
//     those that left or were forgotten;
//  2. every member has announced, in this view, all that it holds and all that
//     it has held in this view, and the unit is not among it;
//  3. the rosters that the members have on disk are the same;
//  4. Settled: everybody has registered its connections in this view, so that the
//     director knows every use of the unit.
//
// A unit thaws whether connections use it or not: its director has the stubs of
// those that are left, which is what a holder needs. If it waited for the last one,
// every node that is away once, even in order, would take its blocks with it for as
// long as the longest connection lasts.
//
// The owner of a mapping makes connections through it without the unit. Of the newest
// the director may not have heard; it knows the mapping, and chooses nothing where
// that is.
//
// # Why this is safe
//
// Let V be the view of a thaw of unit u by its director D, and assume that some
// life H holds u, or takes it later otherwise than through D.
//
// The name of H is in V. By induction over the hands that u went through: the
// lineage is founded, and any unit thawed, in a view whose members all have each
// other's names on disk before anything happens (3). Whoever gives u to somebody
// has that name on disk, and in every disk's roster are all members of views
// that it was in. By 1, with a name all names in its roster are in V. Since
// names are unique and a node lives one life at a time, and the life in V is the
// newest, H is the life in V, or over.
//
// H has announced in V without u, so it got u later. Follow u backwards through
// the gives to the last one that was taken in a view older than V, or to where
// there was none: whoever had it then, P, had it in its hand, or in limbo, when
// it applied V, for a give counts in one view only, and a life applies views in
// rising order. P lives, or it could not have given u later; so by the above it
// is in V; so by 2 it has announced u in V, then or at any time later, because
// what it had in V it goes on announcing as past. This contradicts 2. Nor was u
// thawed by another: in V, it has one director; in a later view, 1 and 2 ask for
// D's own announcement there, so D has left V.
//
// The order in which announcements arrive, whether they are lost, repeated or
// cut in pieces, does not matter in this: each says what was had since V began.
//
// Two nodes never both think that they hold u after a give, because the giver
// takes it back only on the receiver's word that it will never take it.
//
// # Lives and processes
//
// A life (wire.Incarnation) that is over holds nothing: Lost, or a view that
// shows another life. Its units are nobody's until they thaw, with the ports that
// its connections use; adopted by others, these keep their ports (NT5).
//
// A process that is replaced within one life (HL5) leaves what it held in the
// Journal, and in which view; the next one Restores it and waits for Settled. It
// does not know what of that which its predecessor gave away in the present view
// has arrived. So it is unsure, which stops all thawing, until every member has
// answered to it: then what was sent before has been taken, or died with its
// channel (package ccl/reliable: the instance of an end changes with the
// process). From then on it announces as its own past what was given away and
// others hold or had.
//
// So what was on its way from a process that is killed is nobody's and thaws,
// unless somebody had it before in this view; then it does in the next one. What
// is on its way to one that is killed is repeated, and the next process knows
// from its Journal whether it was taken.
//
// # Other numbers
//
// A reload (NT7) cuts the addresses into other units. A numbering belongs to the
// view: all its members have it, and a life changes its numbering when it applies
// the first view with another one (Recut), in one step with applying it. What is
// passed on is passed on within a view, so numbers are never compared between two
// numberings: a give counts in one view only, and announcements carry the
// checksum of the pools besides.
//
// A unit is a name for ports. What a life has in its hand is a set of ports, and
// Recut only takes ports out of it: it keeps the new units of which it has all
// ports. The same for limbo: of a give that was sent under the former numbering
// the giver takes back, on the receiver's word that it was not taken, only new
// units of which all ports were in it; and if it was taken, the receiver had it
// in its hand before it changed. So at no moment do two lives have a port, if
// they had not before; it does not matter in which order they apply the view.
//
// The argument about a thaw, above, goes for ports. Let D thaw u in V, under V's
// numbering, and let H have a port of u, in a unit of whatever numbering. By 1,
// H is the life in V or over. By 2, it has announced in V, so it has V's
// numbering, or had. In V units do not overlap, so what it had in its hand in V
// either was u, which 2 excludes, or had no port of u. So it got the port later,
// from a hand of a life in V that had it in V, which 2 excludes as well, or by
// another thaw, in a later view W, of a unit that overlaps u. Then the argument
// for that thaw goes for D: D is in W, has its numbering, and did not have the
// port, or has lost its life.
//
// Protocols without ports belong to the first unit of an address (package nat):
// that right is passed on with the old first unit only, as if it were one more
// port.
//
// Larger units have several holders' ports. Where a new numbering made u of
// several units that nobody held together (remade), and connections use it, what
// rests after its connection's end is known to former holders that live: its
// director waits for RemakeAfter, which is as long as that can take.
//
// # What rests
//
// A port whose connection has ended rests for the hold-down (NT5). Who saw the end
// knows that: the connection's owner, and who had its stub. A holder knows it of all
// of its unit, and gives only units where it is over. So it has to be handed over
// where a unit thaws.
//
// A member tells the director at the end of its round (TellRests): what ended before
// rests there, or awaits its hold-down and is said to (Entombed); what ends later has
// been registered, so the director sees it end. Its word is there when the view is
// Settled, because it travels before the end of the round in the same channel. A unit
// in which anything is known to rest is not idle for its director.
//
// What only the holder knew it says when it departs in order, to everybody, with the
// units in which nothing rests (sendWord). A director that has its word, and since then
// those of the members, knows all, and the unit rests until the last of that is over,
// or not at all (Ports.Rest). Nobody can have taken the unit in between whom the
// director does not know of: that takes a view that the director applies, too, and
// then a claim, or a departure that says more, ends the word; and so does every member
// that is gone without a word (keepWords).
//
// Where the holder is over without a word, as when it died, what it knew is lost: a
// unit in use rests for a whole hold-down. An idle one does not, unless something is
// known to rest there: what only the dead holder knew is cut short. No connection that
// lives is concerned (NT4), but NT5 asks for more.
//
// All this travels as durations, rounded up, that begin when they arrive: the time on
// the way makes a rest longer. It is told by the unit, not by the port, so in a unit
// whose connections come and go nearly a whole hold-down is left.
//
// A unit that rests is held all the time, and its journal has until when: so the rest
// goes on after a fence, in the next process (RestJournal), and under other numbers.
//
// # Founding
//
// Units are made once. A control node that, like all members of its view, has
// never heard of a lineage founds one, if nobody is missing that any of them
// ever met, and if Config.Found allows it. Everybody joins when it hears of it.
// Nobody holds anything then, so the directors thaw all units.
//
// Two nodes that never met may each found a lineage, when both may and both are
// alone at their first start. That cannot be seen from inside. When they meet,
// the smaller number stays, and the members of the other give up what they hold
// and join it: one holder of each unit from there on, but what was allocated
// before may collide.
//
// # What a disk is for
//
// Memory is the lineage and the roster. A node that does not remember its
// lineage could found another one; a node that does not remember whom it had
// let in could complete a roster that is not complete, while the newcomer, cut
// off, holds units that it got from the former life. With Config.Remember nil,
// or a disk that is wiped, both can happen after every witness has lost its
// life while a partition lasts. Without such a coincidence nothing is lost.
//
// The price: after a failure of power that one node does not survive, all units
// are frozen until an operator says that it is over (Forget). From inside, it
// might as well be alive and serving at the other end of a cut cable.
//
// Forget is a promise: the node is over, or comes back empty, and nobody lives
// whom it alone had let in. An orderly Leave does it by itself. Where the promise
// is false, because the node was only cut off, both sides use the same ports while
// the cut lasts: nothing can prevent that from inside. When they meet, the roster
// tells the node that it was forgotten (RosterEntry.Forgotten), and a life that
// brings units with it then gives up everything and ends (Config.Forgotten);
// before it has heard everybody, it passes nothing on.
//
// # What others know
//
// Everybody keeps the newest announcement of every member of the view. Those of
// former members decide nothing here: a thaw rests on what those who are there
// say, and on nobody being missing. The last holder of a frozen unit is kept
// for Status, where it was heard.
//
// # Cost
//
// An announcement lists ranges, two or three bytes each, in messages of at most
// 480 bytes. A change is announced at once, to all, as the part of the units
// that changed. A view costs one announcement to every member and the
// computation of targets, 15 ms for 32,000 units and 16 nodes. Ten times a second
// the sets are compared, 64 units at a time; Idle is asked for held units only
// where some have another target.
package blocks
