package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"cohort/ccl/wire"
	"cohort/cluster/blocks"
)

// unitJournal is a mapped file that says which NAT units this node holds: the
// incarnation they belong to, the view that was served last, the checksum of how
// the pools are cut, then a bit for each unit, then for each node the life whose
// gives were taken and the number of the newest, then a bit for each unit that was
// given away in that view, then the time, of the clock that goes on while the incarnation
// lives, until which each unit rests, 0 = it does not. A store is in the file as
// soon as it is made, whatever becomes of the process. After a loss of power
// the file may be old; the incarnation is then over, and nobody believes it.
type unitJournal struct {
	file *os.File
	mem  []byte
	cut  uint32 // nat.Geometry.Checksum: units of another cut mean something else
}

const (
	journalHead  = 20
	journalTook  = (journalHead + wire.MaxUnits/8 + 7) &^ 7 // its words are stored whole
	journalGone  = journalTook + 16*wire.MaxNodes
	journalRests = journalGone + wire.MaxUnits/8
	journalBytes = journalRests + 8*wire.MaxUnits
)

var _ interface {
	blocks.CutJournal
	blocks.TakeJournal
	blocks.GoneJournal
	blocks.RestJournal
} = (*unitJournal)(nil)

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

// Recut implements blocks.CutJournal: what is held is told again. What was taken
// was taken.
func (j *unitJournal) Recut(cut uint32) {
	j.cut = cut
	life := binary.NativeEndian.Uint64(j.mem)
	binary.NativeEndian.PutUint64(j.mem, 0) // no incarnation while the bits change
	clear(j.mem[journalHead:journalTook])
	clear(j.mem[journalGone:])
	binary.NativeEndian.PutUint32(j.mem[16:], cut)
	binary.NativeEndian.PutUint64(j.mem, life)
}

// View implements blocks.Journal.
func (j *unitJournal) View(number uint64) {
	if binary.NativeEndian.Uint64(j.mem[8:]) != number {
		binary.NativeEndian.PutUint64(j.mem[8:], number)
		clear(j.mem[journalGone:journalRests])
	}
}

// Hold implements blocks.Journal.
func (j *unitJournal) Hold(unit int, held bool) {
	b := &j.mem[journalHead+unit/8]
	if held {
		*b |= 1 << (unit % 8)
	} else {
		*b &^= 1 << (unit % 8)
	}
}

// Gone implements blocks.GoneJournal.
func (j *unitJournal) Gone(unit int) { j.mem[journalGone+unit/8] |= 1 << (unit % 8) }

// Rest implements blocks.RestJournal.
func (j *unitJournal) Rest(unit int, end int64) {
	binary.NativeEndian.PutUint64(j.mem[journalRests+8*unit:], uint64(end))
}

// rests lists the units that rested, and until when.
func (j *unitJournal) rests() (list []blocks.Rest) {
	for u := range wire.MaxUnits {
		if end := binary.NativeEndian.Uint64(j.mem[journalRests+8*u:]); end != 0 {
			list = append(list, blocks.Rest{Unit: u, End: int64(end)})
		}
	}
	return list
}

// Took implements blocks.TakeJournal. Who is killed in its middle leaves nothing
// of that node: the next process then takes none of the gives under way to it.
func (j *unitJournal) Took(t blocks.Taken) {
	m := j.mem[journalTook+16*int(t.From):]
	if binary.NativeEndian.Uint64(m) != uint64(t.Life) {
		binary.NativeEndian.PutUint64(m, 0)
		binary.NativeEndian.PutUint64(m[8:], t.Seq)
		binary.NativeEndian.PutUint64(m, uint64(t.Life))
		return
	}
	binary.NativeEndian.PutUint64(m[8:], t.Seq)
}

// took lists the newest give that was taken of every node, in a journal that
// held says is of this incarnation and these pools.
func (j *unitJournal) took() (list []blocks.Taken) {
	for id := range wire.NodeID(wire.MaxNodes) {
		m := j.mem[journalTook+16*int(id):]
		if life := binary.NativeEndian.Uint64(m); life != 0 {
			list = append(list, blocks.Taken{From: id, Life: wire.Incarnation(life), Seq: binary.NativeEndian.Uint64(m[8:])})
		}
	}
	return list
}

// held lists the units of an incarnation and the view that was served last;
// false when the journal is another's or of other pools.
func (j *unitJournal) held(i wire.Incarnation) (units []int, view uint64, ok bool) {
	if binary.NativeEndian.Uint64(j.mem) != uint64(i) || binary.NativeEndian.Uint32(j.mem[16:]) != j.cut {
		return nil, 0, false
	}
	view = binary.NativeEndian.Uint64(j.mem[8:])
	return bitsOf(j.mem[journalHead:]), view, true
}

// gone lists the units that were given away in the view of held.
func (j *unitJournal) gone() []int { return bitsOf(j.mem[journalGone:]) }

// bitsOf lists the units whose bits are set.
func bitsOf(m []byte) (units []int) {
	for u := range wire.MaxUnits {
		if m[u/8]>>(u%8)&1 != 0 {
			units = append(units, u)
		}
	}
	return units
}

func (j *unitJournal) close() error {
	return errors.Join(unix.Munmap(j.mem), j.file.Close())
}
