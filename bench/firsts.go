package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"cohort/packet"
	"cohort/testenv/topology"
)

// Addresses of probes: no host of a Shape has them, and nothing is behind them.
var (
	probeClient = netip.MustParseAddr("10.64.0.0")
	probeServer = netip.MustParseAddr("192.0.2.200")
	probeNet    = netip.MustParsePrefix("192.0.2.128/25")
)

const (
	probeEvery = time.Millisecond
	probeMagic = 0x7b0be5ca
	// probeLater is how many probes lie between the first packet of a connection and
	// its second, by when the fast path has it.
	probeLater = 50
	// probeWait is how long the last ones may take.
	probeWait = time.Second
)

// Latency is of packets from the cable before a node to the one behind it, in µs. Each
// stands for one packet, so the longest is what the unluckiest met.
type Latency struct {
	Sent    int     `json:"sent"`
	Lost    int     `json:"lost"`
	Median  float64 `json:"median_us"`
	P99     float64 `json:"p99_us"`
	P999    float64 `json:"p999_us"`
	Longest float64 `json:"longest_us"`
	Late    int     `json:"over_1500us"`
}

// probes are UDP connections that begin one after the other, a packet each, and get
// another packet a while later.
type probes struct {
	send, recv int // AF_PACKET
	to         unix.SockaddrLinklayer
	mac        [6]byte
	next       uint32 // connection

	reading sync.WaitGroup
	mu      sync.Mutex // guards what follows
	at      [2]map[uint32]int64
	sent    [2]map[uint32]int64
}

// probes opens probes through one node.
func (c *cluster) probes(n *topology.Node) (*probes, error) {
	near, err := c.routerPort("rin", n)
	if err != nil {
		return nil, err
	}
	far, err := c.routerPort("rout", n)
	if err != nil {
		return nil, err
	}
	p := &probes{mac: near.mac, send: -1, recv: -1}
	p.to = unix.SockaddrLinklayer{Protocol: 0x0008, Ifindex: near.index} // IPv4 in network order
	p.forget()
	err = errors.Join(
		near.ns.Do(func() (err error) { p.send, err = packetSocket(0); return err }),
		far.ns.Do(func() (err error) { p.recv, err = stampedSocket(far.index); return err }))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("probes of %s: %w", n.Name, err), p.closeSockets())
	}
	done := make(chan struct{})
	p.reading.Go(func() { readStamped(p.recv, done, p.take) })
	c.onClose(func() error {
		close(done)
		p.reading.Wait()
		return p.closeSockets()
	})
	return p, nil
}

func packetSocket(protocol int) (int, error) {
	return unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(uint16(protocol))))
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (p *probes) closeSockets() (err error) {
	for _, fd := range []int{p.send, p.recv} {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	return err
}

func (p *probes) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.at {
		p.at[i], p.sent[i] = map[uint32]int64{}, map[uint32]int64{}
	}
}

// probeFrame is packet number which (0 or 1) of connection i.
func (p *probes) frame(i uint32, which int, now int64) []byte {
	const payload = 17
	b := make([]byte, 14+20+8+payload)
	be := binary.BigEndian
	copy(b, p.mac[:])
	copy(b[6:], []byte{2, 0, 0, 0, 0, 0x98})
	be.PutUint16(b[12:], 0x0800)
	ip, base := b[14:], probeClient.As4()
	ip[0], ip[8], ip[9] = 0x45, 64, packet.ProtoUDP
	be.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], base[:])
	be.PutUint32(ip[12:], be.Uint32(base[:])+i>>14)
	server := probeServer.As4()
	copy(ip[16:], server[:])
	var sum uint32
	for at := 0; at < 20; at += 2 {
		sum += uint32(be.Uint16(ip[at:]))
	}
	sum = sum>>16 + sum&0xffff
	be.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	udp := ip[20:] // no checksum
	be.PutUint16(udp, 0x4000|uint16(i&0x3fff))
	be.PutUint16(udp[2:], 53)
	be.PutUint16(udp[4:], 8+payload)
	be.PutUint32(udp[8:], probeMagic)
	be.PutUint32(udp[12:], i)
	udp[16] = byte(which)
	be.PutUint64(udp[17:], uint64(now))
	return b
}

