package fib

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"cohort/dataplane"
	"cohort/packet"
)

// ErrConfig wraps every refusal of a configuration value.
var ErrConfig = errors.New("fib: bad configuration")

// Status is the outcome of a Lookup.
type Status uint8

// Outcomes of a Lookup.
const (
	// OK: the next hop is valid now.
	OK Status = iota
	// Unresolved: there is a route, and the neighbour is being resolved; look
	// again after Changes.NextHops.
	Unresolved
	// Unreachable: no route, a route that forbids, a route over anything but a
	// data interface, or no room for another next hop.
	Unreachable
)

func (s Status) String() string {
	switch s {
	case OK:
		return "ok"
	case Unresolved:
		return "unresolved"
	}
	return "unreachable"
}

// Interface names a data interface by its logical id.
type Interface struct {
	ID      uint8 // 1..dataplane.MaxIfaces-1
	Ifindex int
}

// Config wires a table.
type Config struct {
	Interfaces []Interface
	// NextHops is the array shared with XDP; entries found in it are adopted.
	// Number 0 stands for "none" and is never used.
	NextHops []dataplane.NextHop
	// Destinations bounds the remembered answers; 0 means 65536.
	Destinations int
	// Prefixes bounds how many prefixes of routes and rules are known, 10 to 20
	// bytes each; with more, every address is asked for. 0 means 2,097,152: twice
	// the Internet's table.
	Prefixes int
	// Notify, if set, is called after every change besides the signal on
	// Changed, for loops that wait in ppoll: it may write an eventfd. It runs
	// with the table locked and must neither block nor call the table.
	Notify func()
	// Now is the clock of probe intervals; nil means time.Now.
	Now func() time.Time
}

// Changes says what happened since the last Take.
type Changes struct {
	Routes   bool // look up again whatever was looked up before
	NextHops bool // an entry became valid or invalid, or its neighbour moved
	Addrs    bool // LocalAddrs differs
	Links    bool // Links differs
}

func (c Changes) any() bool { return c != Changes{} }

// LinkState is what the kernel says about a data interface.
type LinkState struct {
	ID      uint8
	Ifindex int
	Up      bool // administratively up and with carrier
	MTU     int
	MAC     [6]byte
}

// Stats counts since New.
type Stats struct {
	RouteLookups   uint64 // RTM_GETROUTE requests
	RouteErrors    uint64 // that failed for another reason than "no route"
	Probes         uint64 // resolutions and refreshes asked of the kernel
	ProbeErrors    uint64
	ProbesHeld     uint64 // not asked: too many addresses that never answered
	NextHopsFull   uint64 // destinations refused because the array is full
	Resyncs        uint64 // times the kernel dropped events and all was read again
	Destinations   int    // answers in the cache
	Prefixes       int    // that answers are kept by; 0 while they are not known
	PrefixReads    uint64 // times the kernel's prefixes were read
	NextHopEntries int    // in use
}

// Table resolves destinations to next hops.
type Table struct {
	now     func() time.Time
	notify  func()
	kernel  *kernel
	watcher *watcher
	changed chan struct{}

	mu     sync.Mutex // guards everything below, writes to array, and reading events
	array  []dataplane.NextHop
	links  map[int]*LinkState // by ifindex
	others map[int]uint32     // flags of the other links
	locals map[netip.Addr]int // address -> number of interfaces that have it
	neighs map[hopKey]neighbour
	hops   map[hopKey]uint16
	keys   []hop // by number
	unused []uint16
	cache  cache
	load   load

	strangers bucket
	gen       uint64 // of routes
	pending   Changes
	stats     Stats
	closed    bool
}

// hopKey is a neighbour: an address on an interface.
type hopKey struct {
	ifindex int
	addr    packet.Addr
}

