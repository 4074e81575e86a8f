package afxdp

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is one single-producer single-consumer ring shared with the kernel
// (linux/if_xdp.h): we produce into fill and tx and consume from rx and
// completion. head and tail count for ever; the low bits index.
type ring[T uint64 | Desc] struct {
	mapping  []byte
	producer *uint32
	consumer *uint32
	flags    *uint32
	entries  []T
	mask     uint32
	// local is our own side's counter: written back with one atomic store.
	local uint32
}

// mapRing maps a ring of size entries whose offsets the kernel told.
func mapRing[T uint64 | Desc](fd int, page int64, off unix.XDPRingOffset, size int) (ring[T], error) {
	var zero T
	length := int(off.Desc) + size*int(unsafe.Sizeof(zero))
	m, err := unix.Mmap(fd, page, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return ring[T]{}, fmt.Errorf("map ring: %w", err)
	}
	return ring[T]{
		mapping:  m,
		producer: (*uint32)(unsafe.Pointer(&m[off.Producer])),
		consumer: (*uint32)(unsafe.Pointer(&m[off.Consumer])),
		flags:    (*uint32)(unsafe.Pointer(&m[off.Flags])),
		entries:  unsafe.Slice((*T)(unsafe.Pointer(&m[off.Desc])), size),
		mask:     uint32(size - 1),
	}, nil
}

func (r *ring[T]) unmap() error {
	if r.mapping == nil {
		return nil
	}
	m := r.mapping
	*r = ring[T]{}
	return unix.Munmap(m)
}

// room is how many entries a producer may add.
func (r *ring[T]) room() uint32 {
	return uint32(len(r.entries)) - (r.local - atomic.LoadUint32(r.consumer))
}

// ready is how many entries a consumer may take.
func (r *ring[T]) ready() uint32 { return atomic.LoadUint32(r.producer) - r.local }

// put writes the next entry of a producer; publish makes it visible.
func (r *ring[T]) put(v T) {
	r.entries[r.local&r.mask] = v
	r.local++
}

// take reads the next entry of a consumer; retire gives its place back.
func (r *ring[T]) take() T {
	v := r.entries[r.local&r.mask]
	r.local++
	return v
}

func (r *ring[T]) publish() { atomic.StoreUint32(r.producer, r.local) }
func (r *ring[T]) retire()  { atomic.StoreUint32(r.consumer, r.local) }

// unread is how many entries the kernel has not consumed yet.
func (r *ring[T]) unread() uint32 { return r.local - atomic.LoadUint32(r.consumer) }

func (r *ring[T]) needsWakeup() bool {
	return atomic.LoadUint32(r.flags)&unix.XDP_RING_NEED_WAKEUP != 0
}
