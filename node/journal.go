package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"cohort/ccl/wire"
)

// unitJournal is a mapped file that says which NAT units this node holds: the
// incarnation they belong to, the view that was served last, the checksum of how
// the pools are cut, then a bit for each unit. A store is in the file as
// soon as it is made, whatever becomes of the process. After a loss of power
// the file may be old; the incarnation is then over, and nobody believes it.
type unitJournal struct {
	file *os.File
	mem  []byte
	cut  uint32 // nat.Geometry.Checksum: units of another cut mean something else
}

const (
	journalHead  = 20
	journalBytes = journalHead + wire.MaxUnits/8
)

func openJournal(path string, cut uint32) (*unitJournal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(journalBytes); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// A store to a page that the disk has no room for would end the process.
	if err := unix.Fallocate(int(f.Fd()), 0, 0, journalBytes); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, journalBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &unitJournal{file: f, mem: mem, cut: cut}, nil
}

// begin empties the journal for an incarnation.
func (j *unitJournal) begin(i wire.Incarnation) {
	binary.NativeEndian.PutUint64(j.mem, 0) // no incarnation while the bits change
	clear(j.mem[8:])
	binary.NativeEndian.PutUint32(j.mem[16:], j.cut)
	binary.NativeEndian.PutUint64(j.mem, uint64(i))
}

// Recut implements blocks.CutJournal: what is held is told again.
func (j *unitJournal) Recut(cut uint32) {
	j.cut = cut
	j.begin(wire.Incarnation(binary.NativeEndian.Uint64(j.mem)))
}

// View implements blocks.Journal.
func (j *unitJournal) View(number uint64) { binary.NativeEndian.PutUint64(j.mem[8:], number) }

// Hold implements blocks.Journal.
func (j *unitJournal) Hold(unit int, held bool) {
	b := &j.mem[journalHead+unit/8]
	if held {
		*b |= 1 << (unit % 8)
	} else {
		*b &^= 1 << (unit % 8)
	}
}

// held lists the units of an incarnation and the view that was served last;
// false when the journal is another's or of other pools.
func (j *unitJournal) held(i wire.Incarnation) (units []int, view uint64, ok bool) {
	if binary.NativeEndian.Uint64(j.mem) != uint64(i) || binary.NativeEndian.Uint32(j.mem[16:]) != j.cut {
		return nil, 0, false
	}
	view = binary.NativeEndian.Uint64(j.mem[8:])
	for u := range wire.MaxUnits {
		if j.mem[journalHead+u/8]>>(u%8)&1 != 0 {
			units = append(units, u)
		}
	}
	return units, view, true
}

func (j *unitJournal) close() error {
	return errors.Join(unix.Munmap(j.mem), j.file.Close())
}
