package flowtable

import (
	"errors"
	"fmt"
	"math/bits"
	"unsafe"
)

// ErrMemory reports memory that cannot hold a table.
var ErrMemory = errors.New("flowtable: unusable memory")

// Memory is where a table lives. Slot 0 of both arrays is never used, so an
// array of n+1 holds n. The caller keeps the memory mapped for as long as the
// Table is in use.
type Memory struct {
	Index    []Bucket // a power of two
	Flows    []FlowSlot
	Forwards []ForwardSlot

	Delegations []DelegationSlot // none: nothing can be delegated to this node
}

// NewMemory returns zeroed heap memory for that many flows and forwards, each of
// which may be delegated, for tests and the simulator.
func NewMemory(flows, forwards int) Memory {
	return Memory{
		Index:    make([]Bucket, IndexBuckets(flows, forwards)),
		Flows:    make([]FlowSlot, flows+1),
		Forwards: make([]ForwardSlot, forwards+1),

		Delegations: make([]DelegationSlot, forwards+1),
	}
}

// IndexBuckets returns the number of index buckets for that many flows (two
// entries each) and forwards (one entry): the power of two that keeps the
// index at most three quarters full.
func IndexBuckets(flows, forwards int) int {
	entries := 2*max(flows, 0) + max(forwards, 0)
	least := max((entries*4+3*BucketEntries-1)/(3*BucketEntries), 2)
	return 1 << bits.Len(uint(least-1))
}

func (m Memory) check() error {
	n := len(m.Index)
	switch {
	case n < 2 || n&(n-1) != 0 || n > 1<<31:
		return fmt.Errorf("%w: %d index buckets, want a power of two of at least 2", ErrMemory, n)
	case len(m.Flows) < 1 || len(m.Forwards) < 1:
		return fmt.Errorf("%w: %d flow and %d forward slots, want at least the unused slot 0", ErrMemory, len(m.Flows), len(m.Forwards))
	case len(m.Flows) > MaxSlots || len(m.Forwards) > MaxSlots || len(m.Delegations) > MaxSlots:
		return fmt.Errorf("%w: %d flow, %d forward and %d delegation slots, want at most %d", ErrMemory, len(m.Flows), len(m.Forwards), len(m.Delegations), MaxSlots)
	case uintptr(unsafe.Pointer(&m.Index[0]))%8 != 0 || uintptr(unsafe.Pointer(&m.Flows[0]))%8 != 0 || uintptr(unsafe.Pointer(&m.Forwards[0]))%8 != 0 || uintptr(unsafe.Pointer(unsafe.SliceData(m.Delegations)))%8 != 0:
		return fmt.Errorf("%w: not aligned to 8 bytes", ErrMemory)
	}
	return nil
}
