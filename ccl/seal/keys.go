package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Key is one cluster key under the id that datagrams carry.
type Key struct {
	ID     uint8
	Secret [32]byte
}

// Errors of New and SetKeys.
var (
	ErrNoKey        = errors.New("no key")
	ErrTooManyKeys  = errors.New("more than two keys")
	ErrDuplicateKey = errors.New("two keys with one id")
)

const label = "cohort ccl 1 "

// keyring is the set of keys in use: the first one seals.
type keyring struct {
	n    int
	keys [2]Key
}

func newKeyring(keys []Key) (keyring, error) {
	switch {
	case len(keys) == 0:
		return keyring{}, fmt.Errorf("seal: keys: %w", ErrNoKey)
	case len(keys) > 2:
		return keyring{}, fmt.Errorf("seal: keys: %w", ErrTooManyKeys)
	case len(keys) == 2 && keys[0].ID == keys[1].ID:
		return keyring{}, fmt.Errorf("seal: key %d: %w", keys[0].ID, ErrDuplicateKey)
	}
	r := keyring{n: len(keys)}
	copy(r.keys[:], keys)
	return r, nil
}

// index returns where the key with this id stands, -1 if nowhere.
func (r *keyring) index(id uint8) int {
	for i := range r.n {
		if r.keys[i].ID == id {
			return i
		}
	}
	return -1
}

// sessionKey derives the AEAD of one sender's session, for one use of the keys. The
// sender has a fixed length, so that two uses never make the same text.
func (k *Key) sessionKey(session uint64, sender netip.Addr, use string) cipher.AEAD {
	var salt [8]byte
	binary.BigEndian.PutUint64(salt[:], session)
	from := sender.As16()
	secret, err := hkdf.Key(sha256.New, k.Secret[:], salt[:], label+string(from[:])+use, 32)
	if err != nil {
		panic(err) // only for lengths that are constants here
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}
