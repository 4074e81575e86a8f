package nat

import (
	"math/rand/v2"
	"time"

	"cohort/packet"
)

// Ports is one node's view of the units: which it holds, and which ports of
// them are in use. It belongs to one goroutine and never blocks; time is passed
// in as nanoseconds of a monotonic clock.
//
// Allocate, AllocateAddress and Idle allocate no memory, but for the first mapping in a
// pool. Use takes memory the first time that a block serves a protocol, Release when
// more keys wait in hold-down than ever before, and in a pool with mappings the first
// time that a port of a block rests.
type Ports struct {
	g        *Geometry
	rng      *rand.Rand
	hold     int64 // ns
	waiting  holdDown
	pools    []poolState
	address  []addressState // as Geometry.addresses
	units    []unitState
	hosts    map[hostKey]uint32 // first unit of a host, + 1
	assigned []uint32           // all units that belong to a host
	resting  []int              // units that rest (Rest), and some that did
	scratch  []ranked
	homes    homes
	keeper   func(unit int) uint8 // SetKeepers
	journal  HoldJournal          // may be nil
	asked    int                  // Need: the pool to begin with
	stats    PortsStats
}

// PortsStats counts since NewPorts.
type PortsStats struct {
	HoldDownWaiting int    // keys in hold-down now
	HoldDownCut     uint64 // hold-downs ended early because HoldDownMax was reached
	Unmatched       uint64 // Releases without Use: an error of the caller
}

type poolState struct {
	idle  int // units in addressState's idle parts
	short int // requests that failed since the last one that did not

	exclusive bool // mappings take its ports
}

// addressState sorts the units of an address: members begins with the open
// units (held, and in use or a host's), then come the idle ones (held, neither),
// then those that are not held.
type addressState struct {
	members []uint16 // relative to the address' first unit
	open    int
	idle    int
	free    [classes]int // ports of the open units that a class does not use
	leased  leasedState
	scan    [classes]int // where the systematic search goes on, counted in ports
	failed  [classes]failures
}

// leasedState counts the units of an address that another node should have.
type leasedState struct {
	held int          // open or idle
	free [classes]int // ports of the open ones that a class does not use
}

type unitState struct {
	uses       uint32 // connections, stubs, reservations and mappings, all protocols
	nextOfHost uint32 // the host's next unit + 1
	quiet      int64  // when the last hold-down in this unit ends
	host       packet.Addr
	assignedAt uint32 // place in Ports.assigned
	address    uint16
	place      uint16 // in members
	first      uint16 // port
	size       uint16 // ports; 0 = a whole address
	held       bool
	leased     bool  // held, and another node should have it
	rests      int64 // when its rest ends (Rest), 0 = it does not; held is false till then
	later      heldLater
	portless   uint32          // uses by protocols without ports, counted as portSet does
	used       [classes]uint16 // ports with at least one use
	ports      [classes]*portSet
}

// NewPorts returns a Ports that holds nothing. rng must be unpredictable in a
// node (seeded from the system's randomness): port numbers are a defence against
// blind attackers (RFC 6056).
func NewPorts(g *Geometry, holdDown time.Duration, rng *rand.Rand) *Ports {
	p := &Ports{
		g: g, rng: rng, hold: int64(holdDown), waiting: newHoldDown(DefaultHoldDownMax, rng),
		pools: make([]poolState, len(g.pools)), address: make([]addressState, len(g.addresses)),
		units: make([]unitState, g.Units()), hosts: map[hostKey]uint32{},
	}
	longest := 0
	for _, pool := range g.pools {
		longest = max(longest, pool.Addresses)
	}
	p.scratch = make([]ranked, 0, longest)
	for i := range p.units {
		at := g.of[i]
		a, u := &p.address[at], &p.units[i]
		u.address, u.place = at, uint16(len(a.members))
		a.members = append(a.members, u.place)
		if d := g.Describe(i); d.Ports() <= MaxBlockSize {
			u.first, u.size = d.First, uint16(d.Ports())
		}
	}
	return p
}

// SetHoldDownMax bounds the keys in hold-down (Config.HoldDownMax; 0 =
// DefaultHoldDownMax). Call it before use.
func (p *Ports) SetHoldDownMax(n int) {
	if n <= 0 {
		n = DefaultHoldDownMax
	}
	p.waiting.limit = uint32(n)
}

// SetHoldDown changes how long keys rest from now on, and how many at most.
func (p *Ports) SetHoldDown(d time.Duration, most int) {
	p.hold = int64(d)
	p.SetHoldDownMax(most)
}

// HoldDown returns how long keys rest.
func (p *Ports) HoldDown() time.Duration { return time.Duration(p.hold) }

// Stats returns the counters.
func (p *Ports) Stats() PortsStats {
	s := p.stats
	s.HoldDownCut = p.waiting.cut
	s.HoldDownWaiting = int(p.waiting.count)
	return s
}

// SetHeld says whether this node may allocate from a unit (NT4: at most one
// node may, and package cluster/blocks knows). Uses of the unit stay.
func (p *Ports) SetHeld(unit int, held bool) {
	u := &p.units[unit]
	if u.rests != 0 {
		if u.later = (heldLater{held: held}); !held {
			u.rests = 0
		}
		return
	}
	if u.held == held {
		return
	}
	if !held {
		p.SetLeased(unit, false)
	}
	u.held = held
	if held {
		p.pools[p.g.pool[u.address]].short = 0
	}
	p.place(unit)
}