// New reads the kernel's links, addresses and neighbours in the calling
// thread's network namespace and follows them until Close.
func New(cfg Config) (*Table, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	t := &Table{
		now:     cfg.Now,
		notify:  cfg.Notify,
		changed: make(chan struct{}, 1),
		array:   cfg.NextHops,
		links:   make(map[int]*LinkState),
		others:  make(map[int]uint32),
		hops:    make(map[hopKey]uint16),
		keys:    make([]hop, len(cfg.NextHops)),
		cache:   newCache(cfg.Destinations),
		load:    load{limit: cfg.Prefixes},
	}
	for _, i := range cfg.Interfaces {
		t.links[i.Ifindex] = &LinkState{ID: i.ID, Ifindex: i.Ifindex}
	}
	var err error
	if t.kernel, err = openKernel(); err != nil {
		return nil, err
	}
	if t.watcher, err = subscribe(); err != nil { // before reading: nothing is missed
		t.kernel.close()
		return nil, err
	}
	t.adopt()
	if err := t.resync(); err != nil {
		t.watcher.close()
		t.kernel.close()
		return nil, err
	}
	if t.load.fd, err = openRoute(); err != nil {
		t.watcher.close()
		t.kernel.close()
		return nil, err
	}
	t.mu.Lock()
	t.readPrefixes()
	t.mu.Unlock()
	t.watcher.run(t)
	return t, nil
}

func (c *Config) check() error {
	if c.Destinations == 0 {
		c.Destinations = 65536
	}
	if c.Prefixes == 0 {
		c.Prefixes = 2 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Destinations < 2 || c.Prefixes < 0 {
		return fmt.Errorf("%w: room for %d destinations, %d prefixes", ErrConfig, c.Destinations, c.Prefixes)
	}
	if len(c.NextHops) < 2 || len(c.NextHops) > dataplane.MaxNextHops {
		return fmt.Errorf("%w: room for %d next hops", ErrConfig, len(c.NextHops))
	}
	ids := make(map[uint8]bool)
	indexes := make(map[int]bool)
	for _, i := range c.Interfaces {
		if i.ID == 0 || i.ID >= dataplane.MaxIfaces || ids[i.ID] || i.Ifindex <= 0 || indexes[i.Ifindex] {
			return fmt.Errorf("%w: interface id %d, index %d", ErrConfig, i.ID, i.Ifindex)
		}
		ids[i.ID], indexes[i.Ifindex] = true, true
	}
	return nil
}

// Close stops following the kernel and waits for the goroutines. Entries stay
// as they are: XDP uses them until its lease ends. Idempotent.
func (t *Table) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.mu.Unlock()
	t.watcher.close()
	t.load.close()
	t.kernel.close()
	return nil
}

// Changed receives after something changed; Take says what. Many changes may
// make one signal.
func (t *Table) Changed() <-chan struct{} { return t.changed }

// Take returns what changed since the last call.
func (t *Table) Take() Changes {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.pending
	t.pending = Changes{}
	return c
}

// Generation counts changes of routes; an answer of Lookup stands while it is
// the same.
func (t *Table) Generation() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gen
}

// LocalAddrs returns the host's addresses on all interfaces, of both families,
// but loopback addresses (127/8, ::1) and IPv6 link-local ones, which need no
// list; unordered: traffic to them belongs to the host.
func (t *Table) LocalAddrs() []netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]netip.Addr, 0, len(t.locals))
	for a := range t.locals {
		all = append(all, a)
	}
	return all
}

// ReadAddrs reads the host's addresses now, for a caller who has just changed them
// and cannot wait for the event: LocalAddrs is what they are.
func (t *Table) ReadAddrs() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return fmt.Errorf("fib: read addresses: %w", net.ErrClosed)
	}
	locals, err := t.kernel.addrs()
	if err == nil {
		t.locals = locals
	}
	return err
}

// Links returns the state of the data interfaces, unordered.
func (t *Table) Links() []LinkState {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]LinkState, 0, len(t.links))
	for _, l := range t.links {
		all = append(all, *l)
	}
	return all
}

// Stats returns the counters.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Destinations, s.NextHopEntries = t.cache.len(), len(t.hops)
	if t.load.known {
		s.Prefixes = t.load.set.count
	}
	return s
}

// signal merges changes and wakes whoever waits. Called with mu held.
func (t *Table) signal(c Changes) {
	if !c.any() {
		return
	}
	if c.Routes {
		t.gen++
	}
	t.pending.Routes = t.pending.Routes || c.Routes
	t.pending.NextHops = t.pending.NextHops || c.NextHops
	t.pending.Addrs = t.pending.Addrs || c.Addrs
	t.pending.Links = t.pending.Links || c.Links
	select {
	case t.changed <- struct{}{}:
	default:
	}
	if t.notify != nil {
		t.notify()
	}
}
