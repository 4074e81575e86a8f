package config

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
)

// Key is the secret that the members of a cluster share. All keys of the link
// are derived from it.
type Key [32]byte

// String hides the key, so that it cannot slip into a log.
func (Key) String() string { return "(cluster key)" }

// GoString hides the key from %#v too.
func (k Key) GoString() string { return k.String() }

// LoadKey reads a key file: 64 hex digits, readable by its owner only.
func LoadKey(path string) (Key, error) {
	mistake := func(problem, mend string) (Key, error) {
		return Key{}, Errors{{File: path, Line: 1, Problem: problem, Mend: mend}}
	}
	f, err := os.Open(path)
	if err != nil {
		return mistake("the key file "+reason(err), "make one with: cohort keygen "+path)
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
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != len(Key{}) {
		return mistake("the key is not 64 hex digits", "make one with: cohort keygen "+path)
	}
	return Key(raw), nil
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
