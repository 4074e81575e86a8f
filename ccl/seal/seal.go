package seal

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// Sizes of the format in bytes.
const (
	HeaderSize = 19
	TagSize    = 16
	Overhead   = HeaderSize + TagSize // what sealing adds to a payload
)

// Version of the header.
const Version = 2

const flagBroadcast = 0x1

const maxUse = 16

// MaxPeers bounds the state a Sealer keeps.
const MaxPeers = 256

// The first byte of a payload says whose it is. The caller's kinds are those
// below KindChallenge, and never 0.
const (
	KindChallenge = 0xc0
	KindResponse  = 0xc1
	nonceSize     = 8 + 16 // time of the challenge and a MAC
	challengeSize = 1 + 8 + nonceSize
	responseSize  = 1 + nonceSize
)

// Config of a Sealer.
type Config struct {
	Local netip.Addr // our VTEP address, as peers see it
	Keys  []Key      // the first seals, all open
	Rand  io.Reader  // crypto/rand.Reader in the daemon
	Clear bool       // no cryptography: the simulator's mode; Keys must be empty

	// Use separates two Sealers of one node under the same keys, of at most 16
	// bytes: what one seals, another one with a different Use refuses as BadTag.
	// Without that, whoever can change the port of a datagram could have a session
	// of one Sealer proved to the peer's other one. "" is the control link.
	Use string

	// Format is the version of what payloads are written in. Peers of another one
	// are refused by name, and nothing that they say is read (EL8).
	Format uint8
}

// Sealer seals for one sender and opens what its peers sealed. It is not safe
// for concurrent use: the goroutine that owns the link owns it.
type Sealer struct {
	local   netip.Addr
	use     string
	clear   bool
	format  uint8
	ring    keyring
	session uint64
	counter uint64
	sealers [2]cipher.AEAD // ours, beside ring.keys
	cookie  [32]byte       // key of the challenge nonces
	peers   map[netip.Addr]*peer
	foreign map[netip.Addr]*Foreign
	count   Counters

	aad, nonce, plain, response, challenge []byte // scratch
}

// New makes a Sealer with a fresh session.
func New(cfg Config) (*Sealer, error) {
	if !cfg.Local.IsValid() {
		return nil, errors.New("seal: config: no local address")
	}
	if len(cfg.Use) > maxUse {
		return nil, fmt.Errorf("seal: config: use %q is longer than %d bytes", cfg.Use, maxUse)
	}
	if cfg.Rand == nil {
		return nil, errors.New("seal: config: no source of randomness")
	}
	s := &Sealer{
		local: cfg.Local.Unmap(), use: cfg.Use, clear: cfg.Clear, format: cfg.Format,
		peers: make(map[netip.Addr]*peer), foreign: make(map[netip.Addr]*Foreign),
	}
	var seed [8 + len(s.cookie)]byte
	if _, err := io.ReadFull(cfg.Rand, seed[:]); err != nil {
		return nil, fmt.Errorf("seal: session: %w", err)
	}
	s.session = binary.BigEndian.Uint64(seed[:8])
	copy(s.cookie[:], seed[8:])
	s.aad = make([]byte, 0, HeaderSize+32)
	s.nonce = make([]byte, 12)
	if cfg.Clear {
		if len(cfg.Keys) != 0 {
			return nil, errors.New("seal: config: keys given for a clear link")
		}
		return s, nil
	}
	return s, s.SetKeys(cfg.Keys)
}

// SetKeys replaces the cluster keys without ending any session (CL10): the
// first one seals from now on, all of them open. To rotate, give every node
// [old, new], then every node [new, old], then [new].
func (s *Sealer) SetKeys(keys []Key) error {
	if s.clear {
		return errors.New("seal: keys given for a clear link")
	}
	ring, err := newKeyring(keys)
	if err != nil {
		return err
	}
	s.ring = ring
	s.sealers = [2]cipher.AEAD{}
	for i := range ring.n {
		s.sealers[i] = ring.keys[i].sessionKey(s.session, s.local, s.use)
	}
	for _, p := range s.peers {
		if p.current != nil {
			p.current.aead = [2]cipher.AEAD{}
		}
	}
	return nil
}

// PeerKey returns the id of the key under which a peer's newest accepted datagram
// came; false before the first.
func (s *Sealer) PeerKey(a netip.Addr) (id uint8, ok bool) {
	p := s.peers[a.Unmap()]
	if p == nil || !p.heard {
		return 0, false
	}
	return p.key, true
}

// Session returns the random id of this life.
func (s *Sealer) Session() uint64 { return s.session }

// Counters returns the totals by reason.
func (s *Sealer) Counters() Counters { return s.count }

// Overhead returns how many bytes Seal adds.
func (s *Sealer) Overhead() int {
	if s.clear {
		return HeaderSize
	}
	return Overhead
}

// Seal appends the datagram that carries payload to the peer, or to all when
// to is the zero Addr. dst and payload must not overlap.
func (s *Sealer) Seal(dst []byte, to netip.Addr, payload []byte) []byte {
	s.counter++
	flags, keyID := byte(0), byte(0)
	if !to.IsValid() {
		flags = flagBroadcast
	}
	if !s.clear {
		keyID = s.ring.keys[0].ID
	}
	start := len(dst)
	dst = append(dst, Version<<4|flags, keyID, s.format)
	dst = binary.BigEndian.AppendUint64(dst, s.session)
	dst = binary.BigEndian.AppendUint64(dst, s.counter)
	if s.clear {
		return append(dst, payload...)
	}
	s.bind(dst[start:], s.local, to)
	return s.sealers[0].Seal(dst, s.nonce, payload, s.aad)
}

// bind prepares nonce and additional data for a header between two addresses;
// the zero Addr stands for everybody.
func (s *Sealer) bind(header []byte, from, to netip.Addr) {
	copy(s.nonce[4:], header[11:19])
	a := from.As16()
	s.aad = append(append(s.aad[:0], header[:HeaderSize]...), a[:]...)
	a = [16]byte{}
	if to.IsValid() {
		a = to.As16()
	}
	s.aad = append(s.aad, a[:]...)
}
