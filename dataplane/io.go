package dataplane

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"cohort/bpf"
	"cohort/dataplane/afxdp"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxBatch is how many frames are outside (received and not ended) at most,
// besides the held ones.
const maxBatch = 256

// Buffers of packets that do not fit a Umem frame.
const (
	jumboSize = 10 << 10
	jumboRoom = 128 // in front, for headers to prepend
)

// IOConfig bounds the slow path. Zero values mean the defaults.
type IOConfig struct {
	Queues   int  // receive queues served per device; default and bound: what the device has, at most 16
	Ring     int  // descriptors of each ring, a power of two; default 512
	Hold     int  // frames that may be held; default 1024
	Jumbos   int  // packets larger than a Umem frame at once, of which half may be held; default 64
	ZeroCopy bool // try zero copy; copy mode works with every driver
}

// IO is the packet path of the event loop: what XDP could not settle comes in,
// and what the loop decided goes out. Not safe for concurrent use. Nothing is
// allocated per packet.
type IO struct {
	d       *Dataplane
	cfg     IOConfig
	umem    *afxdp.Umem
	sockets []*afxdp.Socket
	ports   [MaxIfaces][]*afxdp.Socket // by logical interface and queue; the CCL is 0
	descs   []afxdp.Desc
	parts   [4]afxdp.Desc
	next    int // socket that Receive asks first
	frames  []*Frame
	jumbos  [][]byte
	held    int
	alive   bool // lease and view, looked at once a batch
	looked  bool
	drops   [numDrops]uint64
	sent    uint64
	tunnel  tunnel
	closed  bool

	heldJumbos int // of the held ones, in buffers of their own
}

// OpenIO binds a socket to every served queue of every device and tells XDP
// about them: from then on packets are punted instead of dropped.
func (d *Dataplane) OpenIO(cfg IOConfig) (*IO, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	devices := map[uint8]netlink.Link{bpf.XSKCCL: d.ccl}
	for n, i := range d.cfg.Interfaces {
		devices[i.ID] = d.devices[n]
	}
	queues := make(map[uint8]int)
	total := 0
	for id, dev := range devices {
		queues[id] = min(queueCount(dev.Attrs().Name), cfg.Queues)
		total += queues[id]
	}
	io := &IO{d: d, cfg: cfg, descs: make([]afxdp.Desc, 64+afxdp.MaxParts)}
	var err error
	frames := total*2*cfg.Ring + cfg.Hold + maxBatch
	if io.umem, err = afxdp.NewUmem(afxdp.UmemConfig{Frames: frames}); err != nil {
		return nil, err
	}
	for id := range uint8(MaxIfaces) {
		if devices[id] == nil {
			continue
		}
		for q := range queues[id] {
			if err := io.serve(id, devices[id].Attrs().Index, q); err != nil {
				_ = io.Close()
				return nil, err
			}
		}
	}
	for range cfg.Hold + maxBatch {
		io.frames = append(io.frames, new(Frame))
	}
	for range cfg.Jumbos {
		io.jumbos = append(io.jumbos, make([]byte, jumboSize))
	}
	return io, nil
}

func (c *IOConfig) complete() error {
	for _, v := range []struct {
		value *int
		def   int
	}{{&c.Queues, bpf.XSKQueues}, {&c.Ring, 512}, {&c.Hold, 1024}, {&c.Jumbos, 64}} {
		if *v.value == 0 {
			*v.value = v.def
		}
		if *v.value < 0 {
			return fmt.Errorf("%w: %+v", ErrConfig, *c)
		}
	}
	c.Queues = min(c.Queues, bpf.XSKQueues)
	return nil
}

func (io *IO) serve(id uint8, ifindex, queue int) error {
	s, err := io.umem.Open(afxdp.SocketConfig{
		Ifindex: ifindex, Queue: queue, RxSize: io.cfg.Ring, TxSize: io.cfg.Ring, ZeroCopy: io.cfg.ZeroCopy,
	})
	if err != nil {
		return fmt.Errorf("dataplane: %w", err)
	}
	io.sockets = append(io.sockets, s)
	io.ports[id] = append(io.ports[id], s)
	key := uint32(id)*bpf.XSKQueues + uint32(queue)
	if err := io.d.maps["xsks"].Put(key, uint32(s.FD())); err != nil {
		return fmt.Errorf("dataplane: socket of interface %d queue %d: %w", id, queue, err)
	}
	return nil
}

