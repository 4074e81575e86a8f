package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Key is a secret that the members of a cluster share. The keys of the link are
// derived from it.
type Key [32]byte

// String hides the key, so that it cannot slip into a log.
func (Key) String() string { return "(cluster key)" }

// GoString hides the key from %#v too.
func (k Key) GoString() string { return k.String() }

// ID names the key on the link and to people, and says nothing else about it.
func (k Key) ID() uint8 { return derive("cohort key id 1", k)[0] }

// Keys is what a key file holds.
type Keys struct {
	Link []Key // one, or two while the key is changed (CL10): the first seals, both open

	// Seed stays when the key changes: all nodes derive from it what has to be the
	// same everywhere as long as the cluster lives, and unknown outside.
	Seed Key
}

// IDs names the keys in their order.
func (k Keys) IDs() (ids []string) {
	for _, one := range k.Link {
		ids = append(ids, fmt.Sprintf("%02x", one.ID()))
	}
	return ids
}

func derive(label string, k Key) Key { return sha256.Sum256(append([]byte(label), k[:]...)) }

// firstSeed is the seed of a cluster whose key was never changed.
func firstSeed(k Key) Key { return derive("cohort cluster seed 1", k) }

const seedWord = "seed "

// keyMend comes before the path of a file that is not there. Every node with a
// key of its own is a cluster of its own.
const keyMend = "copy it from another node, or make the cluster's first one with: cohort keygen "

// LoadKeys reads a key file, readable by its owner only: one or two lines of 64
// hex digits, and a line "seed" with as many once the key has been changed.
func LoadKeys(path string) (Keys, error) {
	mistake := func(problem, mend string) (Keys, error) {
		return Keys{}, Errors{{File: path, Line: 1, Problem: problem, Mend: mend}}
	}
	f, err := os.Open(path)
	if err != nil {
		return mistake("the key file "+reason(err), keyMend+path)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return mistake("the key file "+reason(err), "check the disk")
	case !info.Mode().IsRegular():
		return mistake("the key file is not a regular file", "make one with: cohort keygen "+path)
	case info.Mode().Perm()&0o077 != 0:
		return mistake(fmt.Sprintf("the key file has mode %04o, so others than its owner may use it", info.Mode().Perm()), "run: chmod 600 "+path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return mistake("the key file "+reason(err), "check the disk")
	}
	return parseKeys(path, string(text))
}

func parseKeys(path, text string) (k Keys, err error) {
	line, seeded := 0, false
	mistake := func(problem, mend string) (Keys, error) {
		return Keys{}, Errors{{File: path, Line: max(line, 1), Problem: problem, Mend: mend}}
	}
	for raw := range strings.Lines(text) {
		line++
		word := strings.TrimSpace(raw)
		if word == "" {
			continue
		}
		hexed, isSeed := strings.CutPrefix(word, seedWord)
		b, err := hex.DecodeString(hexed)
		switch {
		case err != nil || len(b) != len(Key{}):
			return mistake("the key is not 64 hex digits", "make one with: cohort keygen "+path)
		case isSeed && seeded:
			return mistake("a second seed", "copy the file from a node that runs")
		case isSeed:
			k.Seed, seeded = Key(b), true
		case len(k.Link) == 2:
			return mistake("a third key", "drop one first: cohort keygen --drop "+path)
		default:
			k.Link = append(k.Link, Key(b))
		}
	}
	switch {
	case len(k.Link) == 0:
		return mistake("the key is not 64 hex digits", "make one with: cohort keygen "+path)
	case len(k.Link) == 2 && !seeded:
		return mistake("two keys and no seed", "add the second key with: cohort keygen --add "+path)
	case len(k.Link) == 2 && k.Link[0].ID() == k.Link[1].ID():
		return mistake("two keys with one name", "copy the file from a node that runs")
	case !seeded:
		k.Seed = firstSeed(k.Link[0])
	}
	return k, nil
}

// WriteKey makes a new key from random and stores it in a file that must not
// exist yet, with mode 0600.
func WriteKey(path string, random io.Reader) error {
	var k Key
	if _, err := io.ReadFull(random, k[:]); err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	_, err = fmt.Fprintln(f, hex.EncodeToString(k[:]))
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(path) // half a key is worse than none
		return fmt.Errorf("make key: %w", err)
	}
	return nil
}

// Errors of the steps of a change of the key.
var (
	ErrTwoKeys = errors.New("the file has two keys already; go on with --use or --drop")
	ErrOneKey  = errors.New("the file has one key only; a change begins with --add")
)

// AddKey adds a new key from random behind the one that seals.
func AddKey(path string, random io.Reader) (Keys, error) {
	return changeKeys(path, func(k *Keys) error {
		if len(k.Link) == 2 {
			return ErrTwoKeys
		}
		var fresh Key
		for {
			if _, err := io.ReadFull(random, fresh[:]); err != nil {
				return err
			}
			if fresh.ID() != k.Link[0].ID() {
				k.Link = append(k.Link, fresh)
				return nil
			}
		}
	})
}

// UseKey makes the second key the one that seals; the other one still opens.
func UseKey(path string) (Keys, error) {
	return changeKeys(path, func(k *Keys) error {
		if len(k.Link) != 2 {
			return ErrOneKey
		}
		k.Link[0], k.Link[1] = k.Link[1], k.Link[0]
		return nil
	})
}

// DropKey removes the key that does not seal.
func DropKey(path string) (Keys, error) {
	return changeKeys(path, func(k *Keys) error {
		if len(k.Link) != 2 {
			return ErrOneKey
		}
		k.Link = k.Link[:1]
		return nil
	})
}

// changeKeys replaces a key file at once: a reader sees the old or the new one.
func changeKeys(path string, change func(*Keys) error) (Keys, error) {
	k, err := LoadKeys(path)
	if err != nil {
		return Keys{}, err
	}
	if err := change(&k); err != nil {
		return Keys{}, fmt.Errorf("%s: %w", path, err)
	}
	var text bytes.Buffer
	for _, one := range k.Link {
		fmt.Fprintln(&text, hex.EncodeToString(one[:]))
	}
	fmt.Fprintln(&text, seedWord+hex.EncodeToString(k.Seed[:]))
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return Keys{}, fmt.Errorf("change key: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text.Bytes())
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return Keys{}, fmt.Errorf("change key: %w", err)
	}
	return k, nil
}
