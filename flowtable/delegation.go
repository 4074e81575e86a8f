package flowtable

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// A delegation lives beside the forward slot of its direction: the slot's flag
// FlowDelegated and its word Delegation lead there, for Go. For XDP, the index does. It
// begins at one store, into the index, and XDP stops using it at one: the same, or the
// loss of its own FlowLive. What XDP has counted is final when a rest that begins after
// that is over (Rested), and only then is it read for the last time.

// Delegate lets XDP forward the direction of a forward slot as d says. Seq, Key and
// Forward are the table's own and ignored in d; FlowLive is set. Errors: ErrFull (no slot free, or
// none at all), ErrExists (the slot has a delegation, or is not live).
func (t *Table) Delegate(forward uint32, d DelegationSlot) error {
	f := t.Forward(forward)
	if f == nil || f.Flags&(FlowLive|FlowDelegated) != FlowLive {
		return ErrExists
	}
	slot := t.delegations.take()
	if slot == 0 {
		t.full++
		return ErrFull
	}
	dst := &t.mem.Delegations[slot]
	d.Flags |= FlowLive
	d.Key, d.Forward = f.Key, forward
	to, from := (*[16]uint64)(unsafe.Pointer(dst)), (*[16]uint64)(unsafe.Pointer(&d))
	for i := delegationWords; i < len(to); i++ { // XDP's half: nobody can find it yet
		t.put64(&to[i], from[i])
	}
	t.writeDelegation(dst, &d)
	t.delegated++
	t.point(f, slot)
	t.redirect(d.Key, forwardRef(forward), delegatedRef(slot))
	return nil
}

// Delegation returns the delegation of a forward slot, and its number; nil and 0
// when there is none.
func (t *Table) Delegation(forward uint32) (*DelegationSlot, uint32) {
	f := t.Forward(forward)
	if f == nil || f.Flags&FlowDelegated == 0 {
		return nil, 0
	}
	return &t.mem.Delegations[f.Delegation], f.Delegation
}

// DelegationAt returns a delegation by its number, also one that has ended and was
// not freed.
func (t *Table) DelegationAt(slot uint32) *DelegationSlot {
	if slot == 0 || uint64(slot) >= uint64(len(t.mem.Delegations)) {
		return nil
	}
	return &t.mem.Delegations[slot]
}

// UpdateDelegation lets fn change NextHop, Iface, Lease and View of the delegation
// of a forward slot, and sees nothing else of it but To. As UpdateFlow.
func (t *Table) UpdateDelegation(forward uint32, fn func(*DelegationSlot)) {
	d, _ := t.Delegation(forward)
	if d == nil {
		return
	}
	var copied DelegationSlot // Go's half: XDP writes the other one meanwhile
	to, from := (*[16]uint64)(unsafe.Pointer(&copied)), (*[16]uint64)(unsafe.Pointer(d))
	copy(to[:delegationWords], from[:delegationWords])
	fn(&copied)
	copied.Flags |= FlowLive
	copied.Key, copied.Forward = d.Key, d.Forward
	t.writeDelegation(d, &copied)
}

// Prolong moves the end of the lease of the delegation of a forward slot: one store,
// since that is done once a second for every one in use. XDP sees the old end or the
// new one.
func (t *Table) Prolong(forward, lease uint32) {
	d, _ := t.Delegation(forward)
	if d == nil {
		return
	}
	words := (*[16]uint64)(unsafe.Pointer(d))
	word := words[delegationLeaseWord]
	(*[2]uint32)(unsafe.Pointer(&word))[0] = lease
	t.store64(&words[delegationLeaseWord], word)
}

// EndDelegation takes the delegation of a forward slot out of force and returns its
// number, for FreeDelegation; 0 when there is none.
func (t *Table) EndDelegation(forward uint32) (slot uint32) {
	d, slot := t.Delegation(forward)
	if d == nil {
		return 0
	}
	t.redirect(d.Key, delegatedRef(slot), forwardRef(forward))
	t.point(t.Forward(forward), 0)
	t.killDelegation(d)
	return slot
}

// FreeDelegation gives the slot of a delegation that has ended back. Once for each.
func (t *Table) FreeDelegation(slot uint32) {
	if d := t.DelegationAt(slot); d == nil || d.Flags&FlowLive != 0 {
		panic(fmt.Sprintf("flowtable: delegation %d freed in force", slot))
	}
	t.delegations.bury(slot)
	t.delegated--
}

// delegationSeqWord is the 64-bit word that holds Seq and the hop word, and
// delegationWords how many of a delegation are Go's.
const delegationSeqWord = 4

const delegationWords = 8

// delegationLeaseWord is the 64-bit word of Lease and View.
const delegationLeaseWord = 5

const _ = uint(unsafe.Offsetof(DelegationSlot{}.Packets)-8*delegationWords) + uint(8*delegationWords-unsafe.Offsetof(DelegationSlot{}.Packets))

const _ = uint(unsafe.Offsetof(DelegationSlot{}.Lease)-8*delegationLeaseWord) + uint(8*delegationLeaseWord-unsafe.Offsetof(DelegationSlot{}.Lease))

const _ = uint(unsafe.Offsetof(DelegationSlot{}.Seq)-8*delegationSeqWord) + uint(8*delegationSeqWord-unsafe.Offsetof(DelegationSlot{}.Seq))

