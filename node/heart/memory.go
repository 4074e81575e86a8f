package heart

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"cohort/ccl/seal"
	"cohort/ccl/wire"
	"cohort/cluster/pulse"
)

// maxPeers that a memory has rows for: one more than a cluster has nodes.
const maxPeers = wire.MaxNodes

// memory is shared by both processes. Each word has one writer.
type memory struct {
	// Of the daemon's event loop.
	progress atomic.Int64  // when it went round last
	permit   atomic.Int64  // up to when the membership allows to forward; 0: not at all
	life     atomic.Uint64 // incarnation
	rest     atomic.Uint32 // 1: say that the daemon will be started again, and end

	// Of the heart.
	realtime atomic.Uint32 // 1: the system gave it real-time priority
	rested   atomic.Uint32 // 1: it has said so
	alarms   atomic.Uint32 // times that a peer became silent
	attended atomic.Int64
	sent     atomic.Int64 // newest beat
	lateness atomic.Int64 // Stats
	worst    atomic.Int64
	counts   [numCounts]atomic.Uint64
	lateAt   [pulse.NumStages]atomic.Uint64
	stages   [pulse.NumStages]spread
	refused  [seal.NumReasons]atomic.Uint64
	peers    [maxPeers]row
}

// What memory.counts counts, since the heart of this daemon was started first.
const (
	countSent = iota
	countReceived
	countLate
	countAsked
	countAnswered
	countUnknown
	countMalformed
	countFailed
	countLost
	countLateLost
	numCounts
)

// row is a pulse.Peer that is read as a whole: seq is odd while it is written.
type row struct {
	seq      atomic.Uint64
	at       atomic.Int64
	progress atomic.Int64
	life     atomic.Uint64
	hold     atomic.Uint64
	longest  atomic.Int64
}

// spread is a pulse.Spread. It is not read as a whole: its buckets may be one beat
// apart from its sum.
type spread struct {
	counts     [len(pulse.Bounds) + 1]atomic.Uint64
	sum, worst atomic.Int64
}

func (s *spread) write(p *pulse.Spread) {
	for i, n := range p.Counts {
		s.counts[i].Store(n)
	}
	s.sum.Store(p.Sum)
	s.worst.Store(p.Worst)
}

func (s *spread) read() (p pulse.Spread) {
	for i := range p.Counts {
		p.Counts[i] = s.counts[i].Load()
	}
	p.Sum, p.Worst = s.sum.Load(), s.worst.Load()
	return p
}

// write makes seq odd, also where a heart that died in the middle has left it so, and
// even at the end.
func (r *row) write(p pulse.Peer) {
	begun := r.seq.Load() | 1
	r.seq.Store(begun)
	r.at.Store(p.At)
	r.progress.Store(p.Progress)
	r.life.Store(uint64(p.Life))
	hold := uint64(0)
	if p.Hold {
		hold = 1
	}
	r.hold.Store(hold)
	r.longest.Store(p.Longest)
	r.seq.Store(begun + 1)
}

// read returns false if the writer stopped in the middle: the caller keeps what it
// had.
func (r *row) read() (p pulse.Peer, ok bool) {
	for range 100 {
		before := r.seq.Load()
		p = pulse.Peer{At: r.at.Load(), Life: wire.Incarnation(r.life.Load()), Progress: r.progress.Load(), Hold: r.hold.Load() != 0, Longest: r.longest.Load()}
		if before&1 == 0 && r.seq.Load() == before {
			return p, before != 0
		}
	}
	return pulse.Peer{}, false
}

// newMemory makes the memory and the file that hands it on.
func newMemory() (*memory, *os.File, error) {
	fd, err := unix.MemfdCreate("cohort-pulse", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, nil, fmt.Errorf("pulse: memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "cohort-pulse")
	if err := f.Truncate(memorySize()); err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("pulse: memory: %w", err)
	}
	m, err := mapMemory(fd)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return m, f, nil
}

func memorySize() int64 {
	page := int64(os.Getpagesize())
	return (int64(unsafe.Sizeof(memory{})) + page - 1) / page * page
}

// mapMemory maps it for the life of the process.
func mapMemory(fd int) (*memory, error) {
	b, err := unix.Mmap(fd, 0, int(memorySize()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("pulse: memory: %w", err)
	}
	return (*memory)(unsafe.Pointer(&b[0])), nil
}

func (m *memory) unmap() error {
	return unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(m)), memorySize()))
}
