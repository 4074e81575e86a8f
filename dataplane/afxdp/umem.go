package afxdp

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// Headroom is the room the kernel leaves in front of every received packet
// (XDP_PACKET_HEADROOM), in bytes. Callers may write there to prepend headers.
const Headroom = unix.XDP_PACKET_HEADROOM

// ErrConfig wraps every refusal of a configuration value.
var ErrConfig = errors.New("afxdp: bad configuration")

// Desc is one descriptor: Addr is the byte offset of the data in the Umem, Len
// its length, Options may hold RxMore.
type Desc = unix.XDPDesc

// RxMore marks a descriptor whose packet goes on in the next one.
const RxMore = unix.XDP_PKT_CONTD

// Holders of a frame; sockets are numbered from firstSocket.
const (
	heldByAllocator = 0
	heldByCaller    = 1
	firstSocket     = 2
	maxSockets      = math.MaxUint8 - firstSocket
)

// UmemConfig sizes the packet memory.
type UmemConfig struct {
	Frames    int // number of frames
	FrameSize int // bytes, 2048 or 4096; 0 means 4096
}

// Umem is the packet memory and its frame allocator. Not safe for concurrent
// use.
type Umem struct {
	mem     []byte
	shift   uint     // log2 of the frame size
	free    []uint32 // stack of frame numbers
	holder  []uint8  // who has frame i
	sockets [maxSockets]*Socket
}

// NewUmem maps the packet memory. It raises RLIMIT_MEMLOCK as far as it may:
// kernels charge the memory to the limit of a process without CAP_IPC_LOCK.
func NewUmem(cfg UmemConfig) (*Umem, error) {
	if cfg.FrameSize == 0 {
		cfg.FrameSize = 4096
	}
	if cfg.FrameSize != 2048 && cfg.FrameSize != 4096 {
		return nil, fmt.Errorf("%w: frame size %d, must be 2048 or 4096", ErrConfig, cfg.FrameSize)
	}
	if cfg.Frames < 1 || cfg.Frames > math.MaxInt32/cfg.FrameSize {
		return nil, fmt.Errorf("%w: %d frames of %d bytes", ErrConfig, cfg.Frames, cfg.FrameSize)
	}
	raiseMemlock()
	mem, err := unix.Mmap(-1, 0, cfg.Frames*cfg.FrameSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("afxdp: map %d frames: %w", cfg.Frames, err)
	}
	u := &Umem{mem: mem, shift: 11, free: make([]uint32, cfg.Frames), holder: make([]uint8, cfg.Frames)}
	if cfg.FrameSize == 4096 {
		u.shift = 12
	}
	for i := range u.free { // low frames first: they stay warm
		u.free[i] = uint32(cfg.Frames - 1 - i)
	}
	return u, nil
}

func raiseMemlock() {
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unlimited) == nil {
		return
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil {
		limit.Cur = limit.Max
		_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit) // registration reports what is missing
	}
}

// Close closes every socket and unmaps the memory. Slices given out by Data,
// Meta and Frame must not be used afterwards.
func (u *Umem) Close() error {
	if u.mem == nil {
		return nil
	}
	var errs []error
	for _, s := range u.sockets {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	errs = append(errs, unix.Munmap(u.mem))
	u.mem, u.free = nil, nil
	return errors.Join(errs...)
}

// FrameSize is the size of a frame in bytes; a received packet or part of one
// fills at most FrameSize-Headroom of it.
func (u *Umem) FrameSize() int { return 1 << u.shift }

// Frames is the number of frames in all.
func (u *Umem) Frames() int { return len(u.holder) }

// Available is the number of frames the allocator holds.
func (u *Umem) Available() int { return len(u.free) }

// Alloc takes a frame and returns the offset of its first byte; false when
// there is none left.
func (u *Umem) Alloc() (uint64, bool) {
	n := len(u.free)
	if n == 0 {
		return 0, false
	}
	i := u.free[n-1]
	u.free = u.free[:n-1]
	u.holder[i] = heldByCaller
	return uint64(i) << u.shift, true
}

// Free gives back the frame that addr lies in. It panics if the caller does
// not hold it.
func (u *Umem) Free(addr uint64) {
	i := uint32(addr >> u.shift)
	if u.holder[i] != heldByCaller {
		panic("afxdp: freed a frame that is not the caller's")
	}
	u.release(i)
}

func (u *Umem) release(i uint32) {
	u.holder[i] = heldByAllocator
	u.free = append(u.free, i) // never grows: capacity is the number of frames
}

// Data returns the bytes of d. The capacity ends with the frame.
func (u *Umem) Data(d Desc) []byte {
	end := (d.Addr>>u.shift + 1) << u.shift
	return u.mem[d.Addr : d.Addr+uint64(d.Len) : end]
}

// Meta returns the n bytes in front of the data of d: XDP metadata after
// Receive, headroom for a header to prepend otherwise. n <= Headroom.
func (u *Umem) Meta(d Desc, n int) []byte {
	return u.mem[d.Addr-uint64(n) : d.Addr : d.Addr]
}

// Frame returns the whole frame that addr lies in.
func (u *Umem) Frame(addr uint64) []byte {
	start := addr >> u.shift << u.shift
	end := start + 1<<u.shift
	return u.mem[start:end:end]
}
