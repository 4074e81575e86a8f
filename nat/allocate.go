package nat

import (
	"fmt"

	"cohort/packet"
)

// Request asks for a mapped address and port.
type Request struct {
	Pool int         // index into Geometry.Pools, of kind PoolPorts
	Host packet.Addr // the inside host: paired pooling, blocks per host

	// To is the connection's key after Destination. Candidates are judged by
	// the reply key they would give it. For a mapping, To is its pseudo
	// connection, to 0.0.0.0:0.
	To packet.FlowKey

	Prefer    uint16 // the original source port: kept if that is possible
	Keeper    uint8  // units whose second keys this node keeps come first (SetKeepers); 0 = any
	Exclusive bool   // the port must be used by nobody, whatever the remote: endpoint-independent mappings
}

// Result is how an allocation ended.
type Result uint8

// The results of Allocate and AllocateAddress.
const (
	Allocated Result = iota
	// Short: nothing was found in the units held. Another one would help: see
	// Need; lease it and ask again before refusing the connection.
	Short
	// HostShort: the pool limits blocks per host and the host's units here have
	// nothing. Ask the host's director for one more (NT6), then UnitForHost and
	// AssignHost, and ask again.
	HostShort
	// Elsewhere: the protocol has no ports, and the first units held here are of no use
	// to it. The holder of Home's may have a place.
	Elsewhere
)

// String names the result.
func (r Result) String() string {
	switch r {
	case Allocated:
		return "allocated"
	case Short:
		return "short"
	case HostShort:
		return "host-short"
	case Elsewhere:
		return "elsewhere"
	}
	return fmt.Sprintf("result-%d", uint8(r))
}

// Bounds of one Allocate, in candidates that are looked up one by one. Finding
// an unused port never depends on them, as long as unused ports are not in
// hold-down for this very remote.
const (
	guesses      = 8   // random ports, in the hope that one is unused
	unusedProbes = 256 // unused ports whose key turns out to be blocked
	sharedProbes = 128 // random ports that others use for other remotes
	scanProbes   = 512 // then the same in order, going on where the last search stopped
	shorter      = 4   // a search that follows failures for the same remote is halved so often at most
)

// Allocate finds an address and port for a connection, among the units held. taken
// must report whether a connection with that reply key exists here; it is not
// asked about ports without a Use. The port is not in use until Use is called,
// which must be before the next call.
//
// The order of choice, for the host's paired address and then for the others:
//
//  1. the original port, if nobody uses it, towards whichever remote: an endpoint
//     that talks to two of them would have one mapping here and two there;
//  2. a random unused port of the units that are in use anyway, and when they
//     are full one of a further unit: idle units are what other nodes can lease;
//     the wanted keeper's units come first, for which one may be opened (near);
//     units that another node should have (SetLeased) come last, in 1 too;
//  3. a port in use towards other remotes; not for Exclusive, and never one that
//     a mapping has. This search is bounded: in a full pool it may miss.
//
// So with one remote every port is given out before Short. For protocols without
// ports the port is 0, and only the first unit of an address serves (Home).
func (p *Ports) Allocate(now int64, q Request, taken func(k1 packet.FlowKey) bool) (packet.Addr, uint16, Result) {
	s := search{p: p, now: now, q: q, taken: taken}
	if !hasPorts(q.To.Proto) {
		if !s.portless() {
			return packet.Addr{}, 0, Elsewhere // more units would not help: no demand
		}
		return s.addr, 0, Allocated
	}
	s.class = classFor(q.To.Proto)
	if q.Exclusive {
		p.exclusive(q.Pool)
	}
	if p.g.pools[q.Pool].MaxBlocksPerHost != 0 {
		if !s.ofHost() {
			return packet.Addr{}, 0, HostShort
		}
		return s.addr, s.port, Allocated
	}
	if !s.inPool() {
		p.pools[q.Pool].short++
		return packet.Addr{}, 0, Short
	}
	p.pools[q.Pool].short = 0
	return s.addr, s.port, Allocated
}

// search is one Allocate under way; addr and port are what it found.
type search struct {
	p      *Ports
	now    int64
	q      Request
	taken  func(packet.FlowKey) bool
	class  class
	leased bool // looks at the units that another node should have, and else at the others
	probes int  // left of the bound of the present step
	addr   packet.Addr
	port   uint16
}

func classFor(proto uint8) class {
	switch proto {
	case packet.ProtoTCP:
		return classTCP
	case packet.ProtoUDP:
		return classUDP
	}
	return classICMP
}

// open reports whether the key that a candidate gives is neither in use nor in
// hold-down, and keeps the candidate then.
func (s *search) open(a packet.Addr, port uint16) bool {
	return (s.taken == nil || !s.taken(ReplyKey(s.q.To, a, port))) && s.openUnused(a, port)
}

