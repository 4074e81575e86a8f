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
	cookieLife    = int64(10e9) // ns; a nonce is good for one to two of these
	deadSessions  = 8           // remembered by number; older ones would fail their proof
)

// session is one life of a peer.
type session struct {
	id   uint64
	aead [2]cipher.AEAD // beside keyring.keys, made when first needed
	seen window
}

// peer is what a Sealer keeps for one address.
type peer struct {
	current   *session
	dead      [deadSessions]uint64
	nDead     int
	challenge bucket
	response  bucket
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

// cookieFor computes the nonce for a session of a peer in one period of time.
func (s *Sealer) cookieFor(from netip.Addr, session uint64, period int64) (c [nonceSize]byte) {
	mac := hmac.New(sha256.New, s.cookie[:])
	var b [32]byte
	a := from.As16()
	copy(b[:16], a[:])
	binary.BigEndian.PutUint64(b[16:], session)
	binary.BigEndian.PutUint64(b[24:], uint64(period))
	mac.Write(b[:])
	copy(c[:], mac.Sum(nil))
	return c
}

// answers reports whether nonce is one we sent for this session lately.
func (s *Sealer) answers(now int64, from netip.Addr, session uint64, nonce []byte) bool {
	for _, period := range [2]int64{now / cookieLife, now/cookieLife - 1} {
		c := s.cookieFor(from, session, period)
		if subtle.ConstantTimeCompare(c[:], nonce) == 1 {
			return true
		}
	}
	return false
}
