package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"cohort/ccl/wire"
	"cohort/cluster/blocks"
	"cohort/cluster/translate"
	"cohort/nat"
	"cohort/packet"
)

// unitJournal is a mapped file that says which NAT units this node holds: the
// incarnation they belong to, the view that was served last, the checksum of how
// the pools are cut, then a bit for each unit, then for each node the life whose
// gives were taken and the number of the newest, then a bit for each unit that was
// given away in that view, then the time, of the clock that goes on while the incarnation
// lives, until which each unit rests, 0 = it does not, then whose own each unit is, by
// the numbers of the pools whose checksum stands before that, then a ring of keys that
// wait in hold-down and until when: the newest, as many as it has places for. A store is
// in the file as soon as it is made, whatever becomes of the process. After a loss of
// power the file may be old; the incarnation is then over, and nobody believes it.
type unitJournal struct {
	file *os.File
	mem  []byte
	cut  uint32 // nat.Geometry.Checksum: units of another cut mean something else
	next int    // place in the ring of keys that wait
}

const (
	journalHead  = 20
	journalTook  = (journalHead + wire.MaxUnits/8 + 7) &^ 7 // its words are stored whole
	journalGone  = journalTook + 16*wire.MaxNodes
	journalRests = journalGone + wire.MaxUnits/8
	journalOwn   = journalRests + 8*wire.MaxUnits // a checksum, and 4 bytes that are 0
	journalHosts = journalOwn + 8
	journalHolds = journalHosts + 4*wire.MaxUnits
	journalBytes = journalHolds + holdBytes*holdPlaces

	holdBytes  = 24
	holdPlaces = 1 << 16 // 546 a second for two minutes, 1.5 MiB
)

var _ interface {
	blocks.CutJournal
	blocks.TakeJournal
	blocks.GoneJournal
	blocks.RestJournal
	translate.HostJournal
	nat.HoldJournal
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
	binary.NativeEndian.PutUint32(j.mem[journalOwn:], j.cut)
	binary.NativeEndian.PutUint64(j.mem, uint64(i))
	j.next = 0
}

// Recut implements blocks.CutJournal: what is held is told again. What was taken
// was taken.
func (j *unitJournal) Recut(cut uint32) {
	j.cut = cut
	life := binary.NativeEndian.Uint64(j.mem)
	binary.NativeEndian.PutUint64(j.mem, 0) // no incarnation while the bits change
	clear(j.mem[journalHead:journalTook])
	clear(j.mem[journalGone:journalOwn]) // what follows is told for itself, or goes on
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

// Own implements translate.HostJournal.
func (j *unitJournal) Own(unit int, host packet.Addr) {
	copy(j.mem[journalHosts+4*unit:], host[:])
}

// Owns implements translate.HostJournal. Who is killed in its middle leaves no block to
// any host.
func (j *unitJournal) Owns(cut uint32, all []translate.Own) {
	binary.NativeEndian.PutUint32(j.mem[journalOwn:], 0)
	clear(j.mem[journalHosts:journalHolds])
	for _, o := range all {
		j.Own(o.Unit, o.Host)
	}
	binary.NativeEndian.PutUint32(j.mem[journalOwn:], cut)
}

// own lists the blocks that were hosts' own, in a journal that held says is of this
// incarnation and these pools.
func (j *unitJournal) own() (list []translate.Own) {
	if binary.NativeEndian.Uint32(j.mem[journalOwn:]) != j.cut {
		return nil
	}
	for u := range wire.MaxUnits {
		if host := packet.Addr(j.mem[journalHosts+4*u:][:4]); host != (packet.Addr{}) {
			list = append(list, translate.Own{Unit: u, Host: host})
		}
	}
	return list
}

// Wait implements nat.HoldJournal.
func (j *unitJournal) Wait(k packet.FlowKey, end int64) {
	m := j.mem[journalHolds+holdBytes*j.next:][:holdBytes]
	j.next = (j.next + 1) % holdPlaces
	binary.NativeEndian.PutUint64(m[16:], 0) // no key while it changes
	copy(m, k.Src[:])
	copy(m[4:], k.Dst[:])
	binary.NativeEndian.PutUint16(m[8:], k.SrcPort)
	binary.NativeEndian.PutUint16(m[10:], k.DstPort)
	m[12], m[13] = k.Proto, k.Zone
	binary.NativeEndian.PutUint64(m[16:], uint64(end))
}

// holds lists the keys that wait, and goes on behind the newest of them.
func (j *unitJournal) holds() (list []nat.Hold) {
	newest := int64(0)
	for i := range holdPlaces {
		m := j.mem[journalHolds+holdBytes*i:][:holdBytes]
		end := int64(binary.NativeEndian.Uint64(m[16:]))
		if end == 0 {
			continue
		}
		if end >= newest {
			newest, j.next = end, (i+1)%holdPlaces
		}
		list = append(list, nat.Hold{Key: packet.FlowKey{
			Src: packet.Addr(m[:4]), Dst: packet.Addr(m[4:8]), SrcPort: binary.NativeEndian.Uint16(m[8:]), DstPort: binary.NativeEndian.Uint16(m[10:]),
			Proto: m[12], Zone: m[13],
		}, End: end})
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
