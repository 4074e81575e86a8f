package flowtable

import (
	"errors"
	"fmt"

	"cohort/packet"
)

// Errors of the insertions. A caller decides by them.
var (
	// ErrFull: no slot is free, or the index has no room. Counted in Stats.
	ErrFull = errors.New("flowtable: full")
	// ErrExists: one of the keys is already in the table, as flow or forward.
	ErrExists = errors.New("flowtable: key exists")
	// ErrMirror: both directions of the flow have the same key, so packets
	// could not be told apart.
	ErrMirror = errors.New("flowtable: both directions have one key")
)

// Table is the flow table of one node. See the package comment for who may do
// what; none of its methods may run concurrently with another.
type Table struct {
	mem  Memory
	seed [10]uint64
	mask uint32

	flows, forwards     slots
	delegations         slots
	grace               Grace
	liveFlows, liveFwds int
	delegated           int
	full, displaced     uint64
	adopted             Adopted
	search              [maxSearch]searchNode
	flowBuf             FlowSlot // scratch, so that callbacks cost no allocation
	forwardBuf          ForwardSlot
	afterStore          func() // tests kill the writer here
}

// Stats is a snapshot of a table's figures.
type Stats struct {
	Flows, Forwards         int // live
	Delegations             int // live, and those that are ending
	FreeFlows, FreeForwards int // ready for an insertion
	FreeDelegations         int
	Quarantined             int    // dead, waiting for Reclaim
	Full                    uint64 // insertions refused with ErrFull
	Displaced               uint64 // index entries moved to make room
	Adopted                 Adopted
}

// Stats returns the current figures.
func (t *Table) Stats() Stats {
	return Stats{
		Flows: t.liveFlows, Forwards: t.liveFwds,
		FreeFlows: t.flows.available(), FreeForwards: t.forwards.available(),
		Delegations: t.delegated, FreeDelegations: t.delegations.available(),
		Quarantined: t.flows.quarantined() + t.forwards.quarantined() + t.delegations.quarantined(),
		Full:        t.full, Displaced: t.displaced, Adopted: t.adopted,
	}
}

// Flow returns the slot itself, live or not; nil when out of range. Use it to
// read; Go's words change through UpdateFlow, XDP's are read through the
// accessors in counters.go.
func (t *Table) Flow(slot uint32) *FlowSlot {
	if slot == 0 || uint64(slot) >= uint64(len(t.mem.Flows)) {
		return nil
	}
	return &t.mem.Flows[slot]
}

// Forward is Flow for forward slots.
func (t *Table) Forward(slot uint32) *ForwardSlot {
	if slot == 0 || uint64(slot) >= uint64(len(t.mem.Forwards)) {
		return nil
	}
	return &t.mem.Forwards[slot]
}

// InsertFlow stores f, finds it from now on under both its keys, and returns
// its slot. Seq is the table's own and ignored in f; FlowLive is set. Errors:
// ErrFull, ErrExists, ErrMirror; the table is then as it was.
func (t *Table) InsertFlow(f FlowSlot) (slot uint32, err error) {
	if f.Key[0] == f.Key[1] {
		return 0, fmt.Errorf("insert flow %v: %w", f.Key[0], ErrMirror)
	}
	var homes [2]home
	for d := range f.Key {
		r, h := t.locate(&f.Key[d])
		if r != 0 {
			return 0, ErrExists
		}
		homes[d] = h
	}
	if slot = t.flows.take(); slot == 0 {
		t.full++
		return 0, ErrFull
	}
	dst := &t.mem.Flows[slot]
	t.flowBuf = f
	t.flowBuf.Flags |= FlowLive
	t.writeFlowTail(dst, &t.flowBuf)
	t.writeFlow(dst, &t.flowBuf)
	if !t.linkFlow(slot, dst, &homes) {
		t.killFlow(dst)
		t.flows.bury(slot)
		t.full++
		return 0, ErrFull
	}
	t.flows.born(slot)
	t.liveFlows++
	return slot, nil
}

// linkFlow indexes the reply direction first: a flow whose first key is found
// is complete.
func (t *Table) linkFlow(slot uint32, f *FlowSlot, homes *[2]home) bool {
	if !t.link(homes[1], flowRef(slot, 1)) {
		return false
	}
	if !t.link(homes[0], flowRef(slot, 0)) {
		t.unlink(f.Key[1], flowRef(slot, 1))
		return false
	}
	return true
}

// RemoveFlow ends a flow. The slot rests until Reclaim has let the grace period
// pass. A slot that is not live is left alone.
func (t *Table) RemoveFlow(slot uint32) {
	f := t.Flow(slot)
	if f == nil || f.Flags&FlowLive == 0 {
		return
	}
	t.killFlow(f)
	t.unlink(f.Key[0], flowRef(slot, 0))
	t.unlink(f.Key[1], flowRef(slot, 1))
	t.flows.bury(slot)
	t.liveFlows--
}