// point makes a forward slot lead to a delegation, or to none.
func (t *Table) point(f *ForwardSlot, slot uint32) {
	readForward(&t.forwardBuf, f)
	t.forwardBuf.Delegation = slot
	t.forwardBuf.Flags &^= FlowDelegated
	if slot != 0 {
		t.forwardBuf.Flags |= FlowDelegated
	}
	t.writeForward(f, &t.forwardBuf)
}

func (t *Table) writeDelegation(dst, src *DelegationSlot) {
	clearPadding(&src.Key)
	to, from := (*[16]uint64)(unsafe.Pointer(dst)), (*[16]uint64)(unsafe.Pointer(src))
	seq := dst.Seq
	t.store32(&dst.Seq, seq+1)
	for i := range delegationWords {
		if i == delegationSeqWord {
			t.store32(dst.hopWord(), *src.hopWord())
		} else {
			t.store64(&to[i], from[i])
		}
	}
	t.store32(&dst.Seq, seq+2)
}

func (t *Table) killDelegation(d *DelegationSlot) {
	copied := *d.hopWord()
	(*[4]uint8)(unsafe.Pointer(&copied))[3] = 0
	t.killWord(&d.Seq, d.hopWord(), copied)
}

// hopWord is the 32-bit word of NextHop, Iface and Flags.
func (d *DelegationSlot) hopWord() *uint32 { return (*uint32)(unsafe.Pointer(&d.NextHop)) }

// Counters returns packets and bytes (IP total length) forwarded by a delegation
// since it began.
func (d *DelegationSlot) Counters() (packets, bytes uint64) {
	return atomic.LoadUint64(&d.Packets), atomic.LoadUint64(&d.Bytes)
}

// SeenAt returns the tick of its last packet; of none, when it began.
func (d *DelegationSlot) SeenAt() uint32 { return atomic.LoadUint32(&d.LastSeen) }

// Sent returns what its last TCP segment said. WScale is not known.
func (d *DelegationSlot) Sent() TCPSent {
	w := atomic.LoadUint32((*uint32)(unsafe.Pointer(&d.Window)))
	return TCPSent{
		SeqEnd: atomic.LoadUint32(&d.SeqEnd), Ack: atomic.LoadUint32(&d.Ack),
		Window: (*[2]uint16)(unsafe.Pointer(&w))[0], WScale: WScaleUnknown,
	}
}

// Account adds one packet, as XDP does: for models of it.
func (d *DelegationSlot) Account(now uint32, bytes int, sent TCPSent) {
	if int32(sent.SeqEnd-atomic.LoadUint32(&d.SeqEnd)) > 0 || atomic.LoadUint64(&d.Packets) == 0 {
		atomic.StoreUint32(&d.SeqEnd, sent.SeqEnd)
	}
	atomic.StoreUint32(&d.LastSeen, now)
	atomic.AddUint64(&d.Packets, 1)
	atomic.AddUint64(&d.Bytes, uint64(bytes))
	atomic.StoreUint32(&d.Ack, sent.Ack)
	swapWord((*uint32)(unsafe.Pointer(&d.Window)), func(w *[4]uint8) { (*[2]uint16)(unsafe.Pointer(w))[0] = sent.Window })
}

// InForce reports whether XDP forwards by a delegation at a tick, in the view with
// this tag.
func (d *DelegationSlot) InForce(now, view uint32) bool {
	return d.Flags&FlowLive != 0 && Since(d.Lease, now) > 0 && d.View == view
}

// adoptDelegations keeps those that a forward slot leads to and drops the rest: a
// writer was killed between the stores, or one was ending. The index leads to those that
// stay, and past the others: the entries that led to them have been cleared and linked
// anew, to their forward slots.
func (t *Table) adoptDelegations() {
	s := slots{end: uint32(len(t.mem.Delegations)), fresh: 1}
	used := make([]bool, len(t.mem.Delegations))
	t.ScanForwards(0, len(t.mem.Forwards), func(slot uint32, f *ForwardSlot) bool {
		if f.Flags&FlowDelegated == 0 {
			return true
		}
		d := t.DelegationAt(f.Delegation)
		if d == nil || used[f.Delegation] || d.Seq&1 != 0 || d.Flags&FlowLive == 0 || d.Forward != slot || d.Key != f.Key {
			t.point(f, 0)
			return true
		}
		used[f.Delegation] = true
		t.redirect(f.Key, forwardRef(slot), delegatedRef(f.Delegation))
		return true
	})
	for i := uint32(1); i < s.end; i++ {
		switch d := &t.mem.Delegations[i]; {
		case used[i]:
			t.delegated++
			s.adopt(i)
		case d.Flags&FlowLive != 0 || d.Seq&1 != 0:
			t.killDelegation(d)
		}
	}
	t.delegations, t.adopted.Delegations = s, t.delegated
}

// ScanDelegations visits the live ones of the delegations among the n forward slots
// from slot number from on, as ScanForwards.
func (t *Table) ScanDelegations(from uint32, n int, fn func(forward uint32, f *ForwardSlot, d *DelegationSlot) bool) (next uint32) {
	return t.ScanForwards(from, n, func(slot uint32, f *ForwardSlot) bool {
		return f.Flags&FlowDelegated == 0 || fn(slot, f, &t.mem.Delegations[f.Delegation])
	})
}
