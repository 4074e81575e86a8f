// Package sequence chooses the initial sequence numbers that TCP connections show
// to their responder, and reads the owner out of them (SPEC FR5).
//
// The owner replaces the initial sequence number (ISN) of the initiator by one that
// nobody can foresee who lacks the cluster's key, and that says to everybody who has
// it which node owns the connection. A responder acknowledges it in its SYN-ACK. So
// any node that gets the SYN-ACK knows where it goes, and asks nobody.
//
// The 32 bits:
//
//	16 bits  upper half of the initiator's ISN, moved by the node and a keyed hash of the tuple
//	16 bits  keyed hash of the tuple and of that part of the upper half that no node
//	         moves in another way than the others, plus 97 times the node's number
//
// The tuple is that of the responder's packets as they are received, so that the
// SYN-ACK alone is enough. What follows:
//
//   - An acknowledgement of any other number passes for that of one of n nodes with
//     a chance of n/65,536. Then the packet goes to a node that does not own it, and
//     that one asks the director.
//   - The ISNs of one initiator that lie further apart than 65,536 keep their order
//     for one tuple and owner; nearer ones (4 ms of Linux's clock) may become the same. So a responder that still has the last connection in
//     TIME-WAIT takes the next one as it would have without us (RFC 6528, RFC 6191).
//   - Two nodes that get copies of one SYN (FR14) choose numbers that are far apart: by
//     Apart at least, and as far from the initiator's own. So a responder's
//     acknowledgement, of a SYN and of some data, is of the number of one node alone.
//     A responder that knows one takes the other for something outside its window and
//     answers with an acknowledgement (RFC 9293, 3.10.7.4), which resets nothing.
//     Numbers close together would be worse: a SYN inside the window ends a handshake.
//   - Two nodes' numbers of one SYN are as far apart whatever the SYN's was: who knows
//     one, as the owner that remains does, or a copy, knows those that the others would
//     have chosen (Other). So it can tell by what the responder acknowledges which one
//     that has taken, and goes on with it. Of the initiator's own number a made one says
//     the upper half only.
//   - The lower half of a tuple and owner comes again with initial numbers that lie a
//     multiple of 64 MiB apart. The upper half is as hard to guess as the initiator's.
//
// The functions are pure and never allocate. A Space is immutable: any number of
// goroutines may use it.
package sequence