// openUnused is open for a port without any use. Whatever has a key is counted
// with Use, so nobody has this one, and nothing is looked up: an unused port is
// what nearly every allocation ends with, and each look is a cache miss or two.
func (s *search) openUnused(a packet.Addr, port uint16) bool {
	s.probes--
	if s.p.waiting.count != 0 && (s.waits(ReplyKey(s.q.To, a, port)) || s.q.Exclusive && s.rests(a, port)) {
		return false
	}
	s.addr, s.port = a, port
	return true
}

// waits reports whether a key is in hold-down.
func (s *search) waits(k1 packet.FlowKey) bool {
	if s.p.waiting.has(s.now, k1) {
		return true
	}
	if s.p.waiting.wildcards == 0 {
		return false
	}
	k1.Src, k1.SrcPort = packet.Addr{}, 0 // the port's last mapping spoke with any remote
	return s.p.waiting.has(s.now, k1)
}

// rests reports whether a port waits for any remote.
func (s *search) rests(a packet.Addr, port uint16) bool {
	unit, ok := s.p.g.Unit(a, port)
	if !ok {
		return false
	}
	u := &s.p.units[unit]
	return u.ports[s.class].resting(int(port-u.first), s.now, u.quiet)
}

// inPool searches a whole pool, the paired address first.
func (s *search) inPool() bool {
	g, home := s.p.g, s.p.home(s.q.Pool, s.q.Host)
	if s.unusedAt(home) || s.sharedAt(home, sharedProbes, scanProbes) {
		return true
	}
	if g.pools[s.q.Pool].Addresses == 1 {
		return false
	}
	s.p.scratch = g.rank(s.q.Pool, s.q.Host, s.p.scratch)
	for _, r := range s.p.scratch {
		if r.address != home && s.unusedAt(r.address) {
			return true
		}
	}
	left := scanProbes
	for _, r := range s.p.scratch {
		if r.address == home || left <= 0 {
			continue // the bound is for the whole pool, however large
		}
		if s.sharedAt(r.address, sharedProbes, 0) {
			return true
		}
		left -= sharedProbes
	}
	return false
}

// unusedAt tries the original port and unused ports of one address.
func (s *search) unusedAt(address int) bool {
	a := &s.p.address[address]
	for i, units := range [2]int{a.open + a.idle - a.leased.held, a.leased.held} {
		if units == 0 {
			continue
		}
		s.leased, s.probes = i == 1, unusedProbes
		if s.original(address) || s.near(address) || s.guess(address) || s.nth(address) || s.everyUnused(address) || s.furtherUnit(address) {
			return true
		}
	}
	return false
}

// unused returns how many unused ports the open units have that the search looks at.
func (s *search) unused(a *addressState) int {
	if s.leased {
		return a.leased.free[s.class]
	}
	return a.free[s.class] - a.leased.free[s.class]
}

// keepIdle is the share of its units at an address that a node does not open just
// to preserve ports, one in so many. Hosts choose from all over the range: a few
// connections for every block would have a foot in each, and none would be left for a
// node that joins or runs short (NT3). RFC 4787 asks nobody to preserve ports.
const keepIdle = 4

// original is choice 1.
func (s *search) original(address int) bool {
	e := &s.p.g.addresses[address]
	if s.q.Prefer < e.FirstPort || s.q.Prefer > e.LastPort {
		return false
	}
	offset := int(s.q.Prefer - e.FirstPort)
	u := &s.p.units[int(e.FirstUnit)+offset/int(e.BlockSize)]
	if a := &s.p.address[address]; int(u.place) >= a.open && a.idle*keepIdle <= a.open+a.idle {
		return false
	}
	return u.held && u.leased == s.leased && u.ports[s.class].free(offset%int(e.BlockSize)) && s.openUnused(e.Addr, s.q.Prefer)
}

// mayUse reports whether the uses that a port has let this request have it too.
func (s *search) mayUse(u *unitState, port int) bool {
	return s.allows(u.ports[s.class].count(port))
}

func (s *search) allows(count uint32) bool {
	return count == 0 || count < aMapping && !s.q.Exclusive
}

// guess is choice 2 as it usually ends: a random port of a random open unit is
// unused. All unused ports are equally likely.
func (s *search) guess(address int) bool {
	a, e := &s.p.address[address], &s.p.g.addresses[address]
	if free := s.unused(a); free == 0 || free < a.open*int(e.BlockSize)/4 {
		return false // most guesses would be wrong
	}
	for range guesses {
		u := s.member(address, s.p.rng.IntN(a.open))
		port := s.p.rng.IntN(int(e.BlockSize))
		if port < int(u.size) && u.leased == s.leased && u.ports[s.class].free(port) && s.openUnused(e.Addr, u.first+uint16(port)) {
			return true
		}
	}
	return false
}

// nth is choice 2 when unused ports are rare: the n-th of them, n at random.
func (s *search) nth(address int) bool {
	a, e := &s.p.address[address], &s.p.g.addresses[address]
	unused := s.unused(a)
	if unused == 0 {
		return false
	}
	n := s.p.rng.IntN(unused)
	for i := range a.open {
		u := s.member(address, i)
		if u.leased != s.leased {
			continue
		}
		free := int(u.size) - int(u.used[s.class])
		if n >= free {
			n -= free
			continue
		}
		port := n
		if set := u.ports[s.class]; set != nil {
			port = set.unused(n)
		}
		return s.openUnused(e.Addr, u.first+uint16(port))
	}
	return false
}