// queueCount asks the driver for its receive queues; 1 if it cannot tell.
func queueCount(device string) int {
	const ethtoolGChannels = 0x3c
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 1
	}
	defer unix.Close(fd)
	var channels struct {
		cmd                                 uint32
		maxRx, maxTx, maxOther, maxCombined uint32
		rx, tx, other, combined             uint32
	}
	channels.cmd = ethtoolGChannels
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(req.name[:unix.IFNAMSIZ-1], device)
	req.data = unsafe.Pointer(&channels)
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if e != 0 {
		return 1
	}
	return max(int(channels.rx+channels.combined), 1)
}

// FDs returns the descriptors that become readable when packets wait.
func (io *IO) FDs() []int {
	fds := make([]int, len(io.sockets))
	for i, s := range io.sockets {
		fds[i] = s.FD()
	}
	return fds
}

// Receive takes waiting packets and returns how many of batch it filled, from
// all sockets in turn. It gives fewer than wait when maxBatch frames are out:
// the caller ends frames or holds them.
func (io *IO) Receive(batch []*Frame) int {
	n := 0
	for range io.sockets {
		s := io.sockets[io.next]
		if io.next++; io.next == len(io.sockets) {
			io.next = 0
		}
		n += io.drain(s, batch[n:])
		if n == len(batch) {
			break
		}
	}
	return n
}

// drain takes packets of one socket, no more than there is room for outside
// and in batch.
func (io *IO) drain(s *afxdp.Socket, batch []*Frame) int {
	room := min(len(batch), len(io.frames)-(io.cfg.Hold-io.held))
	n := 0
	for n < room {
		got := s.ReceivePackets(io.descs, room-n)
		if got == 0 {
			break
		}
		n += io.split(io.descs[:got], uint8(s.Queue()), batch[n:])
	}
	return n
}

// split makes frames of descriptors.
func (io *IO) split(descs []afxdp.Desc, queue uint8, batch []*Frame) int {
	n, start := 0, 0
	for i, d := range descs {
		if d.Options&afxdp.RxMore != 0 {
			continue
		}
		if f, ok := io.receive(descs[start:i+1], queue); ok {
			batch[n] = f
			n++
		}
		start = i + 1
	}
	return n
}

// Flush makes the kernel send everything that was queued; call it at the end
// of a batch.
//
// It reports whether a device that works has not taken all, for it takes no more for now:
// the caller comes again soon, and need not wait for a batch to do so.
func (io *IO) Flush() (left bool) {
	for _, s := range io.sockets {
		// An error is a link that is down. What is queued stays, the ring fills, and to
		// come again soon would not help.
		left = s.Kick() == nil && s.Queued() > 0 || left
	}
	io.settle()
	io.looked = false
	return left
}

// mayForward reports whether lease and view allow to send. It reads the clock
// once a batch.
func (io *IO) mayForward() bool {
	if !io.looked {
		c := io.d.memory.control
		io.alive = uint64(Now()) < atomic.LoadUint64(&c.Lease) && atomic.LoadUint32(&c.View) != 0
		io.looked = true
	}
	return io.alive
}

// Drops returns the packets the slow path dropped, by reason, and under "sent"
// those it sent. The kernel's own reasons are of packets that XDP has punted and
// the socket had no place for: kernel_ring_full, and kernel_no_frame, which
// before Linux 6.6 is also said of packets larger than a frame.
func (io *IO) Drops() map[string]uint64 {
	all := make(map[string]uint64, numDrops+2)
	for d, n := range io.drops {
		all[Drop(d).String()] = n
	}
	all[Sent.String()] = io.sent
	all["kernel_ring_full"], all["kernel_no_frame"] = 0, 0
	for _, s := range io.sockets {
		st, err := s.Statistics()
		if err != nil {
			continue // only of a closed socket
		}
		all["kernel_ring_full"] += st.Rx_ring_full
		all["kernel_no_frame"] += st.Rx_dropped
	}
	return all
}

// Close closes all sockets; XDP then drops what it would punt. Idempotent.
func (io *IO) Close() error {
	if io.closed {
		return nil
	}
	io.closed = true
	io.sockets, io.ports = nil, [MaxIfaces][]*afxdp.Socket{}
	return io.umem.Close()
}
