package wire

import "encoding/binary"

// appendUnits encodes the unit messages.
func appendUnits(b []byte, m Message) (Type, []byte) {
	switch m := m.(type) {
	case Units:
		b = binary.BigEndian.AppendUint32(b, m.View)
		b = binary.BigEndian.AppendUint64(b, m.Lineage)
		b = binary.BigEndian.AppendUint32(b, m.Geometry)
		b = binary.BigEndian.AppendUint64(b, m.Sum)
		b = binary.AppendUvarint(b, m.Took)
		b = append(b, m.Flags)
		b = binary.AppendUvarint(b, uint64(m.First))
		b = binary.AppendUvarint(b, uint64(m.Count))
		return TypeUnits, appendRanges(appendRanges(b, m.First, m.Held), m.First, m.Past)
	case GiveUnits:
		b = binary.BigEndian.AppendUint32(b, m.View)
		b = binary.AppendUvarint(b, m.Seq)
		b = append(b, flag(m.Answer))
		b = binary.AppendUvarint(b, uint64(m.Pool))
		b = binary.AppendUvarint(b, uint64(m.Left))
		return TypeGiveUnits, appendRanges(b, 0, m.Units)
	case WantUnits:
		b = binary.BigEndian.AppendUint32(b, m.View)
		b = binary.AppendUvarint(b, uint64(m.Pool))
		return TypeWantUnits, binary.AppendUvarint(b, uint64(m.Count))
	case HostUnits:
		b = append(binary.BigEndian.AppendUint32(b, m.View), byte(m.Op))
		b = append(binary.AppendUvarint(b, uint64(m.Pool)), m.Host[:]...)
		return TypeHostUnits, binary.AppendUvarint(b, uint64(m.Count))
	case Rests:
		b = append(binary.BigEndian.AppendUint32(b, m.View), flag(m.Departing))
		b = binary.AppendUvarint(b, uint64(m.First))
		b = binary.AppendUvarint(b, uint64(m.Count))
		list, last := m.Units[:min(len(m.Units), MaxUnitRanges)], m.First
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, u := range list {
			b = binary.AppendUvarint(b, uint64(u.Unit-last))
			b = binary.AppendUvarint(b, uint64(u.Left))
			last = u.Unit + 1
		}
		return TypeRests, b
	case Roster:
		list := m.Entries[:min(len(m.Entries), MaxRoster)]
		b = append(b, byte(len(list)))
		for i := range list {
			flags := byte(0)
			if list[i].Over {
				flags |= rosterOver
			}
			if list[i].Forgotten != 0 {
				flags |= rosterForgotten
			}
			b = append(binary.BigEndian.AppendUint64(appendString(b, list[i].Name), list[i].Seen), flags)
			if list[i].Forgotten != 0 {
				b = binary.BigEndian.AppendUint64(b, list[i].Forgotten)
			}
		}
		return TypeRoster, b
	}
	return TypePadding, b
}

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// appendRanges writes each range as the gap before it, beginning at from, and
// its length: two bytes for most.
func appendRanges(b []byte, from uint32, list []UnitRange) []byte {
	list = list[:min(len(list), MaxUnitRanges)]
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, r := range list {
		b = binary.AppendUvarint(b, uint64(r.First-from))
		b = binary.AppendUvarint(b, uint64(r.Count))
		from = r.First + r.Count
	}
	return b
}

// readUnits returns nil for any other type.
func readUnits(t Type, r *reader) Message {
	switch t {
	case TypeUnits:
		m := Units{View: r.u32(), Lineage: r.u64(), Geometry: r.u32(), Sum: r.u64(), Took: r.uvarint(1<<64 - 1), Flags: r.u8()}
		m.First = uint32(r.uvarint(MaxUnits))
		m.Count = uint32(r.uvarint(uint64(MaxUnits - m.First)))
		m.Held = r.ranges(m.First, m.First+m.Count)
		m.Past = r.ranges(m.First, m.First+m.Count)
		return m
	case TypeGiveUnits:
		m := GiveUnits{View: r.u32(), Seq: r.uvarint(1<<64 - 1), Answer: r.bool()}
		m.Pool, m.Left = uint16(r.uvarint(1<<16-1)), uint16(r.uvarint(1<<16-1))
		m.Units = r.ranges(0, MaxUnits)
		return m
	case TypeWantUnits:
		return WantUnits{View: r.u32(), Pool: uint16(r.uvarint(1<<16 - 1)), Count: uint16(r.uvarint(1<<16 - 1))}
	case TypeHostUnits:
		m := HostUnits{View: r.u32(), Op: HostOp(r.u8()), Pool: uint16(r.uvarint(1<<16 - 1))}
		copy(m.Host[:], r.take(4))
		m.Count = uint16(r.uvarint(1<<16 - 1))
		return m
	case TypeRests:
		m := Rests{View: r.u32(), Departing: r.bool(), First: uint32(r.uvarint(MaxUnits))}
		m.Count = uint32(r.uvarint(uint64(MaxUnits - m.First)))
		m.Units = r.unitRests(m.First, m.First+m.Count)
		return m
	case TypeRoster:
		n := int(r.u8())
		if n > MaxRoster {
			r.fail(ErrValue)
			return Roster{}
		}
		if 10*n > len(r.b) { // a name's length, Seen and flags at least
			r.fail(ErrTruncated)
			return Roster{}
		}
		var m Roster
		for range n {
			m.Entries = append(m.Entries, r.rosterEntry())
		}
		return m
	}
	return nil
}

// Flags of an entry of a Roster.
const (
	rosterOver      = 1 << iota
	rosterForgotten // Forgotten follows
)

func (r *reader) rosterEntry() RosterEntry {
	e := RosterEntry{Name: r.text(), Seen: r.u64()}
	flags := r.u8()
	e.Over = flags&rosterOver != 0
	if flags&rosterForgotten != 0 {
		if e.Forgotten = r.u64(); e.Forgotten == 0 {
			r.fail(ErrValue)
		}
	}
	if flags&^(rosterOver|rosterForgotten) != 0 {
		r.fail(ErrValue)
	}
	return e
}

// ranges reads a list that lies within [from, end), sorted by construction.
func (r *reader) ranges(from, end uint32) []UnitRange {
	n := int(r.uvarint(MaxUnitRanges))
	if 2*n > len(r.b) {
		r.fail(ErrTruncated)
		return nil
	}
	if n == 0 {
		return nil
	}
	list := make([]UnitRange, n)
	for i := range list {
		first := from + uint32(r.uvarint(uint64(end-from)))
		count := uint32(r.uvarint(uint64(end - first)))
		if count == 0 {
			r.fail(ErrValue)
			return nil
		}
		list[i] = UnitRange{first, count}
		from = first + count
	}
	return list
}

// unitRests reads a list that lies within [from, end), rising by construction.
func (r *reader) unitRests(from, end uint32) (list []UnitRest) {
	n := int(r.uvarint(MaxUnitRanges))
	if 2*n > len(r.b) {
		r.fail(ErrTruncated)
		return nil
	}
	for range n {
		u := UnitRest{Unit: from + uint32(r.uvarint(uint64(end-from)))}
		if u.Unit >= end {
			r.fail(ErrValue)
			return nil
		}
		u.Left = uint32(r.uvarint(1<<32 - 1))
		list = append(list, u)
		from = u.Unit + 1
	}
	return list
}

func (r *reader) bool() bool {
	v := r.u8()
	if v > 1 {
		r.fail(ErrValue)
	}
	return v == 1
}
