package flowtable

import (
	"sync/atomic"
	"unsafe"

	"cohort/packet"
)

// How Go rewrites its words of a slot while XDP reads them: Seq becomes odd,
// the words are stored one by one, Seq becomes even again. No store is torn, so
// a reader that loads words never sees half of one, and the order is the one
// written here.
//
// Every store into the shared memory goes through stored, which lets a test
// kill the writer after any one of them.

// Offsets, in 64-bit words, of the word that holds Seq and Gen, and the number
// of words Go owns.
const (
	flowSeqWord    = 4
	flowWords      = 8
	forwardSeqWord = 2
	forwardWords   = 4
)

const (
	_ = uint(unsafe.Offsetof(FlowSlot{}.Seq)-8*flowSeqWord) + uint(8*flowSeqWord-unsafe.Offsetof(FlowSlot{}.Seq))
	_ = uint(unsafe.Offsetof(FlowSlot{}.LastSeen)-8*flowWords) + uint(8*flowWords-unsafe.Offsetof(FlowSlot{}.LastSeen))
	_ = uint(unsafe.Offsetof(ForwardSlot{}.Seq)-8*forwardSeqWord) + uint(8*forwardSeqWord-unsafe.Offsetof(ForwardSlot{}.Seq))
	_ = uint(unsafe.Offsetof(ForwardSlot{}.LastSeen)-8*forwardWords) + uint(8*forwardWords-unsafe.Offsetof(ForwardSlot{}.LastSeen))
)

// clearPadding zeroes the bytes that a Go assignment may leave undefined; XDP
// compares keys as whole words.
func clearPadding(k *packet.FlowKey) {
	b := (*[16]byte)(unsafe.Pointer(k))
	b[14], b[15] = 0, 0
}

// writeFlow replaces Go's line of dst by that of src (whose Seq is ignored).
func (t *Table) writeFlow(dst, src *FlowSlot) {
	clearPadding(&src.Key[0])
	clearPadding(&src.Key[1])
	to, from := (*[16]uint64)(unsafe.Pointer(dst)), (*[16]uint64)(unsafe.Pointer(src))
	seq := dst.Seq
	t.store32(&dst.Seq, seq+1)
	for i := range flowWords {
		if i == flowSeqWord {
			t.store32(&dst.Gen, src.Gen)
		} else {
			t.put64(&to[i], from[i])
		}
	}
	t.store32(&dst.Seq, seq+2)
}

// writeFlowTail initialises XDP's line of dst from src. No reader may know dst.
func (t *Table) writeFlowTail(dst, src *FlowSlot) {
	to, from := (*[16]uint64)(unsafe.Pointer(dst)), (*[16]uint64)(unsafe.Pointer(src))
	for i := flowWords; i < len(to); i++ {
		t.put64(&to[i], from[i])
	}
}

// readFlow copies a slot; XDP may be writing its half meanwhile.
func readFlow(dst, src *FlowSlot) {
	to, from := (*[16]uint64)(unsafe.Pointer(dst)), (*[16]uint64)(unsafe.Pointer(src))
	for i := range to {
		to[i] = atomic.LoadUint64(&from[i])
	}
}

// killFlow takes FlowLive from a slot: the moment a flow stops to exist.
func (t *Table) killFlow(f *FlowSlot) {
	w := (*[32]uint32)(unsafe.Pointer(f))
	const flagsWord = unsafe.Offsetof(FlowSlot{}.Flags) / 4
	copied := w[flagsWord]
	(*[4]uint8)(unsafe.Pointer(&copied))[unsafe.Offsetof(FlowSlot{}.Flags)%4] = 0
	t.killWord(&f.Seq, &w[flagsWord], copied)
}

// writeForward replaces Go's words of dst by those of src.
func (t *Table) writeForward(dst, src *ForwardSlot) {
	clearPadding(&src.Key)
	to, from := (*[6]uint64)(unsafe.Pointer(dst)), (*[6]uint64)(unsafe.Pointer(src))
	seq := dst.Seq
	t.store32(&dst.Seq, seq+1)
	t.store64(&to[0], from[0])
	t.store64(&to[1], from[1])
	t.store32(&dst.Gen, src.Gen)
	t.store32(forwardOwner(dst), *forwardOwner(src))
	t.store32(&dst.Delegation, src.Delegation)
	t.store32(&dst.Seq, seq+2)
}

// writeForwardTail initialises XDP's words of dst from src.
func (t *Table) writeForwardTail(dst, src *ForwardSlot) {
	t.store32(&dst.LastSeen, src.LastSeen)
	t.store32(&dst.Packets, src.Packets)
	t.store64(&dst.Bytes, src.Bytes)
}

func readForward(dst, src *ForwardSlot) {
	to, from := (*[6]uint64)(unsafe.Pointer(dst)), (*[6]uint64)(unsafe.Pointer(src))
	for i := range to {
		to[i] = atomic.LoadUint64(&from[i])
	}
}

func (t *Table) killForward(f *ForwardSlot) {
	copied := *forwardOwner(f)
	(*[4]uint8)(unsafe.Pointer(&copied))[unsafe.Offsetof(ForwardSlot{}.Flags)%4] = 0
	t.killWord(&f.Seq, forwardOwner(f), copied)
}

// killWord stores the word without FlowLive under seq. A slot that an earlier
// writer left odd becomes even.
func (t *Table) killWord(seq, flags *uint32, word uint32) {
	odd := *seq | 1
	t.store32(seq, odd)
	t.store32(flags, word)
	t.store32(seq, odd+1)
}

// forwardOwner is the 32-bit word of Owner, Incarnation, Iface and Flags.
func forwardOwner(f *ForwardSlot) *uint32 { return (*uint32)(unsafe.Pointer(&f.Owner)) }

func (t *Table) store64(p *uint64, v uint64) {
	atomic.StoreUint64(p, v)
	t.stored()
}

// put64 is store64 where the readers wait for a later store.
func (t *Table) put64(p *uint64, v uint64) {
	put64(p, v)
	t.stored()
}

func (t *Table) store32(p *uint32, v uint32) {
	atomic.StoreUint32(p, v)
	t.stored()
}

func (t *Table) stored() {
	if t.afterStore != nil {
		t.afterStore()
	}
}
