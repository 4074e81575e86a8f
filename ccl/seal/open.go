package seal

import (
	"crypto/cipher"
	"encoding/binary"
	"net/netip"
)

// Opened is what a datagram brought. Its slices are valid until the next call
// of a method of the Sealer.
type Opened struct {
	// Payload to be handled; nil unless the reason is Accepted.
	Payload []byte

	// Counter of an accepted datagram: of two of a session, the one that was sent later
	// has the higher one, whichever arrives first.
	Counter uint64

	// Response and Challenge are payloads to be sealed for the peer and sent,
	// nil for none: the answer to its challenge, and ours.
	Response, Challenge []byte

	// Proved says that the peer's session has just become current. Restarted
	// says that it replaced another one: the peer has lost what it knew.
	Proved, Restarted bool

	// Resend says that the peer, known to be alive, does not or did not know
	// us: everything sent to it before this moment was refused.
	Resend bool
}

// Open judges a datagram from a peer's VTEP address. It allocates nothing for
// a session that is current.
func (s *Sealer) Open(now int64, from netip.Addr, b []byte) (Opened, Reason) {
	from = from.Unmap()
	o, r := s.open(now, from, b)
	s.count[r]++
	switch {
	case r == BadVersion, r == UnknownKey, r == BadTag, r == OtherFormat:
		s.strange(now, from, r, b)
	case len(s.foreign) > 0 && (r == Accepted || o.Proved):
		delete(s.foreign, from)
	}
	return o, r
}

func (s *Sealer) open(now int64, from netip.Addr, b []byte) (o Opened, r Reason) {
	if from == s.local {
		return o, Reflected
	}
	key, r := s.header(b)
	if r != Accepted {
		return o, r
	}
	id := binary.BigEndian.Uint64(b[3:])
	counter := binary.BigEndian.Uint64(b[11:])
	p := s.peers[from]
	var ses *session
	switch {
	case p != nil && p.current != nil && p.current.id == id:
		ses = p.current
		if ses.seen.seen(counter) {
			return o, Replay
		}
	case p != nil && p.isDead(id):
		return o, StaleSession
	default:
		ses = &session{id: id}
	}
	payload, ok := s.decrypt(ses, key, from, b)
	if !ok {
		return o, BadTag
	}
	if len(payload) == 0 {
		return o, Truncated
	}
	if b[2] != s.format { // after the tag: who says so has the key
		return o, OtherFormat
	}
	if p == nil {
		if len(s.peers) >= MaxPeers {
			return o, TooManyPeers
		}
		p = new(peer)
		s.peers[from] = p
	}
	current := ses == p.current
	if current {
		ses.seen.mark(counter)
		p.key, p.heard = b[1], true
	}
	switch {
	case payload[0] == KindChallenge:
		return s.challenged(now, from, p, ses, payload)
	case payload[0] == KindResponse:
		return s.responded(now, from, p, ses, counter, payload)
	case current:
		o.Payload, o.Counter = payload, counter
		return o, Accepted
	}
	o.Challenge = s.challengeFor(now, from, p, id)
	return o, Unproven
}

// header checks everything that needs no key and returns the key's place.
func (s *Sealer) header(b []byte) (key int, r Reason) {
	if len(b) < s.Overhead()+1 {
		return 0, Truncated
	}
	if b[0]>>4 != Version || b[0]&0xf&^flagBroadcast != 0 {
		return 0, BadVersion
	}
	if s.clear {
		if b[1] != 0 {
			return 0, UnknownKey
		}
		return 0, Accepted
	}
	if key = s.ring.index(b[1]); key < 0 {
		return 0, UnknownKey
	}
	return key, Accepted
}

func (s *Sealer) decrypt(ses *session, key int, from netip.Addr, b []byte) ([]byte, bool) {
	if s.clear {
		s.plain = append(s.plain[:0], b[HeaderSize:]...)
		return s.plain, true
	}
	aead := ses.aead[key]
	if aead == nil {
		aead = s.ring.keys[key].sessionKey(ses.id, from, s.use)
		ses.aead[key] = aead
	}
	to := s.local
	if b[0]&flagBroadcast != 0 {
		to = netip.Addr{}
	}
	s.bind(b, from, to)
	plain, err := s.openInto(aead, b[HeaderSize:])
	return plain, err == nil
}

func (s *Sealer) openInto(aead cipher.AEAD, sealed []byte) ([]byte, error) {
	plain, err := aead.Open(s.plain[:0], s.nonce, sealed, s.aad)
	if err == nil {
		s.plain = plain
	}
	return plain, err
}

// challenged answers a challenge of our present session, from whatever session
// it comes: the answer is worth something only to the one that made the nonce.
// A challenge of another session was caused by a recording. Only a session that
// is current can make us send anything again, or a recorded challenge could.
func (s *Sealer) challenged(now int64, from netip.Addr, p *peer, ses *session, payload []byte) (o Opened, r Reason) {
	if len(payload) != challengeSize || binary.BigEndian.Uint64(payload[1:]) != s.session {
		return o, BadHandshake
	}
	if p.response.take(now) {
		s.response = append(append(s.response[:0], KindResponse), payload[9:]...)
		o.Response = s.response
	}
	if ses == p.current {
		o.Resend = true
		return o, Handshake
	}
	o.Challenge = s.challengeFor(now, from, p, ses.id)
	return o, Handshake
}

// responded makes a session current that has proved itself. Every counter up
// to the response's is refused from then on: a datagram recorded before a
// restart of this node must not be new to its next life.
//
// A response may arrive late, after the peer has restarted and its next
// session has proved itself. The times of the challenges tell: the newer
// session existed when it was challenged, so the older one was dead by then
// and cannot have answered any later challenge.
func (s *Sealer) responded(now int64, from netip.Addr, p *peer, ses *session, counter uint64, payload []byte) (o Opened, r Reason) {
	if len(payload) != responseSize {
		return o, BadHandshake
	}
	at, ok := s.issued(now, from, ses.id, payload[1:])
	switch {
	case !ok:
		return o, BadHandshake
	case ses == p.current:
		return o, Handshake // the second answer to a repeated challenge
	case p.current != nil && at <= p.current.challenged:
		return o, StaleSession
	}
	ses.challenged = at
	ses.seen.startAt(counter)
	o.Restarted = p.promote(ses)
	o.Proved, o.Resend = true, true
	return o, Handshake
}

// challengeFor returns nil when the peer has had enough challenges for now.
func (s *Sealer) challengeFor(now int64, from netip.Addr, p *peer, id uint64) []byte {
	if !p.challenge.take(now) {
		return nil
	}
	nonce := s.nonceFor(from, id, now)
	s.challenge = binary.BigEndian.AppendUint64(append(s.challenge[:0], KindChallenge), id)
	s.challenge = append(s.challenge, nonce[:]...)
	return s.challenge
}
