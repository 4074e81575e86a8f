package heart

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"cohort/ccl"
	"cohort/ccl/seal"
	"cohort/ccl/wire"
	"cohort/cluster/pulse"
	"cohort/dataplane"
	"cohort/node/realtime"
)

// Arg is the argument with which the daemon's program is a heart.
const Arg = "pulse"

// Descriptors that a heart is started with, and the size of a message to it.
const (
	fdOrders = 3 + iota // socket to the daemon
	fdMemory
	fdLease
	fdWake   // eventfd of the event loop
	maxOrder = 64 << 10
)

const (
	priority    = 10       // SCHED_FIFO: above everything that is not of real time
	memoryLimit = 64 << 20 // bytes: handshakes leave garbage
	restBeats   = 3        // that say that the daemon will be started again
	restPause   = 2e6      // ns between them
	passes      = 64       // batches read in one go
)

// one is what an eventfd takes.
var one = [8]byte{1}

// order is what the daemon tells: everything at the start, later new keys.
type order struct {
	Device  string
	Address netip.Prefix
	Peers   []netip.Addr
	Keys    []seal.Key
}

// heart is the process.
type heart struct {
	mem    *memory
	lease  *dataplane.Lease
	beats  *ccl.Beats
	m      *pulse.Machine
	orders int
	buffer []byte
	now    int64
	heard  func(i int, b wire.Beat, age int64)
	peers  int
	polls  [2]unix.PollFd
}

// Main is the life of a heart, and returns the exit code. The program was started
// by a daemon: nothing else makes sense.
func Main() int {
	// What ends the daemon ends the heart. Until then it beats, also while a
	// service manager tells all processes of the service to stop.
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	h, err := open()
	if err == nil {
		err = h.serve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cohortd pulse:", err)
		return 1
	}
	return 0
}

func open() (*heart, error) {
	h := &heart{orders: fdOrders, buffer: make([]byte, maxOrder)}
	n, err := unix.Read(h.orders, h.buffer)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("no orders: is this not started by cohortd? %w", err)
	}
	var o order
	if err := json.Unmarshal(h.buffer[:n], &o); err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	if h.mem, err = mapMemory(fdMemory); err != nil {
		return nil, err
	}
	if h.lease, err = dataplane.MapLease(fdLease); err != nil {
		return nil, err
	}
	if err := errors.Join(unix.Close(fdMemory), unix.Close(fdLease), unix.SetNonblock(h.orders, true)); err != nil {
		return nil, err
	}
	if h.beats, err = ccl.OpenBeats(ccl.BeatsConfig{Device: o.Device, Address: o.Address, Peers: o.Peers, Keys: o.Keys}); err != nil {
		return nil, err
	}
	h.peers = len(o.Peers)
	h.polls = [2]unix.PollFd{{Fd: int32(h.beats.FD()), Events: unix.POLLIN}, {Fd: int32(h.orders), Events: unix.POLLIN}}
	h.heard = func(i int, b wire.Beat, age int64) {
		if h.m.Heard(h.now, i, b, age) {
			h.beats.Send(i, h.beat(0))
		}
		h.mem.peers[i].write(h.m.Peer(i))
	}
	return h, nil
}

// urgent asks the system to let this process run whenever it wants to, with its
// memory where it is. Without the right to that it runs like any other.
func (h *heart) urgent() {
	runtime.LockOSThread()
	_ = unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
	if err := realtime.Take(priority); err != nil {
		_ = realtime.Nice(-20) // may fail for the same reason
		return
	}
	h.mem.realtime.Store(1)
}

// serve beats until the daemon is gone or says rest.
func (h *heart) serve() error {
	h.urgent()
	h.m = pulse.New(dataplane.Now(), h.peers)
	for {
		h.now = dataplane.Now()
		h.m.Begin(h.now)
		if err := h.read(); err != nil {
			return err
		}
		if h.mem.rest.Load() != 0 {
			h.goodbye()
			return nil
		}
		if h.m.Due(h.now) {
			h.pulse()
		}
		for i := range h.peers {
			if h.m.Ask(h.now, i) {
				h.beats.Send(i, h.beat(wire.PulseAsk))
			}
		}
		h.publish()
		if h.m.Alarm() {
			h.mem.alarms.Add(1)
			_, _ = unix.Write(fdWake, one[:]) // full means that it is awake already
		}
		gone, err := h.wait()
		if gone || err != nil {
			return err
		}
	}
}

