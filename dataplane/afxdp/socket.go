package afxdp

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BindTimeout is how long Open retries a queue that is still busy. The kernel
// takes a closed socket off its queue asynchronously, so a restart meets EBUSY
// for some milliseconds.
const BindTimeout = 2 * time.Second

// SocketConfig says which queue a socket serves. Ring sizes are powers of two.
type SocketConfig struct {
	Ifindex     int
	Queue       int
	RxSize      int           // entries of the receive ring; 0 means 1024
	TxSize      int           // entries of the transmit ring; 0 means 1024
	FillSize    int           // frames lent to the kernel; 0 means RxSize
	ZeroCopy    bool          // try zero copy first; Socket.ZeroCopy tells the outcome
	SingleOnly  bool          // do not ask for multi-buffer packets
	BindTimeout time.Duration // 0 means BindTimeout
}

// Socket is one AF_XDP socket: one queue of one interface. Not safe for
// concurrent use, like its Umem.
type Socket struct {
	umem *Umem
	id   uint8
	cfg  SocketConfig
	fd   int

	fill       ring[uint64]
	completion ring[uint64]
	rx         ring[Desc]
	tx         ring[Desc]

	lent     int // frames in the fill ring or at the kernel for receiving
	sending  int // frames in the tx ring or not completed yet
	multi    bool
	zeroCopy bool
}

// Open binds a new socket in the calling thread's network namespace. The first
// socket registers the memory, the others share it (XDP_SHARED_UMEM), each
// with rings of its own. EBUSY is retried until the deadline; the error wraps
// the errno.
func (u *Umem) Open(cfg SocketConfig) (*Socket, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Socket{umem: u, cfg: cfg, fd: -1}
	if err := u.number(s); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("afxdp: interface %d queue %d: %w", cfg.Ifindex, cfg.Queue, err)
	}
	s.Fill()
	return s, nil
}

func (c *SocketConfig) complete() error {
	if c.RxSize == 0 {
		c.RxSize = 1024
	}
	if c.TxSize == 0 {
		c.TxSize = 1024
	}
	if c.FillSize == 0 {
		c.FillSize = c.RxSize
	}
	if c.BindTimeout == 0 {
		c.BindTimeout = BindTimeout
	}
	for _, n := range []int{c.RxSize, c.TxSize, c.FillSize} {
		if n < 1 || n&(n-1) != 0 {
			return fmt.Errorf("%w: ring size %d is not a power of two", ErrConfig, n)
		}
	}
	return nil
}

// number gives the socket its holder id.
func (u *Umem) number(s *Socket) error {
	if u.mem == nil {
		return fmt.Errorf("%w: the memory is closed", ErrConfig)
	}
	for i, o := range u.sockets {
		if o == nil {
			s.id = uint8(i + firstSocket)
			u.sockets[i] = s
			return nil
		}
	}
	return fmt.Errorf("%w: more than %d sockets", ErrConfig, maxSockets)
}

// sibling returns a bound socket whose memory registration can be shared.
func (u *Umem) sibling(not *Socket) *Socket {
	for _, o := range u.sockets {
		if o != nil && o != not && o.fd >= 0 {
			return o
		}
	}
	return nil
}

func (s *Socket) open() (err error) {
	if s.fd, err = unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	share := s.umem.sibling(s)
	if share == nil {
		if err := s.register(); err != nil {
			return err
		}
	}
	if err := s.makeRings(); err != nil {
		return err
	}
	if share != nil {
		s.multi, s.zeroCopy = share.multi, share.zeroCopy // decided by the first socket
		return s.bind(unix.XDP_SHARED_UMEM, share.fd)
	}
	return s.bindFirst()
}

func (s *Socket) register() error {
	reg := unix.XDPUmemReg{
		Addr: uint64(uintptr(unsafe.Pointer(&s.umem.mem[0]))),
		Len:  uint64(len(s.umem.mem)),
		Size: uint32(s.umem.FrameSize()),
	}
	if err := setsockopt(s.fd, unix.XDP_UMEM_REG, unsafe.Pointer(&reg), unsafe.Sizeof(reg)); err != nil {
		if errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("register %d bytes (raise RLIMIT_MEMLOCK): %w", len(s.umem.mem), err)
		}
		return fmt.Errorf("register memory: %w", err)
	}
	return nil
}