func (p *probes) shoot(i uint32, which int) error {
	now := time.Now().UnixNano()
	if err := unix.Sendto(p.send, p.frame(i, which, now), 0, &p.to); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	p.mu.Lock()
	p.sent[which][i] = now
	p.mu.Unlock()
	return nil
}

// during sends probes while do runs, and for at least so long.
func (p *probes) during(ctx context.Context, least time.Duration, do func(context.Context) error) (firsts, later Latency, err error) {
	p.forget()
	finished := make(chan error, 1)
	go func() { finished <- do(ctx) }()
	begin, first := time.Now(), p.next
	err = ahead(func() error {
		over := false
		for due := begin; !over || time.Since(begin) < least; {
			if err := p.shoot(p.next, 0); err != nil {
				return err
			}
			if p.next >= first+probeLater {
				if err := p.shoot(p.next-probeLater, 1); err != nil {
					return err
				}
			}
			p.next++
			if due = due.Add(probeEvery); time.Since(due) > 10*probeEvery {
				due = time.Now() // what was missed is not made up for
			}
			time.Sleep(time.Until(due))
			select {
			case failed := <-finished:
				if over = true; failed != nil {
					return failed
				}
			default:
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	})
	if err != nil {
		return firsts, later, err
	}
	for end := time.Now().Add(probeWait); time.Now().Before(end) && !p.complete(); {
		time.Sleep(20 * time.Millisecond)
	}
	return p.latency(0), p.latency(1), nil
}

// ahead runs do on a thread of its own that goes before others of this machine: a
// probe that is sent late says nothing, but fewer are sent.
func ahead(do func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20); err != nil {
			result <- fmt.Errorf("priority: %w", err)
			return
		}
		result <- do()
	}()
	return <-result
}

func (p *probes) complete() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.at[0]) == len(p.sent[0]) && len(p.at[1]) == len(p.sent[1])
}

func (p *probes) latency(which int) (l Latency) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []float64
	for i, sent := range p.sent[which] {
		at, ok := p.at[which][i]
		if !ok {
			l.Lost++
			continue
		}
		all = append(all, float64(at-sent)/1e3)
		if at-sent > aimPause.Nanoseconds() {
			l.Late++
		}
	}
	l.Sent = len(p.sent[which])
	if len(all) == 0 {
		return l
	}
	slices.Sort(all)
	at := func(q float64) float64 { return all[min(int(q*float64(len(all))), len(all)-1)] }
	l.Median, l.P99, l.P999, l.Longest = at(0.5), at(0.99), at(0.999), all[len(all)-1]
	return l
}

// take notes when a probe has arrived.
func (p *probes) take(frame []byte, at int64) {
	const udp = 14 + 20
	if len(frame) < udp+8+17 || binary.BigEndian.Uint32(frame[udp+8:]) != probeMagic {
		return
	}
	i, which := binary.BigEndian.Uint32(frame[udp+12:]), frame[udp+16]&1
	p.mu.Lock()
	p.at[which][i] = at
	p.mu.Unlock()
}

// stampedSocket sees what comes in by an interface of the calling thread's namespace,
// and when.
func stampedSocket(ifindex int) (int, error) {
	fd, err := packetSocket(0)
	if err != nil {
		return -1, err
	}
	// All protocols: what asks for one comes after the bridge, which takes everything.
	return fd, errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifindex}))
}

// readStamped passes every frame with the moment when the kernel took it from the
// cable, ns of the wall clock: who waits for the CPU here is not measured.
func readStamped(fd int, done <-chan struct{}, take func(frame []byte, at int64)) {
	frame, oob := make([]byte, 2048), make([]byte, 128)
	for {
		select {
		case <-done:
			return
		default:
		}
		n, k, _, _, err := unix.Recvmsg(fd, frame, oob, 0)
		if err != nil {
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			fmt.Fprintln(os.Stderr, "bench: arrivals:", err)
			return
		}
		if at, ok := arrival(oob[:k]); ok {
			take(frame[:n], at)
		}
	}
}

// arrival reads the kernel's time stamp, ns of the wall clock.
func arrival(oob []byte) (int64, bool) {
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, false
	}
	for i := range all {
		if m := &all[i]; m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			return (*unix.Timespec)(unsafe.Pointer(&m.Data[0])).Nano(), true
		}
	}
	return 0, false
}
