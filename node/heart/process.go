package heart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"cohort/ccl/seal"
	"cohort/ccl/wire"
	"cohort/cluster/pulse"
)

const (
	againAfter = 200 * time.Millisecond // a heart that ended by itself
	restWait   = 500 * time.Millisecond // for a heart to say goodbye
)

// Config of a Process.
type Config struct {
	Command []string     // that runs Main
	Device  string       // VXLAN device
	Address netip.Prefix // of the VTEP
	Peers   []netip.Addr
	Keys    []seal.Key
	LeaseFD int // dataplane.LeaseFD
	WakeFD  int // eventfd of the event loop, written when a peer becomes silent
	Log     *zap.Logger
}

// Process is the daemon's end: it keeps a heart running. The event loop calls all
// methods but Run, Stats and Peers, which may be called from anywhere.
type Process struct {
	cfg   Config
	mem   *memory
	file  *os.File
	known []pulse.Peer // last read of each
	alarm uint32       // memory.alarms as it was seen last
	done  chan struct{}

	mu     sync.Mutex // guards what follows
	keys   []seal.Key
	orders *os.File // to the heart that runs; nil: none
}

// New makes the memory; Run starts the heart.
func New(cfg Config) (*Process, error) {
	switch {
	case len(cfg.Command) == 0:
		return nil, errors.New("pulse: no program to run it")
	case len(cfg.Peers) > maxPeers:
		return nil, fmt.Errorf("pulse: %d peers; there is room for %d", len(cfg.Peers), maxPeers)
	}
	p := &Process{cfg: cfg, keys: cfg.Keys, known: make([]pulse.Peer, len(cfg.Peers)), done: make(chan struct{})}
	for i := range p.known {
		p.known[i].At = -1
	}
	var err error
	p.mem, p.file, err = newMemory()
	return p, err
}

// Run keeps a heart running until ctx ends, and then until it has said goodbye or
// half a second has passed.
func (p *Process) Run(ctx context.Context) error {
	defer close(p.done)
	for {
		err := p.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		p.cfg.Log.Error("the pulse ended; it is started again", zap.Error(err))
		select {
		case <-time.After(againAfter):
		case <-ctx.Done():
			return nil
		}
	}
}

// once is the life of one heart.
func (p *Process) once(ctx context.Context) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("pulse: %w", err)
	}
	mine, its := os.NewFile(uintptr(pair[0]), "pulse"), os.NewFile(uintptr(pair[1]), "pulse")
	defer mine.Close()
	lease, err := duplicate(p.cfg.LeaseFD)
	if err != nil {
		its.Close()
		return err
	}
	defer lease.Close()
	wake, err := duplicate(p.cfg.WakeFD)
	if err != nil {
		its.Close()
		return err
	}
	defer wake.Close()
	cmd := exec.Command(p.cfg.Command[0], p.cfg.Command[1:]...)
	cmd.ExtraFiles = []*os.File{its, p.file, lease, wake} // fdOrders and on
	cmd.Stderr = os.Stderr
	err = cmd.Start()
	its.Close()
	if err != nil {
		return fmt.Errorf("pulse: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	p.mu.Lock()
	err = send(mine, order{p.cfg.Device, p.cfg.Address, p.cfg.Peers, p.keys})
	p.orders = mine
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.orders = nil
		p.mu.Unlock()
	}()
	if err == nil {
		select {
		case err = <-ended:
			return err
		case <-ctx.Done():
		}
	}
	select {
	case <-ended: // it was told to rest
		return err
	case <-time.After(restWait):
	}
	_ = cmd.Process.Kill()
	<-ended
	return err
}

// duplicate makes a file of a descriptor that stays its owner's.
func duplicate(fd int) (*os.File, error) {
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("pulse: duplicate a descriptor: %w", err)
	}
	return os.NewFile(uintptr(d), "pulse"), nil
}

// send gives the heart an order. A full socket, or a heart that is gone, is an
// error; the next heart is told everything.
func send(to *os.File, o order) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	_, err = to.Write(b)
	return err
}

// SetKeys replaces the keys of the beats.
func (p *Process) SetKeys(keys []seal.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = keys
	if p.orders != nil {
		if err := send(p.orders, order{Keys: keys}); err != nil {
			p.cfg.Log.Error("keys of the pulse", zap.Error(err))
		}
	}
}

// Progress says that the event loop went round.
func (p *Process) Progress(now int64) { p.mem.progress.Store(now) }

// Permit says until when the membership allows to forward; 0: not at all. Say that
// before a lease is ended, or the heart may renew it.
func (p *Process) Permit(until int64) { p.mem.permit.Store(until) }

// Life says as which life this node beats.
func (p *Process) Life(l wire.Incarnation) { p.mem.life.Store(uint64(l)) }

// Alarmed reports whether a peer has become silent since it was asked last.
func (p *Process) Alarmed() bool {
	was := p.alarm
	p.alarm = p.mem.alarms.Load()
	return p.alarm != was
}

// Attended is pulse.Machine.Attended. Read it before the peers.
func (p *Process) Attended() int64 { return p.mem.attended.Load() }

// Sent is when the newest beat left.
func (p *Process) Sent() int64 { return p.mem.sent.Load() }

// Each calls f with every peer that ever beat.
func (p *Process) Each(f func(a netip.Addr, b pulse.Peer)) {
	for i, a := range p.cfg.Peers {
		if b, ok := p.mem.peers[i].read(); ok {
			p.known[i] = b
		}
		if p.known[i].At >= 0 {
			f(a, p.known[i])
		}
	}
}

// Rest has the heart tell the others that the daemon will be started again, and
// end. It reports whether that was said: only then may a lease be left that is
// longer than beats cover. The Process beats no more.
func (p *Process) Rest() (said bool) {
	p.mu.Lock()
	running := p.orders != nil
	p.mem.rest.Store(1)
	if running {
		running = send(p.orders, order{}) == nil // wakes it
	}
	p.mu.Unlock()
	if !running {
		return false
	}
	select {
	case <-p.done:
	case <-time.After(2 * restWait): // Run kills it before
	}
	return p.mem.rested.Load() != 0
}

// Close gives the memory back. Run must have returned or never have been called.
func (p *Process) Close() error { return errors.Join(p.mem.unmap(), p.file.Close()) }
