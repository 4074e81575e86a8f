package flowtable

import "cohort/packet"

// Adopted says what New found in its memory.
type Adopted struct {
	Flows, Forwards int // taken over
	Delegations     int // taken over
	HalfWritten     int // slots with an odd Seq, dropped
	StaleEntries    int // index entries without a live slot or in a wrong place, cleared
	Relinked        int // index entries that were missing, added
	Conflicts       int // slots that could not be indexed (key taken, no room), dropped
}

// New makes a table of the memory, with whatever is in it. Zeroed memory is an
// empty table. Memory of a killed writer is repaired:
//
//   - a slot with an odd Seq was being written: dropped. An owner gets such a
//     flow back from its backup.
//   - an index entry whose slot is dead: RemoveFlow was interrupted after the
//     flow had ended. Cleared.
//   - an index entry that is there twice: displacement was interrupted. One
//     stays.
//   - a live slot without its index entries: InsertFlow was interrupted after
//     the slot was complete. Added.
//
// The seed must be the one XDP uses. With another seed than before, every entry
// is in a wrong place and the index is built anew.
//
// Only one writer may exist: the caller makes sure that the old one is dead.
// XDP may be running. Errors: ErrMemory, ErrSeed.
func New(mem Memory, seed [10]uint64) (*Table, error) {
	if err := mem.check(); err != nil {
		return nil, err
	}
	if err := checkSeed(seed); err != nil {
		return nil, err
	}
	t := &Table{mem: mem, seed: seed, mask: uint32(len(mem.Index) - 1)}
	t.adoptFlows()
	t.adoptForwards()
	linked := t.adoptIndex()
	t.relink(linked)
	t.adoptDelegations()
	t.adopted.Flows, t.adopted.Forwards = t.liveFlows, t.liveFwds
	return t, nil
}

// adoptFlows drops half written flows and rebuilds the free list.
func (t *Table) adoptFlows() {
	s := slots{end: uint32(len(t.mem.Flows)), fresh: 1}
	for i := uint32(1); i < s.end; i++ {
		f := &t.mem.Flows[i]
		if f.Seq&1 != 0 {
			t.killFlow(f)
			t.adopted.HalfWritten++
		}
		if f.Flags&FlowLive != 0 {
			t.liveFlows++
			s.adopt(i)
		}
	}
	t.flows = s
}

func (t *Table) adoptForwards() {
	s := slots{end: uint32(len(t.mem.Forwards)), fresh: 1}
	for i := uint32(1); i < s.end; i++ {
		f := &t.mem.Forwards[i]
		if f.Seq&1 != 0 {
			t.killForward(f)
			t.adopted.HalfWritten++
		}
		if f.Flags&FlowLive != 0 {
			t.liveFwds++
			s.adopt(i)
		}
	}
	t.forwards = s
}

// adopt marks a slot as used; calls come in rising order.
func (s *slots) adopt(slot uint32) {
	for ; s.fresh < slot; s.fresh++ {
		s.free.push(s.fresh, &s.spare)
	}
	s.fresh = slot + 1
	s.born(slot)
}

// linkedSet remembers which Refs have an index entry.
type linkedSet struct{ flows, forwards []uint64 }

// add reports whether r was not yet in the set.
func (l *linkedSet) add(r Ref) bool {
	bitmap := l.flows
	if r.IsForward() {
		bitmap = l.forwards
	}
	i := uint32(r &^ refForward)
	if bitmap[i/64]&(1<<(i%64)) != 0 {
		return false
	}
	bitmap[i/64] |= 1 << (i % 64)
	return true
}

// adoptIndex clears every entry that does not belong where it is.
func (t *Table) adoptIndex() *linkedSet {
	linked := &linkedSet{
		flows:    make([]uint64, len(t.mem.Flows)/32+1),
		forwards: make([]uint64, len(t.mem.Forwards)/32+1),
	}
	for b := range t.mem.Index {
		for i := range &t.mem.Index[b] {
			e := t.mem.Index[b][i]
			if e == 0 || t.belongs(e, uint32(b)) && linked.add(t.resolve(entryRef(e))) {
				continue
			}
			t.store64(&t.mem.Index[b][i], 0)
			t.adopted.StaleEntries++
		}
	}
	return linked
}

func (t *Table) belongs(e uint64, b uint32) bool {
	k := t.keyOf(t.resolve(entryRef(e)))
	if k == nil {
		return false
	}
	h := t.home(k)
	return h.tag == entryTag(e) && (b == h.b1 || b == h.b2)
}

// relink indexes the live slots whose entries are missing. A slot whose key
// meanwhile belongs to another one is dropped.
func (t *Table) relink(linked *linkedSet) {
	for i := uint32(1); i < t.flows.fresh; i++ {
		f := &t.mem.Flows[i]
		if f.Flags&FlowLive == 0 {
			continue
		}
		for dir := 1; dir >= 0; dir-- {
			if linked.add(flowRef(i, dir)) && !t.relinkKey(f.Key[dir], flowRef(i, dir)) {
				t.RemoveFlow(i)
				break
			}
		}
	}
	for i := uint32(1); i < t.forwards.fresh; i++ {
		f := &t.mem.Forwards[i]
		if f.Flags&FlowLive != 0 && linked.add(forwardRef(i)) && !t.relinkKey(f.Key, forwardRef(i)) {
			t.RemoveForward(i)
		}
	}
}

func (t *Table) relinkKey(k packet.FlowKey, r Ref) bool {
	if known, h := t.locate(&k); known != 0 || !t.link(h, r) {
		t.adopted.Conflicts++
		return false
	}
	t.adopted.Relinked++
	return true
}