// everyUnused is choice 2 when the n-th was in hold-down too: all unused ports,
// from a random unit on, as far as the bound allows.
func (s *search) everyUnused(address int) bool {
	a := &s.p.address[address]
	if s.unused(a) == 0 {
		return false
	}
	start := s.p.rng.IntN(a.open)
	for i := range a.open {
		if u := s.member(address, (start+i)%a.open); u.leased == s.leased && s.unusedIn(u) {
			return true
		}
	}
	return false
}

// unusedIn tries the unused ports of a unit, from a random one on.
func (s *search) unusedIn(u *unitState) bool {
	if u.used[s.class] == u.size {
		return false
	}
	addr, set := s.p.g.addresses[u.address].Addr, u.ports[s.class]
	start := s.p.rng.IntN(int(u.size))
	for _, part := range [2][2]int{{start, int(u.size)}, {0, start}} {
		for port := part[0]; port < part[1] && s.probes > 0; port++ {
			if set != nil {
				if port = set.nextUnused(port); port < 0 || port >= part[1] {
					break
				}
			}
			if s.openUnused(addr, u.first+uint16(port)) {
				return true
			}
		}
	}
	return false
}

// furtherUnit opens an idle unit; one that nobody could lease now, because
// hold-downs run in it, if there is one.
func (s *search) furtherUnit(address int) bool {
	a := &s.p.address[address]
	if a.idle == 0 {
		return false
	}
	start, left := s.p.rng.IntN(a.idle), unusedProbes
	for i := range a.idle {
		if u := s.member(address, a.open+(start+i)%a.idle); u.leased == s.leased && u.quiet > s.now && left > 0 {
			if s.probes = guesses; s.unusedIn(u) {
				return true
			}
			left -= guesses
		}
	}
	s.probes = unusedProbes
	for i := range a.idle {
		if u := s.member(address, a.open+(start+i)%a.idle); u.leased == s.leased && u.quiet <= s.now && s.unusedIn(u) {
			return true
		}
	}
	return false
}

// sharedAt is choice 3: a port that serves other remotes, at random, then in
// order from where the last such search stopped.
//
// When an address is full for a remote, every further connection to it would
// search in vain: so each failure makes the next search for the same remote
// shorter, until one succeeds.
func (s *search) sharedAt(address, random, inOrder int) bool {
	a := &s.p.address[address]
	if s.q.Exclusive || a.open == 0 {
		return false
	}
	f := &a.failed[s.class]
	if remote := (remote{s.q.To.Dst, s.q.To.DstPort}); f.remote != remote {
		*f = failures{remote: remote}
	}
	if s.sharedWithin(address, random>>f.halved, inOrder>>f.halved) {
		f.halved = 0
		return true
	}
	f.halved = min(f.halved+1, shorter)
	return false
}

// remote is the far end of a connection, failures how the last searches of a
// port for it ended.
type remote struct {
	addr packet.Addr
	port uint16
}

type failures struct {
	remote remote
	halved uint8
}

func (s *search) sharedWithin(address, random, inOrder int) bool {
	a, size := &s.p.address[address], int(s.p.g.addresses[address].BlockSize)
	for range random {
		if s.share(s.member(address, s.p.rng.IntN(a.open)), s.p.rng.IntN(size)) {
			return true
		}
	}
	for range min(inOrder, a.open*size) {
		at := a.scan[s.class] % (a.open * size)
		a.scan[s.class] = at + 1
		if s.share(s.member(address, at/size), at%size) {
			return true
		}
	}
	return false
}

// share tries one port of a unit if it has uses that allow another.
func (s *search) share(u *unitState, port int) bool {
	return port < int(u.size) && u.ports[s.class].count(port) != 0 && s.mayUse(u, port) &&
		s.open(s.p.g.addresses[u.address].Addr, u.first+uint16(port))
}

// portless finds an address for a protocol without ports. A unit that rests serves
// these too: what rests there (RFC 6888 REQ-8, NT5) are ports, of which any may be one
// that a late packet is under way to. A protocol without ports has one key for each
// remote, all those that live are counted, and there is no other unit of the address
// that could serve it meanwhile (NT3). ICMP is none of these: the identifier of a
// query is a port (RFC 5508, 3.1).
func (s *search) portless() bool {
	s.p.scratch = s.p.g.rank(s.q.Pool, s.q.Host, s.p.scratch)
	for _, r := range s.p.scratch {
		e := &s.p.g.addresses[r.address]
		u := &s.p.units[e.FirstUnit]
		if (u.held || u.later.held) && s.allows(u.portless) && s.open(e.Addr, 0) {
			return true
		}
	}
	return false
}

// member returns a unit of an address by its place among the members.
func (s *search) member(address, place int) *unitState {
	return &s.p.units[int(s.p.g.addresses[address].FirstUnit)+int(s.p.address[address].members[place])]
}