// UpdateFlow lets fn change Go's line of a live flow; readers see all of the
// change or nothing. fn works on a copy, whose second line is for reading only,
// must not keep it, and must not call the table. Changing a key panics: the
// index would no longer find the flow. FlowLive stays whatever fn does. A slot
// that is not live is left alone.
func (t *Table) UpdateFlow(slot uint32, fn func(*FlowSlot)) {
	f := t.Flow(slot)
	if f == nil || f.Flags&FlowLive == 0 {
		return
	}
	readFlow(&t.flowBuf, f)
	fn(&t.flowBuf)
	if t.flowBuf.Key != f.Key {
		panic(fmt.Sprintf("flowtable: update of slot %d changed the key %v to %v", slot, f.Key, t.flowBuf.Key))
	}
	t.flowBuf.Flags |= FlowLive
	t.writeFlow(f, &t.flowBuf)
}

// InsertForward stores f and finds it from now on under its key. Errors:
// ErrFull, ErrExists.
func (t *Table) InsertForward(f ForwardSlot) (slot uint32, err error) {
	r, h := t.locate(&f.Key)
	if r != 0 {
		return 0, ErrExists
	}
	if slot = t.forwards.take(); slot == 0 {
		t.full++
		return 0, ErrFull
	}
	dst := &t.mem.Forwards[slot]
	t.forwardBuf = f
	t.forwardBuf.Flags |= FlowLive
	t.writeForwardTail(dst, &t.forwardBuf)
	t.writeForward(dst, &t.forwardBuf)
	if !t.link(h, forwardRef(slot)) {
		t.killForward(dst)
		t.forwards.bury(slot)
		t.full++
		return 0, ErrFull
	}
	t.forwards.born(slot)
	t.liveFwds++
	return slot, nil
}

// RemoveForward is RemoveFlow for forward slots.
func (t *Table) RemoveForward(slot uint32) {
	f := t.Forward(slot)
	if f == nil || f.Flags&FlowLive == 0 {
		return
	}
	if d := t.EndDelegation(slot); d != 0 {
		t.FreeDelegation(d)
	}
	t.killForward(f)
	t.unlink(f.Key, forwardRef(slot))
	t.forwards.bury(slot)
	t.liveFwds--
}

// UpdateForward is UpdateFlow for forward slots: fn may change Gen, Owner,
// Incarnation and Iface.
func (t *Table) UpdateForward(slot uint32, fn func(*ForwardSlot)) {
	f := t.Forward(slot)
	if f == nil || f.Flags&FlowLive == 0 {
		return
	}
	readForward(&t.forwardBuf, f)
	fn(&t.forwardBuf)
	if t.forwardBuf.Key != f.Key {
		panic(fmt.Sprintf("flowtable: update of forward slot %d changed the key %v to %v", slot, f.Key, t.forwardBuf.Key))
	}
	t.forwardBuf.Flags |= FlowLive
	t.writeForward(f, &t.forwardBuf)
}

// Reclaim makes dead slots usable again. A slot becomes free in the second call
// after its death at the earliest, at least two ticks after the first, and when the
// programs that ran at the first have ended (Watch). Call it
// every few milliseconds while there is traffic; a call costs nothing when
// nothing died.
func (t *Table) Reclaim(now uint32) {
	t.flows.reclaim(now)
	t.forwards.reclaim(now)
	t.delegations.reclaim(now)
}

// Slots returns how many slot numbers a round of ScanFlows passes: the highest
// ever used.
func (t *Table) Slots() int { return int(t.flows.fresh) - 1 }

// ForwardSlots returns how many slot numbers a round of ScanForwards passes.
func (t *Table) ForwardSlots() int { return int(t.forwards.fresh) - 1 }

// ScanFlows visits the live ones of the n slots from slot number from on (0
// starts a round) and returns where to go on, 0 at the end of the round. A
// visitor that returns false ends the call after its slot. It may remove the
// slot it is given and insert others.
func (t *Table) ScanFlows(from uint32, n int, fn func(slot uint32, f *FlowSlot) bool) (next uint32) {
	return t.flows.scan(from, n, func(slot uint32) bool { return fn(slot, &t.mem.Flows[slot]) })
}

// ScanForwards is ScanFlows for forward slots.
func (t *Table) ScanForwards(from uint32, n int, fn func(slot uint32, f *ForwardSlot) bool) (next uint32) {
	return t.forwards.scan(from, n, func(slot uint32) bool { return fn(slot, &t.mem.Forwards[slot]) })
}

// KeyOf returns the key that a Ref stands for, false when its slot is not live.
func (t *Table) KeyOf(r Ref) (packet.FlowKey, bool) {
	if k := t.keyOf(r); k != nil {
		return *k, true
	}
	return packet.FlowKey{}, false
}
