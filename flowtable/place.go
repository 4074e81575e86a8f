package flowtable

import (
	"encoding/binary"
	"unsafe"

	"cohort/packet"
)

// place is an entry of a BackupStore. What it shares with others is its class. The second
// key of a translated connection differs from the reverse of the first in one address and
// port as a rule: these have room here, and where there is none, the difference of sequence
// numbers has. What does not fit is kept beside (rest).
type place struct {
	key         tuple
	class       uint16 // a search ends here, in one cache line mostly
	gen         uint16 // joinedBit, and the generation
	owner       uint8
	incarnation uint8
	extraPort   uint16
	extra       packet.Addr // see kind; of noClass, number of the rest
	confirmed   uint32
}

const placeBytes = 28

const _ = uint(placeBytes-unsafe.Sizeof(place{})) + uint(unsafe.Sizeof(place{})-placeBytes)

// BackupBytes is what a place of a BackupStore takes: the entry and its tag. An entry
// of which more must be known than fits takes RestBytes more: one that is translated at
// both ends, or translated and shifted, of a generation above 32,767, or of the
// 32,769th combination of protocol, zone, interfaces, rule, timeout, state and flags.
// PairBytes is what finding an entry by its other key takes.
const (
	BackupBytes = placeBytes + 1
	RestBytes   = 32
	PairBytes   = 5
)

// joinedBit in gen says that the entry is found by its other key too.
const joinedBit = 1 << 15

// kind says what the other key of an entry is.
type kind uint8

const (
	kindPlain       kind = iota + 1 // there is none; extra is the shift of sequence numbers
	kindSource                      // the reverse, but to extra, extraPort: the source is translated
	kindDestination                 // the reverse, but from extra, extraPort: the destination is
	kindRest                        // another one, with the rest
)

// kindOf returns the kind of an other key, and the address and port that it takes.
func kindOf(key, other *tuple) (k kind, extra packet.Addr, port uint16) {
	switch {
	case *other == tuple{}:
		return kindPlain, extra, 0
	case other.src == key.dst && other.srcPort == key.dstPort:
		return kindSource, other.dst, other.dstPort
	case other.dst == key.src && other.dstPort == key.srcPort:
		return kindDestination, other.src, other.srcPort
	}
	return kindRest, extra, 0
}

// rest is what of an entry does not fit in its place.
type rest struct {
	other tuple // zero: none
	delta uint32
	gen   uint32 // of a free one, the next free one
	class class
}

const _ = uint(RestBytes-unsafe.Sizeof(rest{})) + uint(unsafe.Sizeof(rest{})-RestBytes)

func (p *place) number() uint32 { return binary.LittleEndian.Uint32(p.extra[:]) }

func (p *place) setNumber(n uint32) { binary.LittleEndian.PutUint32(p.extra[:], n) }

// classOf returns the class of an entry, its own if it shares none.
func (s *BackupStore) classOf(sh *shard, p *place) *class {
	if p.class == noClass {
		return &sh.rest[p.number()].class
	}
	return &s.classes.of[p.class]
}

// otherOf returns the other key of an entry, the zero tuple if it has none.
func (s *BackupStore) otherOf(sh *shard, p *place) tuple {
	if p.class == noClass {
		return sh.rest[p.number()].other
	}
	switch s.classes.of[p.class].kind {
	case kindSource:
		return tuple{p.key.dst, p.extra, p.key.dstPort, p.extraPort}
	case kindDestination:
		return tuple{p.extra, p.key.src, p.extraPort, p.key.srcPort}
	}
	return tuple{}
}

func (s *BackupStore) genOf(sh *shard, p *place) uint32 {
	if p.class == noClass {
		return sh.rest[p.number()].gen
	}
	return uint32(p.gen &^ joinedBit)
}

// fill writes an entry to a place that is new, or whose content release has given up.
func (s *BackupStore) fill(sh *shard, p *place, b *Backup, other *tuple, joined uint16) {
	p.key = tuple{b.Key.Src, b.Key.Dst, b.Key.SrcPort, b.Key.DstPort}
	p.confirmed, p.owner, p.incarnation = b.Confirmed, b.Owner, b.Incarnation
	c := class{proto: b.Key.Proto, zone: b.Key.Zone, in: b.In, out: b.Out, rule: b.Rule, timeout: b.Timeout, state: b.State, flags: b.Flags}
	c.kind, p.extra, p.extraPort = kindOf(&p.key, other)
	if c.kind != kindRest && b.Gen < joinedBit {
		if id, ok := s.classes.take(c); ok {
			p.class, p.gen = id, uint16(b.Gen)|joined
			return
		}
	}
	p.gen = joined
	s.keepBeside(sh, p, rest{other: *other, gen: b.Gen, class: c})
}

// release gives up what a place has of others' memory.
func (s *BackupStore) release(sh *shard, p *place) {
	if p.class == noClass {
		sh.dropRest(p.number())
		s.beside--
		return
	}
	s.classes.drop(p.class)
}

// reclass gives an entry another class.
func (s *BackupStore) reclass(sh *shard, p *place, c class) {
	if p.class == noClass {
		sh.rest[p.number()].class = c
		return
	}
	id, ok := s.classes.take(c)
	if !ok {
		s.putBeside(sh, p, c)
		return
	}
	s.classes.drop(p.class)
	p.class = id
}

// putBeside moves what an entry shares out to where it has room, as class c.
func (s *BackupStore) putBeside(sh *shard, p *place, c class) {
	r := rest{other: s.otherOf(sh, p), gen: s.genOf(sh, p), class: c}
	if c.kind == kindPlain {
		r.delta = p.number()
	}
	s.classes.drop(p.class)
	s.keepBeside(sh, p, r)
}

func (s *BackupStore) keepBeside(sh *shard, p *place, r rest) {
	p.class, p.extraPort = noClass, 0
	p.setNumber(sh.addRest(r))
	s.beside++
}

// addRest returns the number of what it adds. The memory grows by a quarter, a shard's
// at a time, so that it stays near what is in use and no pause is long.
func (sh *shard) addRest(r rest) uint32 {
	if n := sh.freeRest; n != 0 {
		sh.freeRest = sh.rest[n-1].gen
		sh.rest[n-1] = r
		return n - 1
	}
	if n := len(sh.rest); n == cap(sh.rest) {
		larger := make([]rest, n, max(n+n/4, 4))
		copy(larger, sh.rest)
		sh.rest = larger
	}
	sh.rest = append(sh.rest, r)
	return uint32(len(sh.rest) - 1)
}

func (sh *shard) dropRest(n uint32) {
	sh.rest[n] = rest{gen: sh.freeRest}
	sh.freeRest = n + 1
}
