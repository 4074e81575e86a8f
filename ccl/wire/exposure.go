package wire

import "encoding/binary"

// Exposure is broadcast once a second by every member: what would happen to the
// connections it owns if it died now (MG9). It informs; nothing is decided by it.
type Exposure struct {
	Owned  uint32 // connections
	NoCopy uint32 // of them with durability none
	Async  uint32 // ... whose newest state is not acknowledged, durability async
	Sync   uint32 // ... durability sync
	Behind uint32 // of Async and Sync: that an older state is acknowledged
	Oldest uint32 // µs that the oldest state message has been waiting for its acknowledgement
	P50    uint32 // µs from a state message to its acknowledgement, in the last minute
	P99    uint32
	Held   []HeldBy // by ascending node
}

// HeldBy says of how many connections a node has the copy.
type HeldBy struct {
	Node  NodeID
	Count uint32
}

// Type implements Message.
func (Exposure) Type() Type { return TypeExposure }

func appendExposure(b []byte, m *Exposure) []byte {
	for _, v := range [...]uint32{m.Owned, m.NoCopy, m.Async, m.Sync, m.Behind, m.Oldest, m.P50, m.P99} {
		b = binary.AppendUvarint(b, uint64(v))
	}
	b = append(b, byte(len(m.Held)))
	for _, h := range m.Held {
		b = binary.AppendUvarint(append(b, byte(h.Node)), uint64(h.Count))
	}
	return b
}

func (r *reader) exposure(m *Exposure) {
	for _, v := range [...]*uint32{&m.Owned, &m.NoCopy, &m.Async, &m.Sync, &m.Behind, &m.Oldest, &m.P50, &m.P99} {
		*v = uint32(r.uvarint(1<<32 - 1))
	}
	n := int(r.u8())
	if n > MaxNodes {
		r.fail(ErrValue)
		return
	}
	for last := NodeID(0); n > 0 && r.err == nil; n-- {
		h := HeldBy{Node: r.node(), Count: uint32(r.uvarint(1<<32 - 1))}
		if h.Node <= last {
			r.fail(ErrValue)
			return
		}
		last = h.Node
		m.Held = append(m.Held, h)
	}
}
