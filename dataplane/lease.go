package dataplane

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Lease is the word that XDP compares with the clock, as another process of the
// node sees it (HL7). It stays valid when the Dataplane is closed.
type Lease struct {
	mapping []byte
	word    *uint64
}

// LeaseFD is the descriptor of the map that holds the lease, for MapLease of
// another process. It stays the Dataplane's.
func (d *Dataplane) LeaseFD() int { return d.maps["control"].FD() }

// MapLease maps the lease from a descriptor that LeaseFD returned, here or in the
// process that handed it on; the descriptor may be closed afterwards.
func MapLease(fd int) (*Lease, error) {
	b, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("dataplane: map the lease: %w", err)
	}
	c := (*Control)(unsafe.Pointer(&b[0]))
	return &Lease{mapping: b, word: &c.Lease}, nil
}

// Load returns the deadline in force; 0: none.
func (l *Lease) Load() int64 { return int64(atomic.LoadUint64(l.word)) }

// Renew replaces the deadline from by to, unless somebody has changed it.
func (l *Lease) Renew(from, to int64) bool {
	return atomic.CompareAndSwapUint64(l.word, uint64(from), uint64(to))
}

// Close unmaps it.
func (l *Lease) Close() error { return unix.Munmap(l.mapping) }