// SetLeased says whether another node should have a unit that is held (NT2). A
// connection begins there only when no other unit has an unused port: units go to
// the nodes that should have them when they are idle, and choice 2 of Allocate would
// keep this one in use for as long as any connections begin.
func (p *Ports) SetLeased(unit int, leased bool) {
	u := &p.units[unit]
	if u.rests != 0 {
		u.later.leased = leased && u.later.held
		return
	}
	if u.leased == leased || !u.held {
		return
	}
	a := &p.address[u.address]
	open := int(u.place) < a.open
	if open {
		p.countFree(u, a, -1)
	}
	u.leased = leased
	if leased {
		a.leased.held++
	} else {
		a.leased.held--
	}
	if open {
		p.countFree(u, a, +1)
	}
}

// Held reports what SetHeld said last.
func (p *Ports) Held(unit int) bool { return p.units[unit].held || p.units[unit].later.held }

// Use says that a connection with this reply key exists here: an own flow, a
// reservation (what Allocate returned, until the flow exists) or a stub of
// somebody else's. Several of them may have the same key: uses nest. Keys of
// other addresses than the pools' are ignored.
//
// The reply key of a mapping (RFC 4787, endpoint-independent) is ReplyKey of its
// pseudo connection: from 0.0.0.0:0. As long as it exists its port is given to
// nobody else.
func (p *Ports) Use(k1 packet.FlowKey) {
	unit, ok := p.g.UnitOf(k1)
	if !ok {
		return
	}
	u, mapping := &p.units[unit], isMapping(k1)
	if c, counted := u.class(k1.Proto); !counted {
		u.portless += amount(mapping)
	} else {
		if u.ports[c] == nil {
			u.ports[c] = newPortSet(int(u.size))
		}
		if u.ports[c].use(int(k1.DstPort-u.first), mapping) {
			p.countUsed(u, c, +1)
		}
	}
	if u.uses++; u.uses == 1 {
		p.place(unit)
	}
}

// Release ends one Use. With hold, the key is not given out again until
// hold-down has passed (RFC 6888, REQ-8); other remotes may have the port at
// once. A Release that no Use preceded changes nothing and is counted.
func (p *Ports) Release(now int64, k1 packet.FlowKey, hold bool) {
	unit, ok := p.g.UnitOf(k1)
	if !ok {
		return
	}
	u, mapping := &p.units[unit], isMapping(k1)
	c, counted := u.class(k1.Proto)
	count := u.portless
	if counted {
		count = u.ports[c].count(int(k1.DstPort - u.first))
	}
	switch {
	case !includes(count, mapping):
		p.stats.Unmatched++
		return
	case !counted:
		u.portless -= amount(mapping)
	case u.ports[c].release(int(k1.DstPort-u.first), mapping):
		p.countUsed(u, c, -1)
	}
	if hold && p.hold > 0 {
		u.quiet = max(u.quiet, now+p.hold)
		p.waiting.add(now, k1, now+p.hold)
		p.restPort(unit, &waiting{k1, now + p.hold})
		if p.journal != nil {
			p.journal.Wait(k1, now+p.hold)
		}
	}
	if u.uses--; u.uses == 0 {
		p.place(unit)
	}
}

// ticked bounds the work of one Tick: at the usual 100 ticks a second it keeps
// up with 400,000 connections a second.
const ticked = 4096

// Tick ends hold-downs, and the rest of units; bounded work a call. Hold-downs do
// not depend on its being called in time: one that is over does not count, only its
// memory comes back here.
func (p *Ports) Tick(now int64) {
	p.waiting.expire(now, ticked)
	p.endRests(now)
}

// place moves a unit to the part of its address' members where it belongs.
func (p *Ports) place(unit int) {
	u := &p.units[unit]
	a, pool := &p.address[u.address], &p.pools[p.g.pool[u.address]]
	busy := u.uses > 0 || u.host != packet.Addr{}
	if int(u.place) < a.open && !(u.held && busy) { // open -> idle
		a.open--
		p.swap(u, a, a.open)
		a.idle++
		pool.idle++
		p.countFree(u, a, -1)
	}
	if at := int(u.place) - a.open; at >= 0 && at < a.idle && !u.held { // idle -> not held
		a.idle--
		pool.idle--
		p.swap(u, a, a.open+a.idle)
	}
	if int(u.place) >= a.open+a.idle && u.held { // not held -> idle
		p.swap(u, a, a.open+a.idle)
		a.idle++
		pool.idle++
	}
	if int(u.place) >= a.open && u.held && busy { // idle -> open
		p.swap(u, a, a.open)
		a.open++
		a.idle--
		pool.idle--
		p.countFree(u, a, +1)
	}
	if !u.held && u.uses == 0 {
		u.ports = [classes]*portSet{}
	}
}

// swap exchanges a unit with the member at a place.
func (p *Ports) swap(u *unitState, a *addressState, place int) {
	first := int(p.g.addresses[u.address].FirstUnit)
	mine, other := u.place, a.members[place]
	a.members[mine], a.members[place] = other, a.members[mine]
	p.units[first+int(other)].place = mine
	u.place = uint16(place)
}

// countFree adds or takes away an open unit's unused ports.
func (p *Ports) countFree(u *unitState, a *addressState, sign int) {
	for c := range u.used {
		free := sign * (int(u.size) - int(u.used[c]))
		a.free[c] += free
		if u.leased {
			a.leased.free[c] += free
		}
	}
}

// countUsed counts that a port of a unit got its first use (+1) or lost its last
// (-1).
func (p *Ports) countUsed(u *unitState, c class, change int) {
	u.used[c] = uint16(int(u.used[c]) + change)
	if a := &p.address[u.address]; int(u.place) < a.open {
		a.free[c] -= change
		if u.leased {
			a.leased.free[c] -= change
		}
	}
}
