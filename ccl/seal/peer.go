package seal

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
)

// Rate of challenges, and of responses, to one peer.
const (
	replyInterval = int64(1e6) // ns between two, on the average
	replyBurst    = 64
	nonceLife     = int64(10e9) // ns
	deadSessions  = 8           // remembered by number; older ones would fail their proof
)

// session is one life of a peer.
type session struct {
	id   uint64
	aead [2]cipher.AEAD // beside keyring.keys, made when first needed
	seen window

	challenged int64 // when the challenge left that it answered
}

// peer is what a Sealer keeps for one address.
type peer struct {
	current   *session
	dead      [deadSessions]uint64
	nDead     int
	challenge bucket
	response  bucket

	key   uint8 // id under which its newest accepted datagram came
	heard bool
}

func (p *peer) isDead(id uint64) bool {
	for i := range min(p.nDead, deadSessions) {
		if p.dead[i] == id {
			return true
		}
	}
	return false
}

// promote makes s the current session and reports whether it replaced one.
func (p *peer) promote(s *session) (replaced bool) {
	if p.current != nil {
		p.dead[p.nDead%deadSessions] = p.current.id
		p.nDead++
		replaced = true
	}
	p.current = s
	return replaced
}

// bucket lets replyBurst through at once and one each replyInterval after.
type bucket struct {
	spent int64 // time at which the bucket is full again
}

func (b *bucket) take(now int64) bool {
	if b.spent < now {
		b.spent = now
	}
	if b.spent-now > (replyBurst-1)*replyInterval {
		return false
	}
	b.spent += replyInterval
	return true
}

// nonceFor makes the nonce of a challenge: the time, and a MAC over it, the
// peer and the session, under a key that dies with this Sealer.
func (s *Sealer) nonceFor(from netip.Addr, session uint64, at int64) (n [nonceSize]byte) {
	mac := hmac.New(sha256.New, s.cookie[:])
	var b [32]byte
	a := from.As16()
	copy(b[:16], a[:])
	binary.BigEndian.PutUint64(b[16:], session)
	binary.BigEndian.PutUint64(b[24:], uint64(at))
	mac.Write(b[:])
	copy(n[:8], b[24:])
	copy(n[8:], mac.Sum(nil))
	return n
}

// issued returns when we sent this nonce to this session; false when we did
// not, or too long ago.
func (s *Sealer) issued(now int64, from netip.Addr, session uint64, nonce []byte) (at int64, ok bool) {
	at = int64(binary.BigEndian.Uint64(nonce))
	want := s.nonceFor(from, session, at)
	if subtle.ConstantTimeCompare(want[:], nonce) != 1 || now-at > nonceLife {
		return 0, false
	}
	return at, true
}