func (s *Socket) makeRings() error {
	for _, o := range []struct{ option, size int }{
		{unix.XDP_UMEM_FILL_RING, s.cfg.FillSize},
		{unix.XDP_UMEM_COMPLETION_RING, s.cfg.TxSize},
		{unix.XDP_RX_RING, s.cfg.RxSize},
		{unix.XDP_TX_RING, s.cfg.TxSize},
	} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_XDP, o.option, o.size); err != nil {
			return fmt.Errorf("make ring: %w", err)
		}
	}
	var off unix.XDPMmapOffsets
	if err := getsockopt(s.fd, unix.XDP_MMAP_OFFSETS, unsafe.Pointer(&off), unsafe.Sizeof(off)); err != nil {
		return fmt.Errorf("ring offsets: %w", err)
	}
	var err error
	if s.fill, err = mapRing[uint64](s.fd, unix.XDP_UMEM_PGOFF_FILL_RING, off.Fr, s.cfg.FillSize); err != nil {
		return err
	}
	if s.completion, err = mapRing[uint64](s.fd, unix.XDP_UMEM_PGOFF_COMPLETION_RING, off.Cr, s.cfg.TxSize); err != nil {
		return err
	}
	if s.rx, err = mapRing[Desc](s.fd, unix.XDP_PGOFF_RX_RING, off.Rx, s.cfg.RxSize); err != nil {
		return err
	}
	s.tx, err = mapRing[Desc](s.fd, unix.XDP_PGOFF_TX_RING, off.Tx, s.cfg.TxSize)
	return err
}

// bindFirst tries the modes from the best down: zero copy if wanted, then
// copy, each with multi-buffer and without (EINVAL before 6.6).
func (s *Socket) bindFirst() error {
	modes := []uint16{unix.XDP_COPY}
	if s.cfg.ZeroCopy {
		modes = []uint16{unix.XDP_ZEROCOPY, unix.XDP_COPY}
	}
	var err error
	for _, mode := range modes {
		for _, sg := range []uint16{unix.XDP_USE_SG, 0} {
			if sg != 0 && s.cfg.SingleOnly {
				continue
			}
			err = s.bind(mode|sg|unix.XDP_USE_NEED_WAKEUP, 0)
			if err == nil {
				s.multi, s.zeroCopy = sg != 0, mode == unix.XDP_ZEROCOPY
				return nil
			}
			if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
				return err
			}
		}
	}
	return err
}

func (s *Socket) bind(flags uint16, sharedFD int) error {
	addr := &unix.SockaddrXDP{
		Flags:        flags,
		Ifindex:      uint32(s.cfg.Ifindex),
		QueueID:      uint32(s.cfg.Queue),
		SharedUmemFD: uint32(sharedFD),
	}
	deadline := time.Now().Add(s.cfg.BindTimeout)
	for {
		err := unix.Bind(s.fd, addr)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("bind: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// FD is the descriptor to poll and to put into an XSKMAP.
func (s *Socket) FD() int { return s.fd }

// Ifindex is the interface the socket is bound to.
func (s *Socket) Ifindex() int { return s.cfg.Ifindex }

// Queue is the receive queue the socket is bound to.
func (s *Socket) Queue() int { return s.cfg.Queue }

// MultiBuffer reports whether packets larger than a frame can be received.
func (s *Socket) MultiBuffer() bool { return s.multi }

// ZeroCopy reports whether the driver works on the Umem directly.
func (s *Socket) ZeroCopy() bool { return s.zeroCopy }

// Statistics returns the kernel's counters of the socket.
func (s *Socket) Statistics() (unix.XDPStatistics, error) {
	var st unix.XDPStatistics
	if err := getsockopt(s.fd, unix.XDP_STATISTICS, unsafe.Pointer(&st), unsafe.Sizeof(st)); err != nil {
		return st, fmt.Errorf("afxdp: statistics: %w", err)
	}
	return st, nil
}

// Close closes the socket, unmaps its rings and takes back every frame it
// held. It is idempotent. In copy mode the kernel has copied what it sends, so
// taking back frames in flight is safe; with zero copy the driver has let go
// of the queue when close returns.
func (s *Socket) Close() error {
	slot := int(s.id) - firstSocket
	if s.umem.sockets[slot] != s {
		return nil
	}
	var errs []error
	if s.fd >= 0 {
		errs = append(errs, unix.Close(s.fd))
	}
	errs = append(errs, s.fill.unmap(), s.completion.unmap(), s.rx.unmap(), s.tx.unmap())
	for i, h := range s.umem.holder {
		if h == s.id {
			s.umem.release(uint32(i))
		}
	}
	s.umem.sockets[slot] = nil
	s.fd, s.lent, s.sending = -1, 0, 0
	return errors.Join(errs...)
}

func setsockopt(fd, option int, p unsafe.Pointer, n uintptr) error {
	_, _, e := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(option), uintptr(p), n, 0)
	if e != 0 {
		return e
	}
	return nil
}

func getsockopt(fd, option int, p unsafe.Pointer, n uintptr) error {
	length := uint32(n)
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(option), uintptr(p),
		uintptr(unsafe.Pointer(&length)), 0)
	if e != 0 {
		return e
	}
	return nil
}