// read takes all that waits.
func (h *heart) read() error {
	for range passes {
		n, err := h.beats.Receive(h.now, h.heard)
		if err != nil {
			return err
		}
		if n == 0 {
			h.m.End(h.now)
			return nil
		}
	}
	return nil // a flood: nobody is called silent before it has been read
}

// beat is what this node says now.
func (h *heart) beat(flags wire.PulseFlags) wire.Beat {
	if !pulse.Covered(h.now, h.lease.Load()) {
		flags |= wire.PulseHold
	}
	stale := max(h.now-h.mem.progress.Load(), 0) / 1e6
	b := wire.Beat{Life: wire.Incarnation(h.mem.life.Load()), Stale: uint32(min(stale, 1<<32-1)), Flags: flags}
	h.m.Mark(dataplane.Now(), &b, false)
	return b
}

// pulse beats to all and renews the lease by it.
func (h *heart) pulse() {
	b := h.beat(0)
	h.m.Mark(dataplane.Now(), &b, true)
	h.beats.Broadcast(b)
	h.mem.sent.Store(h.now)
	was := h.lease.Load()
	if until, renew := pulse.Renew(h.now, h.now, was, h.mem.permit.Load()); renew {
		h.lease.Renew(was, until)
	}
}

// goodbye says that the daemon will be started again: from here on the others judge
// by the hold time, and the daemon may leave a lease that fits.
func (h *heart) goodbye() {
	for range restBeats {
		h.beats.Broadcast(h.beat(wire.PulseHold))
		time.Sleep(restPause)
	}
	h.mem.rested.Store(1)
}

// publish writes down what the daemon reads.
func (h *heart) publish() {
	for i := range h.peers { // own lateness moves them
		if p := h.m.Peer(i); p.At >= 0 && p.At != h.mem.peers[i].at.Load() {
			h.mem.peers[i].write(p)
		}
	}
	h.mem.attended.Store(h.m.Attended())
	s, c := h.m.Stats(), h.beats.Counters()
	h.mem.lateness.Store(s.Lateness)
	h.mem.worst.Store(s.Worst)
	for i, v := range [numCounts]uint64{
		countSent: s.Sent, countReceived: s.Received, countLate: s.Late, countAsked: s.Asked, countAnswered: s.Answered,
		countUnknown: c.UnknownPeer, countMalformed: c.Malformed, countFailed: c.SendFailed,
		countLost: s.Lost, countLateLost: s.LateLost,
	} {
		h.mem.counts[i].Store(v)
	}
	for i, v := range s.LateAt {
		h.mem.lateAt[i].Store(v)
	}
	for i := range s.Stages {
		h.mem.stages[i].write(&s.Stages[i])
	}
	for r, v := range c.Seal {
		h.mem.refused[r].Store(v)
	}
}

// wait sleeps until something has arrived or it is time; gone: the daemon is.
func (h *heart) wait() (gone bool, err error) {
	timeout := unix.NsecToTimespec(max(h.m.Next()-dataplane.Now(), 0))
	if _, err := unix.Ppoll(h.polls[:], &timeout, nil); err != nil && err != unix.EINTR {
		return false, fmt.Errorf("poll: %w", err)
	}
	if h.polls[1].Revents == 0 {
		return false, nil
	}
	n, err := unix.Read(h.orders, h.buffer)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return false, nil
	case err != nil || n == 0:
		return true, nil
	}
	var o order
	if err := json.Unmarshal(h.buffer[:n], &o); err != nil {
		return false, fmt.Errorf("orders: %w", err)
	}
	if len(o.Keys) > 0 {
		err = h.beats.SetKeys(o.Keys)
	}
	return false, err
}
