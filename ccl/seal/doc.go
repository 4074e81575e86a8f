// Package seal authenticates and encrypts the datagrams of the control link
// and keeps recorded ones out (CL4).
//
// A datagram is a header in clear and a payload under AES-256-GCM:
//
//	 0  version 4 bits, flags 4 bits (1 = broadcast)
//	 1  key id, so that two cluster keys are good during a rotation (CL10)
//	 2  version of the payload's format
//	 3  session of the sender, 8 bytes, random for each life of a daemon
//	11  counter, 8 bytes, grows by one with every datagram of the session
//	19  payload, and a tag of 16 bytes
//
// The key of a session is HKDF-SHA256(cluster key, session, label | sender), the
// nonce is the counter. The header, the sender's VTEP and the receiver's (zero
// in a broadcast) are authenticated along: a datagram for one member is worth
// nothing at another one.
//
// Within a session a sliding window (RFC 6479) refuses counters seen before.
// A session that the receiver does not know proves nothing by its tag: it may
// have been recorded last week. The receiver sends a challenge that names the
// session, with a nonce; only the living peer can answer it under that session. Then the session is
// current, the one before is dead for good, and every counter up to the
// response's is refused. Until then nothing of it reaches the caller: the
// sender repeats what matters once it has been challenged (see Opened).
//
// The nonce is a time with a MAC over it, peer and session, so that unproven sessions
// cost no memory and cannot push each other out. State exists only for peers
// that showed a valid tag, and for at most MaxPeers of them.
//
// A Sealer without keys (Clear) does everything but the cryptography: the
// simulator runs the same sessions and windows.
//
// The package never reads a clock, starts a goroutine, or sends: time and
// randomness are passed in, datagrams to be sent are returned.
package seal
