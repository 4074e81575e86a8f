package nat

import (
	"math/rand/v2"

	"cohort/packet"
)

// holdDown remembers reply keys that were given back, until a late packet of
// their last connection can no longer be taken for one of the next (RFC 6888
// REQ-8). It holds exact keys: another remote may have the port at once (REQ-8
// c).
//
// All keys wait equally long, so they leave in the order they came: a ring, and
// a hash index over it, both free of pointers, both grown by doubling as far as
// the limit. When the limit is reached, each key that comes ends the oldest one's
// wait early, and that is counted: a late packet is a smaller evil than a refused
// connection, and the limit is the administrator's (REQ-8: "maximum number of
// ports in this state").
type holdDown struct {
	ring  []waiting // its length is a power of two
	first uint32    // the oldest is ring[first % len]
	count uint32    // entries of ring in use, dead ones included
	index []uint32  // place in ring + 1, 0 = empty; twice as long as ring
	seed  [4]uint64

	limit     uint32
	wildcards int    // keys of mappings among those that wait
	cut       uint64 // waits ended early
}

// waiting is one key and when its wait ends; dead if it came again later.
type waiting struct {
	key packet.FlowKey
	end int64
}

const dead = -1 << 63

func newHoldDown(limit int, rng *rand.Rand) holdDown {
	h := holdDown{limit: uint32(limit)}
	for i := range h.seed {
		h.seed[i] = rng.Uint64() | 1
	}
	return h
}

// add makes a key wait until end, which must not be before the end of any other
// key. A key that waits already waits until the new end.
func (h *holdDown) add(now int64, k packet.FlowKey, end int64) {
	h.expire(now, 2) // so that the ring does not grow when nobody calls Tick
	if slot, ok := h.find(k); ok {
		h.kill(slot)
	}
	if h.count >= h.limit {
		if h.ring[h.first].end != dead {
			h.cut++
		}
		h.drop()
	}
	if h.count == uint32(len(h.ring)) {
		h.grow()
	}
	place := (h.first + h.count) & uint32(len(h.ring)-1)
	h.ring[place] = waiting{k, end}
	h.count++
	h.insert(place)
	if isMapping(k) {
		h.wildcards++
	}
}

// has reports whether a key waits at now.
func (h *holdDown) has(now int64, k packet.FlowKey) bool {
	if h.count == 0 {
		return false
	}
	slot, ok := h.find(k)
	return ok && h.ring[h.index[slot]-1].end > now
}

// expire forgets keys whose wait is over, at most limit of them.
func (h *holdDown) expire(now int64, limit int) {
	for ; limit > 0 && h.count > 0 && h.ring[h.first].end <= now; limit-- {
		h.drop()
	}
}

// drop forgets the oldest entry.
func (h *holdDown) drop() {
	if h.ring[h.first].end != dead {
		slot, _ := h.find(h.ring[h.first].key)
		h.kill(slot)
	}
	h.first = (h.first + 1) & uint32(len(h.ring)-1)
	h.count--
}

// kill takes a key out of the index; its place in the ring stays until its turn.
func (h *holdDown) kill(slot uint32) {
	e := &h.ring[h.index[slot]-1]
	e.end = dead
	if isMapping(e.key) {
		h.wildcards--
	}
	// Close the gap: move back each following entry that may stand there.
	mask := uint32(len(h.index) - 1)
	for next := (slot + 1) & mask; h.index[next] != 0; next = (next + 1) & mask {
		home := h.hash(h.ring[h.index[next]-1].key) & mask
		if (next-home)&mask >= (next-slot)&mask {
			h.index[slot] = h.index[next]
			slot = next
		}
	}
	h.index[slot] = 0
}

func (h *holdDown) find(k packet.FlowKey) (slot uint32, ok bool) {
	if len(h.index) == 0 {
		return 0, false
	}
	mask := uint32(len(h.index) - 1)
	for slot = h.hash(k) & mask; h.index[slot] != 0; slot = (slot + 1) & mask {
		if h.ring[h.index[slot]-1].key == k {
			return slot, true
		}
	}
	return 0, false
}

func (h *holdDown) insert(place uint32) {
	mask := uint32(len(h.index) - 1)
	slot := h.hash(h.ring[place].key) & mask
	for h.index[slot] != 0 {
		slot = (slot + 1) & mask
	}
	h.index[slot] = place + 1
}

// grow doubles the ring: a rare long step (10 ms at half a million keys) that
// happens at most 15 times in a node's life.
func (h *holdDown) grow() {
	old, size := h.ring, max(64, 2*len(h.ring))
	ring := make([]waiting, size)
	n := copy(ring, old[h.first:])
	copy(ring[n:], old[:h.first])
	h.ring, h.first, h.index = ring, 0, make([]uint32, 2*size)
	for place := range h.count {
		if h.ring[place].end != dead {
			h.insert(place)
		}
	}
}

// hash is keyed (multilinear), because remotes choose parts of the keys.
func (h *holdDown) hash(k packet.FlowKey) uint32 {
	sum := h.seed[0] + h.seed[1]*uint64(number(k.Src)) + h.seed[2]*uint64(number(k.Dst)) +
		h.seed[3]*(uint64(k.SrcPort)|uint64(k.DstPort)<<16)
	return uint32((sum + uint64(k.Proto)<<40 + uint64(k.Zone)<<48) >> 32)
}
