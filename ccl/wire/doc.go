// Package wire holds the messages of the cluster control link and their byte
// format.
//
// A message is a type byte, the length of its body as a uvarint, and the
// body. A batch is messages one after another; there is no count and no
// terminator. A zero byte where a type is expected is padding (probes are
// filled with it). A type that this version does not know is skipped by its
// length and counted, so that a newer node can say more than an older one
// understands; a known type with a body that is too short, too long or out of
// range is an error, never a guess and never a panic.
//
// Numbers below 128 take one byte (uvarint); addresses and ports are in
// network byte order. A flow key costs 13 bytes, a Claim 21 to 24, a
// Close 16 (CL8). docs/ccl.md has the tables, and
// testdata/golden.txt one example of each type that must never change.
//
// Every message is a plain value; Message is implemented by the value types,
// so that two messages can be compared and a type switch has one case a type.
// Append does not let its argument escape: Append(b, Claim{...}) allocates
// nothing. Decode returns a boxed value and therefore allocates; the receiver
// of many messages uses a Decoder, which decodes into structs it keeps and
// hands out pointers that are valid during the call.
//
// The package knows nothing about sockets, keys or time.
package wire
